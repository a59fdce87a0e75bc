import { expect, test } from "bun:test";
import fc from "fast-check";
import type { Row, Value } from "../../src/base/row.ts";
import type { Manifest } from "../../src/contract/model_package.ts";
import { blockChangesNothing } from "../../src/scoring/blocks.ts";
import { loadModel } from "../../src/scoring/loaded.ts";
import { readPackage } from "../../src/scoring/package.ts";
import { fillRow, scoreRows } from "../../src/scoring/tensors.ts";
import { codeOf, expected, handClock, packageFiles, testEngine } from "./support.ts";

const engine = testEngine();
const load = (kind: "mixed" | "trees" | "linear", change?: Parameters<typeof packageFiles>[1]) =>
  loadModel(kind, readPackage(packageFiles(kind, change)), engine, handClock());

test("scores are those of scikit-learn, with nulls and an unknown category", () => {
  for (const [kind, golden] of [
    ["mixed", [...expected.mixed, ...expected.mixed_unknown]],
    ["trees", expected.trees],
  ] as const) {
    const { scores } = scoreRows(
      load(kind),
      golden.map(({ features }) => features as Row),
    );
    for (const [i, { score }] of golden.entries()) expect(scores[i]).toBeCloseTo(score, 5);
  }
});

test("a wrong order of features fails the golden rows", () => {
  const swap = (manifest: Record<string, unknown>) =>
    (manifest.inputs as { features: unknown[] }[])[0]!.features.reverse();
  expect(codeOf(() => load("linear", swap))).toBe("scoring.golden_mismatch");
  expect(codeOf(() => load("mixed", swap))).toBe("scoring.golden_mismatch");
});

test("all outputs are kept, as plain values", () => {
  const { outputs } = scoreRows(load("mixed"), [expected.mixed[0]!.features as Row]);
  expect(Object.keys(outputs[0]!)).toEqual(["label", "probabilities"]);
  expect(typeof outputs[0]!.label).toBe("number");
  expect(outputs[0]!.probabilities).toHaveLength(2);
});

test("a score has the same bits alone, in any batch and beside rejected rows", () => {
  for (const kind of ["mixed", "trees", "linear"] as const) {
    const model = load(kind);
    const value = fc.float({ noNaN: true, noDefaultInfinity: true, min: -100, max: 100 });
    const row = fc.record({
      a: value,
      b: value,
      c: value,
      d: value,
      carrier: fc.constantFrom("AA", "B6", "UA", "ZZ", null),
    });
    fc.assert(
      fc.property(fc.array(row, { minLength: 1, maxLength: 150 }), (rows) => {
        const together = scoreRows(model, rows).scores;
        const alone = rows.map((one) => scoreRows(model, [one]).scores[0]!);
        expect(together.map(bits)).toEqual(alone.map(bits));
      }),
      { numRuns: 20 },
    );
  }
});

test("blocks are used only where they change nothing, and are given up where they do", () => {
  expect(load("trees").blockRows).toBe(64);
  expect(load("linear").blockRows).toBe(1); // one golden row says too little
  const model = load("trees");
  // A session that lies about blocks: a row alone is right, in a block it is a little off.
  const session = {
    ...model.session,
    run(feeds: Parameters<typeof model.session.run>[0]) {
      const results = model.session.run(feeds);
      const { shape, data, datatype } = results.probabilities!;
      if (shape[0] === 1) return results;
      return {
        ...results,
        probabilities: { shape, datatype, data: (data as Float32Array).map((value) => value + 1e-6) },
      };
    },
  };
  const rows = Array.from({ length: 130 }, (_, i): Row => ({ a: i / 10, b: -i, c: null, d: 1 }));
  const right = scoreRows(model, rows).scores;
  expect(scoreRows({ ...model, session, blockRows: 64 }, rows).scores).toEqual(right);
  const feeds = rows.map((row) => (fillRow(model.manifest, row) as { feeds: Parameters<typeof session.run>[0] }).feeds);
  expect(blockChangesNothing(session, feeds)).toBe(false);
  expect(blockChangesNothing(model.session, feeds)).toBe(true);
});

test("a model that sums one row in another order than many runs in blocks of one size, filled up with copies", () => {
  const model = load("trees");
  const trees = model.session;
  // A session whose bits depend on how many rows a run has, and on nothing else.
  const session = {
    ...trees,
    run(feeds: Parameters<typeof trees.run>[0]) {
      const results = trees.run(feeds);
      const { shape, data, datatype } = results.probabilities!;
      const moved = (data as Float32Array).map((value) => value + shape[0]! * 1e-4);
      return { ...results, probabilities: { shape, datatype, data: moved } };
    },
  };
  const rows = Array.from({ length: 21 }, (_, i): Row => ({ a: i / 10, b: -i, c: null, d: 1 }));
  const feeds = rows.map((row) => (fillRow(model.manifest, row) as { feeds: Parameters<typeof trees.run>[0] }).feeds);
  expect(blockChangesNothing(session, feeds)).toBe(false);
  expect(blockChangesNothing(session, feeds, 8, true)).toBe(true);
  const padded = { ...model, session, blockRows: 8, padded: true };
  const together = scoreRows(padded, rows).scores;
  expect(together).toEqual(rows.map((row) => scoreRows(padded, [row]).scores[0]!));
  expect(together).not.toEqual(rows.map((row) => scoreRows({ ...model, session, blockRows: 1 }, [row]).scores[0]!));
});

test("a padded block whose evidence fails is run again row by row", () => {
  const model = load("trees");
  const trees = model.session;
  // The first row of a run is right, the others take a little from it.
  const session = {
    ...trees,
    run(feeds: Parameters<typeof trees.run>[0]) {
      const results = trees.run(feeds);
      const { shape, data, datatype } = results.probabilities!;
      const moved = (data as Float32Array).map((value, i) => value + (i < shape[1]! ? 0 : 1e-3));
      return { ...results, probabilities: { shape, datatype, data: moved } };
    },
  };
  const rows = Array.from({ length: 24 }, (_, i): Row => ({ a: i / 10, b: -i, c: null, d: 1 }));
  const feeds = rows.map((row) => (fillRow(model.manifest, row) as { feeds: Parameters<typeof trees.run>[0] }).feeds);
  expect(blockChangesNothing(session, feeds, 8, true)).toBe(false);
  const alone = rows.map((row) => scoreRows({ ...model, session, blockRows: 1 }, [row]).scores[0]!);
  // The sample of the first block is its first row, which is right; those of the later blocks tell.
  expect(scoreRows({ ...model, session, blockRows: 8, padded: true }, rows).scores.slice(8)).toEqual(alone.slice(8));
});

const bits = (score: number | null) =>
  score === null ? null : new BigUint64Array(new Float64Array([score]).buffer)[0];

const DATATYPES = ["FP32", "FP64", "INT32", "INT64", "BOOL", "BYTES"] as const;
type Datatype = (typeof DATATYPES)[number];

function manifestOf(datatype: Datatype, features: readonly Record<string, unknown>[]): Manifest {
  const inputs = [{ name: "x", datatype, shape: [-1, features.length], features }];
  return { inputs } as unknown as Manifest;
}

/** The slow and obvious statement of which value becomes what; undefined is a reject. */
function oracle(datatype: Datatype, value: Value): number | bigint | string | undefined {
  const numeric = typeof value === "number" || typeof value === "bigint" || typeof value === "boolean";
  if (value === null) return datatype === "FP32" || datatype === "FP64" ? Number.NaN : undefined;
  if (datatype === "BYTES") return typeof value === "string" ? value : undefined;
  if (datatype === "BOOL") return typeof value === "boolean" ? (value ? 1 : 0) : undefined;
  if (!numeric) return undefined;
  if (datatype === "FP32") {
    const single = new Float32Array([Number(value)])[0]!;
    return Number.isFinite(single) ? single : undefined;
  }
  if (datatype === "FP64") {
    if (typeof value === "bigint") return BigInt(Number(value)) === value ? Number(value) : undefined;
    return Number.isFinite(Number(value)) ? Number(value) : undefined;
  }
  if (typeof value === "number" && (!Number.isInteger(value) || Math.abs(value) > 2 ** 53 - 1)) return undefined;
  const size = datatype === "INT32" ? 32 : 64;
  if (BigInt.asIntN(size, BigInt(value)) !== BigInt(value)) return undefined;
  return datatype === "INT32" ? Number(BigInt(value)) : BigInt(value); // there is no -0 among them
}

const anyValue: fc.Arbitrary<Value> = fc.oneof(
  fc.constant(null),
  fc.boolean(),
  fc.double(),
  fc.integer(),
  fc.bigInt({ min: -(2n ** 65n), max: 2n ** 65n }),
  fc.string(),
  fc.constantFrom<Value>(0, -0, 1e40, 3.5e38, 2 ** 53, 2 ** 53 + 2, 2 ** 31, -(2 ** 31), Number.NaN, "12", 2n ** 63n),
);

test("every value of every datatype becomes itself or a reject, never another value", () => {
  fc.assert(
    fc.property(
      fc.constantFrom(...DATATYPES),
      fc.array(anyValue, { minLength: 1, maxLength: 5 }),
      (datatype, values) => {
        const names = values.map((_, i) => ({ name: `f${i}` }));
        const row = Object.fromEntries(values.map((value, i) => [`f${i}`, value]));
        const filled = fillRow(manifestOf(datatype, names), row);
        const wanted = values.map((value) => oracle(datatype, value));
        const bad = wanted.indexOf(undefined);
        if ("problem" in filled) expect(filled.problem.place).toBe(`f${bad}`);
        else expect([...(filled.feeds.x!.data as Iterable<unknown>)]).toEqual(wanted);
        expect("problem" in filled).toBe(bad >= 0);
      },
    ),
    { numRuns: 500 },
  );
});

const fill = (datatype: Datatype, feature: Record<string, unknown>, value: Value | undefined) => {
  const row: Record<string, Value> = value === undefined ? {} : { f: value };
  const filled = fillRow(manifestOf(datatype, [{ name: "f", ...feature }]), row);
  return "problem" in filled ? filled.problem.code : filled.feeds.x!.data[0];
};

test("null policies", () => {
  expect(fill("FP32", {}, null)).toBeNaN();
  expect(fill("FP32", { null: "nan" }, null)).toBeNaN();
  expect(fill("FP32", { null: "reject" }, null)).toBe("scoring.feature_missing");
  expect(fill("FP32", { null: { value: -1 } }, null)).toBe(-1);
  expect(fill("INT64", {}, null)).toBe("scoring.feature_missing");
  expect(fill("INT64", { null: { value: 7 } }, null)).toBe(7n);
  expect(fill("BYTES", {}, null)).toBe("scoring.feature_missing");
  expect(fill("BYTES", { null: { value: "none" }, categories: ["AA"], unknown: "reject" }, null)).toBe("none");
  expect(fill("FP32", { null: { value: 1e40 } }, null)).toBe("scoring.feature_invalid");
  expect(fill("FP32", {}, undefined)).toBe("scoring.feature_missing"); // absent is not null
});

test("categories", () => {
  expect(fill("BYTES", { categories: ["AA"], unknown: "pass" }, "ZZ")).toBe("ZZ");
  expect(fill("BYTES", { categories: ["AA"] }, "ZZ")).toBe("ZZ");
  expect(fill("BYTES", { categories: ["AA"], unknown: "reject" }, "ZZ")).toBe("scoring.feature_unknown_category");
  expect(fill("BYTES", { categories: ["AA"], unknown: "reject" }, "AA")).toBe("AA");
  expect(fill("BYTES", {}, "\ud800")).toBe("scoring.feature_invalid"); // half a character
});
