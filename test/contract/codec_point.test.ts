/** Single values of an encoded column: the same that decoding all of it gives. */
import { expect, test } from "bun:test";
import fc from "fast-check";
import { ByteReader, ByteWriter } from "../../src/base/bytes.ts";
import { type Column, valueAt } from "../../src/contract/batch.ts";
import { decodeColumn, encodeColumn } from "../../src/contract/codec.ts";
import { pointAt, pointColumn } from "../../src/contract/codec_point.ts";
import { compareText, encodeDictionary, packedTexts, textAt } from "../../src/contract/codec_texts.ts";
import type { FieldType } from "../../src/contract/contract.ts";

const numbers: Readonly<Record<string, fc.Arbitrary<number>>> = {
  small: fc.integer({ min: -100, max: 100 }),
  wide: fc.maxSafeInteger(),
  decimal: fc.integer({ min: -1e9, max: 1e9 }).map((whole) => whole / 100),
  any: fc.double(),
  single: fc.float(),
};
const TEXTS = ["", "a", "bb", "ü", "\ud800"];

function packed(texts: readonly string[]) {
  const writer = new ByteWriter(64);
  encodeDictionary(writer, texts);
  return packedTexts(new ByteReader(writer.finish()));
}

const column = fc.oneof(
  fc.constantFrom(...Object.keys(numbers)).chain((kind) =>
    fc
      .array(fc.option(numbers[kind]!, { freq: 9 }), { minLength: 1, maxLength: 300 })
      .chain((values) =>
        fc.constantFrom(
          values,
          values.map((value) => value ?? 7),
          [...values].sort(),
        ),
      )
      .map((values) => ({
        type: "double" as FieldType,
        column: {
          kind: "number",
          values: Float64Array.from(values, (value) => value ?? 0),
          ...(values.includes(null) ? { valid: Uint8Array.from(values, (value) => (value === null ? 0 : 1)) } : {}),
        } as Column,
      })),
  ),
  fc.array(fc.integer({ min: 0, max: 1 }), { minLength: 1, maxLength: 40 }).map((values) => ({
    type: "boolean" as FieldType,
    column: { kind: "number", values: Int32Array.from(values) } as Column,
  })),
  fc.array(fc.integer({ min: -1, max: TEXTS.length - 1 }), { minLength: 1, maxLength: 300 }).map((codes) => ({
    type: "string" as FieldType,
    column: { kind: "text", codes: Int32Array.from(codes), dictionary: TEXTS } as Column,
  })),
  fc.array(fc.option(fc.uint8Array({ maxLength: 5 })), { minLength: 1, maxLength: 40 }).map((values) => ({
    type: "bytes" as FieldType,
    column: { kind: "bytes", values } as Column,
  })),
);

test("a single value is the one that decoding the column gives, of every kind of column", () => {
  fc.assert(
    fc.property(column, fc.boolean(), ({ type, column: given }, shared) => {
      const length = given.kind === "text" ? given.codes.length : given.values.length;
      const inFile = shared && given.kind === "text" ? TEXTS : undefined;
      const bytes = encodeColumn(given, length, inFile !== undefined);
      const whole = decodeColumn(bytes, type, length, inFile);
      const points = pointColumn(bytes, type, length, inFile && packed(inFile));
      for (let row = 0; row < length; row++) expect(pointAt(points, row)).toEqual(valueAt(whole, type, row));
      expect(points.bytes).toBeGreaterThan(0);
    }),
    { numRuns: 500 },
  );
});

test("bytes that are no such column are refused", () => {
  const values = Float64Array.from({ length: 50 }, (_, i) => (i * 7919) % 100);
  const bytes = encodeColumn({ kind: "number", values }, 50);
  for (let cut = 0; cut < bytes.length; cut++) {
    expect(() => pointColumn(bytes.subarray(0, cut), "double", 50)).toThrow(RangeError);
  }
  const codes = encodeColumn({ kind: "text", codes: Int32Array.of(0, 4), dictionary: TEXTS }, 2, true);
  expect(() => pointAt(pointColumn(codes, "string", 2, packed(["only"])), 1)).toThrow(RangeError);
});

test("packed texts come back, and compare as strings do without being made", () => {
  const text = fc.oneof(fc.string(), fc.string({ unit: "binary" }), fc.constantFrom(...TEXTS));
  fc.assert(
    fc.property(fc.array(text, { minLength: 1, maxLength: 30 }), text, (texts, other) => {
      const list = packed(texts);
      texts.forEach((own, i) => {
        expect(textAt(list, i)).toBe(own);
        for (const against of [other, own, texts[0]!]) {
          expect(Math.sign(compareText(list, i, against))).toBe(own === against ? 0 : own < against ? -1 : 1);
        }
      });
    }),
  );
});
