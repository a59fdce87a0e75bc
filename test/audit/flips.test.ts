import { expect, test } from "bun:test";
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
    try {
      for (let seed = 1; seed <= runs; seed++)
        expect(await flip(seed)).toMatchObject({ outcome: "found", named: true });
    } finally {
      home.remove();
    }
  },
  60_000,
);

test("a seed is one flip, in any directory that is made for it", async () => {
  const homes = [await damagedHome("killed"), await damagedHome("killed")] as const;
  try {
    for (const seed of [1, 2, 3]) expect(await homes[0].flip(seed)).toEqual(await homes[1].flip(seed));
  } finally {
    for (const { home } of homes) home.remove();
  }
}, 60_000);
