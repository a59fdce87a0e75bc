import { expect, test } from "bun:test";
import fc from "fast-check";
import { ByteReader } from "../../src/base/bytes.ts";
import { batchOf, rowsOf, takeRows } from "../../src/contract/batch.ts";
import { decodeBatch, decodeColumn, encodeBatch, encodeColumn } from "../../src/contract/codec.ts";
import { packWhole, unpackWhole } from "../../src/contract/codec_whole.ts";
import { streams, timedContract } from "../support/rows.ts";

const batches = fc
  .constantFrom(...Object.values(streams))
  .chain(({ contract, row }) => fc.array(row, { maxLength: 40 }).map((rows) => batchOf(contract, rows)));

test("what is encoded is decoded, to the bit", () => {
  fc.assert(
    fc.property(batches, (batch) => {
      expect(rowsOf(decodeBatch(encodeBatch(batch), batch.contract))).toEqual(rowsOf(batch));
    }),
    { numRuns: 400 },
  );
});

test("encoding is the same after a round trip, so content can be hashed from either side", () => {
  fc.assert(
    fc.property(batches, (batch) => {
      const bytes = encodeBatch(batch);
      expect(encodeBatch(decodeBatch(bytes, batch.contract))).toEqual(bytes);
    }),
  );
});

test("only the columns asked for are decoded", () => {
  const batch = batchOf(timedContract, [{ id: "a", at: 3, note: "n", gate: 4 }]);
  const [row] = rowsOf(decodeBatch(encodeBatch(batch), timedContract, ["at", "note"]));
  expect(row).toMatchObject({ id: null, at: 3, note: "n", gate: null, payload: null });
});

test("a slice of a batch carries none of the other rows' texts", () => {
  const batch = batchOf(
    timedContract,
    ["first", "second"].map((note) => ({ id: note, at: 1, note })),
  );
  expect(Buffer.from(encodeBatch(takeRows(batch, [1]))).includes("first")).toBe(false);
});

test("whole numbers at the edges of what is packed", () => {
  const edge = Number.MAX_SAFE_INTEGER;
  for (const values of [
    [],
    [edge],
    [-edge, edge],
    [edge, edge - 1, edge - 2],
    [-edge, -edge + 1, -edge + 2],
    [0, 2 ** 48 - 1],
    [0, 2 ** 48],
    [1.7e15, 1.7e15 + 1e6, 1.7e15 + 2e6],
    [5, 5, 5],
    [255, 0],
    [256, 0],
    [0, 2 ** 24, 2 ** 32],
  ]) {
    const packed = packWhole(Float64Array.from(values));
    if (packed) expect([...unpackWhole(new ByteReader(packed), values.length)]).toEqual(values);
    else expect(values.some((value) => Math.abs(value) > 2 ** 47)).toBe(true);
  }
  expect(packWhole(Float64Array.from({ length: 1000 }, (_, i) => 1.7e15 + i * 1e6))!.length).toBeLessThan(24);
});

test("damaged bytes throw, and never hang or crash", () => {
  const batch = batchOf(timedContract, [
    { id: "a", at: 3, note: "n", gate: 4, count: 2n ** 60n, payload: new Uint8Array(3), amount: 0.1 },
    { id: "b", at: 4 },
  ]);
  const bytes = encodeBatch(batch);
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.nat(bytes.length - 1), fc.nat(255)), { minLength: 1, maxLength: 4 }),
      fc.nat(),
      (edits, cut) => {
        const damaged = bytes.slice(0, cut % 3 === 0 ? cut % bytes.length : bytes.length);
        for (const [at, value] of edits) if (at < damaged.length) damaged[at] = value;
        try {
          const decoded = decodeBatch(damaged, timedContract);
          expect(rowsOf(decoded).length).toBe(decoded.length);
        } catch (cause) {
          expect(cause).toBeInstanceOf(RangeError);
        }
      },
    ),
    { numRuns: 3000 },
  );
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 60 }), fc.nat(200), (noise, length) => {
      for (const type of ["string", "bytes", "double", "long"] as const) {
        try {
          decodeColumn(noise, type, length);
        } catch (cause) {
          expect(cause).toBeInstanceOf(RangeError);
        }
      }
    }),
    { numRuns: 2000 },
  );
});

test("codes need their dictionary", () => {
  const column = { kind: "text" as const, codes: Int32Array.of(0, -1, 1), dictionary: ["x", "y"] };
  const bytes = encodeColumn(column, 3, true);
  expect(decodeColumn(bytes, "string", 3, ["x", "y"])).toEqual(column);
  expect(() => decodeColumn(bytes, "string", 3)).toThrow(RangeError);
  expect(() => decodeColumn(bytes, "string", 3, ["x"])).toThrow(RangeError);
});
