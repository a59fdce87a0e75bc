import { expect, test } from "bun:test";
import fc from "fast-check";
import type { Column } from "../../src/contract/batch.ts";
import { numberColumn, numberPairs } from "../../src/feedback/keys.ts";

// Against a Map of texts: equal values, and only they, get equal numbers, counted from 0.
const wanted = (keys: readonly string[]) => {
  const seen = new Map<string, number>();
  return keys.map((key) => {
    const id = seen.get(key) ?? seen.size;
    seen.set(key, id);
    return id;
  });
};

test("numbers of doubles, through several growths of the table", () => {
  const value = fc.oneof(fc.integer({ min: -40, max: 40 }), fc.double({ noNaN: true }), fc.constant(-0));
  fc.assert(
    fc.property(fc.array(value, { maxLength: 300 }), fc.boolean(), (some, many) => {
      const values = many ? [...some, ...Array.from({ length: 9_000 }, (_, i) => i * 1e6), ...some] : some;
      const read = numberColumn()({ kind: "number", values: Float64Array.from(values) });
      expect(values.map((_, i) => read(i))).toEqual(wanted(values.map((one) => String(one + 0))));
    }),
    { numRuns: 40 },
  );
});

test("numbers of pairs", () => {
  const part = fc.integer({ min: 0, max: 30 });
  fc.assert(
    fc.property(fc.array(fc.tuple(part, part), { maxLength: 200 }), (pairs) => {
      const number = numberPairs();
      expect(pairs.map(([a, b]) => number(a, b))).toEqual(wanted(pairs.map(String)));
    }),
  );
});

test("one column in several batches: texts by value, whole numbers also where a batch holds bigints, nulls as -1", () => {
  const number = numberColumn();
  const first: Column = { kind: "number", values: Float64Array.of(5, 7), valid: Uint8Array.of(1, 0) };
  const second: Column = { kind: "bigint", values: BigInt64Array.of(2n ** 60n, 5n, 2n ** 60n + 1n) };
  const [a, b] = [number(first), number(second)];
  expect([a(0), a(1)]).toEqual([0, -1]);
  expect(b(1)).toBe(0);
  expect(b(0)).not.toBe(b(2));
  const texts = numberColumn();
  const x = texts({ kind: "text", codes: Int32Array.of(1, -1), dictionary: ["p", "q"] });
  const y = texts({ kind: "text", codes: Int32Array.of(0, 1), dictionary: ["q", "p"] });
  expect([x(0), x(1)]).toEqual([y(0), -1]);
  expect(y(1)).not.toBe(y(0));
});
