import { expect, test } from "bun:test";
import fc from "fast-check";
import type { Row } from "../../src/base/row.ts";
import type { DriftConfig } from "../../src/config/schema.ts";
import type { Profile, Reference } from "../../src/contract/model_package.ts";
import { referenceSchema } from "../../src/contract/model_package.ts";
import { chiSquaredTail, kolmogorovTail } from "../../src/quality/distributions.ts";
import { judgeColumn, judgeDrift, ks, psi } from "../../src/quality/drift.ts";
import { profileOf } from "../../src/quality/profile.ts";

// Expected numbers are from scipy 1.17.1 and numpy 2.4.6, on the same formulas.
const config: DriftConfig = {
  every: 86_400_000_000,
  min_rows: 500,
  metrics: ["psi", "ks"],
  psi: 0.2,
  p_value: 0.001,
  effect: 0.1,
};
const referenceValues = Array.from({ length: 1000 }, (_, i) => ((i * 7919) % 1000) / 1000);
const currentValues = Array.from({ length: 600 }, (_, i) => (((i * 104729) % 600) / 600) ** 1.3);
const numeric = (values: readonly (number | null)[], steps?: number) =>
  profileOf(values, { kind: "numeric", ...(steps === undefined ? {} : { steps }) }) as Extract<
    Profile,
    { kind: "numeric" }
  >;

test("tail probabilities equal scipy's", () => {
  const kolmogorov: [number, number][] = [
    [0.3, 0.9999906941986655],
    [0.5, 0.9639452436648751],
    [0.9, 0.3927307079406543],
    [1.0, 0.26999967167735456],
    [1.36, 0.049485876755377876],
    [2.0, 0.0006709252557796953],
    [3.5, 4.579469691291106e-11],
  ];
  for (const [lambda, expected] of kolmogorov) expect(kolmogorovTail(lambda) / expected).toBeCloseTo(1, 9);
  const chiSquared: [number, number, number][] = [
    [0.5, 1, 0.47950012218695337],
    [3.84, 1, 0.05004352124870519],
    [9, 10, 0.5321035763747151],
    [25, 10, 0.005345505487134069],
    [60, 10, 3.6243009520614924e-9],
    [150, 120, 0.03307348091130466],
  ];
  for (const [x, degrees, expected] of chiSquared) {
    expect(chiSquaredTail(x, degrees) / expected).toBeCloseTo(1, 9);
  }
});

test("PSI of a numeric column on frozen deciles", () => {
  const found = psi(profileOf(referenceValues), currentValues);
  expect(found.statistic).toBeCloseTo(0.06017143704767579, 12);
  expect(found.p_value).toBeCloseTo(0.012474289066232479, 12);
  expect([found.n, found.reference_n]).toEqual([600, 1000]);
});

test("PSI of categories has a bin for unseen values and one for nulls", () => {
  const times = (value: string | null, count: number) => Array.from({ length: count }, () => value);
  const profile = profileOf([...times("a", 50), ...times("b", 30), ...times("c", 20), ...times(null, 5)]);
  expect(profile).toEqual({ kind: "category", rows: 105, nulls: 5, counts: { a: 50, b: 30, c: 20 } });
  const current = [...times("a", 10), ...times("b", 30), ...times("c", 30), ...times("new", 20), ...times(null, 10)];
  expect(psi(profile, current).statistic).toBeCloseTo(1.3779808792751331, 12);
});

test("KS is that of the two samples, to the resolution of the frozen quantiles", () => {
  const exact = ks(numeric(referenceValues, 999), currentValues);
  expect(Math.abs(exact.statistic! - 0.09766666666666668)).toBeLessThan(0.0021);
  const coarse = ks(numeric(referenceValues), currentValues);
  expect(Math.abs(coarse.statistic! - 0.09766666666666668)).toBeLessThan(0.0051);
  const direct = kolmogorovTail(Math.sqrt((1000 * 600) / 1600) * 0.09766666666666668);
  expect(direct).toBeCloseTo(0.0015633315072689407, 12);
});

test("KS of columns with few values, where the distribution jumps", () => {
  const of = (counts: readonly number[]) => counts.flatMap((count, value) => Array(count).fill(value) as number[]);
  const found = ks(numeric(of([50, 30, 20])), of([20, 40, 40]));
  expect(Math.abs(found.statistic! - 0.3)).toBeLessThan(0.011);
});

test("KS against the slow definition on random samples", () => {
  const sample = fc.array(fc.integer({ min: 0, max: 12 }), { minLength: 1, maxLength: 60 });
  fc.assert(
    fc.property(sample, sample, (reference, current) => {
      const share = (values: readonly number[], x: number) => values.filter((v) => v <= x).length / values.length;
      let slow = 0;
      for (const x of [...reference, ...current])
        slow = Math.max(slow, Math.abs(share(reference, x) - share(current, x)));
      const found = ks(numeric(reference, 1000), current).statistic!;
      // An order statistic at each thousandth: at most one sample point or two steps off.
      expect(Math.abs(found - slow)).toBeLessThanOrEqual(1 / reference.length + 0.002);
    }),
  );
});

test("every value has exactly one bin, and equal samples have no drift", () => {
  const value = fc.oneof(fc.integer({ min: -5, max: 5 }), fc.double({ noNaN: true, min: -1e6, max: 1e6 }));
  fc.assert(
    fc.property(fc.array(fc.option(value), { minLength: 1, maxLength: 200 }), (values) => {
      const profile = profileOf(values, { kind: "numeric" });
      if (profile.kind !== "numeric") throw new Error("not numeric");
      expect(profile.counts.reduce((sum, count) => sum + count, 0) + profile.nulls).toBe(values.length);
      expect(profile.edges).toHaveLength(profile.counts.length + 1);
      expect(psi(profile, values).statistic).toBeCloseTo(0, 12);
    }),
  );
});

test("a constant that moves, and nulls that appear, are drift; few rows are inconclusive", () => {
  const constant = profileOf(Array(1000).fill(7));
  expect(judgeColumn(config, constant, Array(600).fill(7)).map(({ answer }) => answer)).toEqual(["ok", "ok"]);
  for (const moved of [6, 7.0000001, 8]) {
    expect(judgeColumn(config, constant, Array(600).fill(moved)).map(({ answer }) => answer)).toEqual([
      "drift",
      "drift",
    ]);
  }
  const wind = profileOf(referenceValues);
  const holes = referenceValues.map((value, i) => (i % 2 === 0 ? null : value));
  expect(judgeColumn(config, wind, holes).map(({ answer }) => answer)).toEqual(["drift", "ok"]);
  expect(judgeColumn(config, wind, Array(499).fill(100)).map(({ answer }) => answer)).toEqual([
    "inconclusive",
    "inconclusive",
  ]);
  expect(judgeColumn(config, wind, Array(700).fill(null)).map(({ answer }) => answer)).toEqual([
    "drift",
    "inconclusive",
  ]);
});

test("verdicts of a model: each column and metric, then one for all; the reference survives JSON", () => {
  const reference: Reference = {
    rows: 1000,
    features: {
      wind: profileOf(referenceValues),
      carrier: profileOf(referenceValues.map((v) => (v < 0.5 ? "AA" : "UA"))),
    },
    score: profileOf(referenceValues),
  };
  const frozen = referenceSchema.parse(JSON.parse(JSON.stringify(reference)));
  const judge = (wind: readonly number[]) => {
    const features = { wind, carrier: wind.map(() => "AA"), unknown_feature: [1] };
    return judgeDrift({ model: "m", config, reference: frozen, features, scores: referenceValues, at: 5 });
  };
  const outcomes = (rows: readonly Row[]) => Object.fromEntries(rows.map((row) => [row.name, row.outcome]));
  expect(outcomes(judge(referenceValues))).toEqual({
    "wind.psi": "ok",
    "wind.ks": "ok",
    "carrier.psi": "drift",
    "score.psi": "ok",
    "score.ks": "ok",
    drift: "drift",
  });
  const detail = JSON.parse(judge(referenceValues).at(-1)!.detail as string);
  expect(detail).toEqual({ drifted: ["carrier.psi"], judged: 5, n: 1000 });
});
