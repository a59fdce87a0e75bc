import { expect, test } from "bun:test";
import fc from "fast-check";
import { compareValues, keyText, type Value } from "../../src/base/row.ts";

const value: fc.Arbitrary<Value> = fc.oneof(
  fc.constant(null),
  fc.boolean(),
  fc.integer({ min: -3, max: 3 }),
  fc.constantFrom(2n ** 60n, -(2n ** 60n), 2n ** 60n + 1n),
  fc.constantFrom("", "1", "null", "true", "ff", `${2n ** 60n}`, `${2n ** 60n}n`, '{"long":"1"}'),
  fc.uint8Array({ maxLength: 2 }),
);
const same = (a: Value, b: Value) =>
  a instanceof Uint8Array && b instanceof Uint8Array ? Buffer.compare(a, b) === 0 : a === b;

test("key texts are equal exactly for equal lists", () => {
  fc.assert(
    fc.property(fc.array(value, { maxLength: 3 }), fc.array(value, { maxLength: 3 }), (a, b) => {
      const equal = a.length === b.length && a.every((one, i) => same(one, b[i]!));
      expect(keyText(a) === keyText(b)).toBe(equal);
    }),
    { numRuns: 2000 },
  );
  expect(keyText([2n ** 60n])).not.toBe(keyText([`${2n ** 60n}n`]));
  expect(keyText([Buffer.from("a")])).toBe(keyText([new Uint8Array([97])]));
});

test("values of one type are in one order, null first", () => {
  const lists: Value[][] = [
    [null, -1, 0, 5],
    [null, "", "B", "a", "aa"],
    [null, false, true],
    [null, -(2n ** 60n), 2n ** 60n],
    [null, new Uint8Array([1]), new Uint8Array([1, 0]), new Uint8Array([2])],
  ];
  for (const list of lists) {
    list.forEach((a, i) => list.forEach((b, j) => expect(Math.sign(compareValues(a, b))).toBe(Math.sign(i - j))));
  }
});
