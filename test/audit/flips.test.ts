import { expect, test } from "bun:test";
import { seededRandom } from "../../src/base/random.ts";
import { damagedHome } from "../support/flips.ts";

/** A smaller number of what `bun scripts/flips.ts` does: bits anywhere in the directory, the write-ahead log too. */
test("any flipped bit of any file is found and named, or belongs to nothing that can be read", async () => {
  const { home, flip } = await damagedHome();
  const random = seededRandom(5);
  let nothing = 0;
  try {
    for (let run = 0; run < 60; run++) {
      const flipped = await flip(random);
      if (flipped.outcome === "nothing") {
        expect(flipped.file).toMatch(/^log\.db(-wal)?$/);
        nothing++;
      } else expect(flipped).toMatchObject({ outcome: "found", named: true });
    }
    expect(nothing).toBeLessThan(40);
  } finally {
    home.remove();
  }
}, 60_000);
