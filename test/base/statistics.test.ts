import { expect, test } from "bun:test";
import fc from "fast-check";
import { auc, brier } from "../../src/base/statistics.ts";

const samples = fc.array(fc.tuple(fc.integer({ min: 0, max: 12 }), fc.integer({ min: 0, max: 1 })), { maxLength: 60 });

/** The definition, pair by pair: a positive above a negative counts one, a tie a half. */
function slowAuc(rows: readonly (readonly [number, number])[]): number | null {
  let wins = 0;
  let pairs = 0;
  for (const [positive, isPositive] of rows) {
    for (const [negative, isOther] of rows) {
      if (isPositive !== 1 || isOther !== 0) continue;
      pairs++;
      if (positive > negative) wins += 1;
      else if (positive === negative) wins += 0.5;
    }
  }
  return pairs === 0 ? null : wins / pairs;
}

test("auc equals the count over all pairs, ties too", () => {
  fc.assert(
    fc.property(samples, (rows) => {
      const found = auc(
        rows.map(([score]) => score / 12),
        rows.map(([, label]) => label),
      );
      expect(found).toBe(slowAuc(rows));
    }),
  );
});

test("auc is null without both classes; brier is null without rows", () => {
  expect(auc([0.1, 0.9], [1, 1])).toBeNull();
  expect(auc([], [])).toBeNull();
  expect(brier([], [])).toBeNull();
});

test("brier is the mean squared difference", () => {
  expect(brier([1, 0, 0.5], [1, 1, 0])).toBeCloseTo(1.25 / 3, 15);
});
