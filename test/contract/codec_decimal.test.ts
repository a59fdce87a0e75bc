import { expect, test } from "bun:test";
import fc from "fast-check";
import type { Column } from "../../src/contract/batch.ts";
import { decodeColumn, encodeColumn } from "../../src/contract/codec.ts";

const column = (values: readonly number[]): Column => ({ kind: "number", values: Float64Array.from(values) });
const bits = (values: ArrayLike<number>) => Buffer.from(Float64Array.from(values).buffer).toString("hex");

function roundTrip(values: readonly number[]): Uint8Array {
  const bytes = encodeColumn(column(values), values.length);
  const decoded = decodeColumn(bytes, "double", values.length) as Column & { kind: "number" };
  expect(bits(decoded.values)).toBe(bits(values));
  return bytes;
}

test("doubles of a few decimal places come back to the bit", () => {
  const places = fc.integer({ min: 0, max: 12 });
  const whole = fc.oneof(fc.integer({ min: -1e6, max: 1e6 }), fc.maxSafeInteger());
  const decimal = fc.tuple(whole, places).map(([value, scale]) => value / 10 ** scale);
  const odd = fc.oneof(
    fc.double({ noNaN: true }),
    fc.constantFrom(0, -0, Infinity, -Infinity, 5e-324, 1.7e308, 0.1 + 0.2),
  );
  fc.assert(
    fc.property(fc.array(decimal, { maxLength: 50 }), fc.array(odd, { maxLength: 2 }), (values, others) => {
      roundTrip(values);
      roundTrip([...values, ...others]);
    }),
    { numRuns: 500 },
  );
});

test("prices take a third of their doubles, and one value that is none costs only that", () => {
  const prices = Array.from({ length: 1_000 }, (_, i) => ((i * 7_919) % 1_000_003) / 100);
  expect(roundTrip(prices)[0]).toBe(8);
  expect(roundTrip(prices).length).toBeLessThan(3_100);
  for (const other of [-0, 0.1 + 0.2, Number.NaN, Infinity, 1 / 3]) {
    expect(roundTrip([...prices, other])[0]).toBe(0);
    expect(roundTrip([other, ...prices])[0]).toBe(0);
  }
});

test("places that no encoder writes are refused", () => {
  const bytes = roundTrip([0.1, 0.2, 0.35]);
  for (const places of [0, 8, 255]) {
    const damaged = Uint8Array.from(bytes);
    damaged[1] = places;
    expect(() => decodeColumn(damaged, "double", 3)).toThrow(RangeError);
  }
});
