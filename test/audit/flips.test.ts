import { expect, test } from "bun:test";
import { seededRandom } from "../../src/base/random.ts";
import { damagedHome } from "../support/flips.ts";

/* A smaller number of what `bun scripts/flips.ts` does. */

const LEFT = [
  ["closed", 60],
  ["killed", 90],
] as const;

test.each(LEFT)(
  "any flipped bit of any file of a directory that was %s is found and named",
  async (left, runs) => {
    const { home, flip } = await damagedHome(left);
    const random = seededRandom(7);
    try {
      for (let run = 0; run < runs; run++) expect(await flip(random)).toMatchObject({ outcome: "found", named: true });
    } finally {
      home.remove();
    }
  },
  60_000,
);
