import { expect, test } from "bun:test";
import { seededRandom } from "../../src/base/random.ts";
import { damagedHome } from "../support/flips.ts";

/* A smaller number of what `bun scripts/flips.ts` does. */

test("any flipped bit of any file of a closed directory is found and named", async () => {
  const { home, flip } = await damagedHome("closed");
  const random = seededRandom(7);
  try {
    for (let run = 0; run < 60; run++) expect(await flip(random)).toMatchObject({ outcome: "found", named: true });
  } finally {
    home.remove();
  }
}, 60_000);

test("after a kill: it is found and named, or belongs to nothing that can be read", async () => {
  const { home, flip } = await damagedHome("killed");
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
