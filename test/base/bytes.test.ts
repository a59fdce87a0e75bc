import { expect, test } from "bun:test";
import fc from "fast-check";
import { ByteReader, ByteWriter } from "../../src/base/bytes.ts";

/** What was written is read back, from a buffer that has to grow in the middle of every kind of value. */
test("a writer that grows loses nothing", () => {
  const item = fc.oneof(
    fc.record({ kind: fc.constant("u8" as const), value: fc.integer({ min: 0, max: 255 }) }),
    fc.record({ kind: fc.constant("u32" as const), value: fc.integer({ min: 0, max: 0xffffffff }) }),
    fc.record({ kind: fc.constant("f64" as const), value: fc.double() }),
    fc.record({ kind: fc.constant("i64" as const), value: fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }) }),
    fc.record({ kind: fc.constant("varint" as const), value: fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER }) }),
    fc.record({ kind: fc.constant("text" as const), value: fc.string({ unit: "grapheme" }) }),
  );
  fc.assert(
    fc.property(fc.array(item, { maxLength: 60 }), (items) => {
      const writer = new ByteWriter(1);
      for (const { kind, value } of items) (writer[kind] as (value: unknown) => void).call(writer, value);
      const reader = new ByteReader(writer.finish());
      for (const { kind, value } of items) expect(reader[kind]() as unknown).toEqual(value);
      expect(reader.remaining).toBe(0);
    }),
  );
});

test("reading past the end is an error, and a varint is bounded", () => {
  expect(() => new ByteReader(new Uint8Array(2)).u32()).toThrow(RangeError);
  expect(() => new ByteReader(new Uint8Array([5, 1])).bytes()).toThrow(RangeError);
  expect(() => new ByteReader(new Uint8Array(9).fill(0xff)).varint()).toThrow(RangeError);
});
