/** Texts that stay packed against plain strings. */
import { expect, test } from "bun:test";
import fc from "fast-check";
import { ByteReader, ByteWriter } from "../../src/base/bytes.ts";
import { type Column, sliceRows, takeRows, usedTexts } from "../../src/contract/batch.ts";
import { decodeBatchInTurns, decodeColumn, encodeBatch, encodeColumn } from "../../src/contract/codec.ts";
import { encodeDictionary, packedTexts } from "../../src/contract/codec_texts.ts";
import { streamContract } from "../../src/contract/contract.ts";
import { lazyTexts } from "../../src/contract/texts.ts";

const text = fc.oneof(
  fc.constantFrom("", "a", "ab", "é", "語", "😀", "\ud800", "\0"),
  fc.string({ maxLength: 5 }),
  fc.string({ maxLength: 5, unit: "binary" }),
);
const texts = fc.uniqueArray(text, { minLength: 1, maxLength: 40 });
const contract = streamContract({ name: "d", fields: { name: "string" }, entity: ["name"], recordId: "position" });

/** Rows of texts, some null; only the first few of the dictionary where `few`. */
const column = fc
  .tuple(texts, fc.array(fc.integer({ min: -1, max: 99 }), { maxLength: 60 }))
  .map(([dictionary, codes]): Column & { kind: "text" } => ({
    kind: "text",
    codes: Int32Array.from(codes, (code) => (code < 0 ? -1 : code % dictionary.length)),
    dictionary,
  }));
const valuesOf = ({ codes, dictionary }: Column & { kind: "text" }) =>
  Array.from(codes, (code) => (code < 0 ? null : dictionary[code]!));
const packedOf = (given: Column & { kind: "text" }) =>
  decodeColumn(encodeColumn(given, given.codes.length), "string", given.codes.length, undefined, true) as typeof given;

test("a packed column has the values of the plain one: whole, cut, picked, and with the texts in use", () => {
  fc.assert(
    fc.property(column, fc.nat({ max: 60 }), fc.nat({ max: 60 }), (given, a, b) => {
      const values = valuesOf(given);
      const packed = packedOf(given);
      expect([...packed.packed!.all()]).toEqual([...usedTexts(given, values.length).dictionary]);
      expect(valuesOf(packed)).toEqual(values);
      const [from, to] = [Math.min(a, b, values.length), Math.min(Math.max(a, b), values.length)];
      const batch = { contract, length: values.length, columns: [packed] };
      const cut = sliceRows(batch, from, to).columns[0] as typeof packed;
      const rows = Array.from({ length: to - from }, (_, i) => to - 1 - i);
      const picked = takeRows(batch, rows).columns[0] as typeof packed;
      expect([valuesOf(cut), valuesOf(picked)]).toEqual([values.slice(from, to), rows.map((row) => values[row]!)]);
      const used = usedTexts(cut, to - from);
      expect(valuesOf(used)).toEqual(values.slice(from, to));
      const first = [...new Set(values.slice(from, to).filter((value) => value !== null))];
      expect([[...used.dictionary], used.packed!.length]).toEqual([first, first.length]);
    }),
    { numRuns: 300 },
  );
});

test("a batch decoded in turns is the batch that was encoded, and its texts are made when they are read", async () => {
  await fc.assert(
    fc.asyncProperty(column, async (given) => {
      const length = given.codes.length;
      const decoded = await decodeBatchInTurns(encodeBatch({ contract, length, columns: [given] }), contract);
      const read = decoded.columns[0] as typeof given;
      expect(read.packed !== undefined || length === 0 || read.dictionary.length === 0).toBe(true);
      expect(valuesOf(read)).toEqual(valuesOf(given));
    }),
    { numRuns: 100 },
  );
});

test("packed texts are what was encoded, one by one and all", () => {
  fc.assert(
    fc.property(fc.array(text, { maxLength: 50 }), (given) => {
      const writer = new ByteWriter(16);
      encodeDictionary(writer, given);
      const packed = lazyTexts(packedTexts(new ByteReader(writer.finish())));
      expect(given.map((_, i) => packed.at(i))).toEqual(given);
      expect([...packed.all()]).toEqual(given);
      expect(packed.plain).toBe(given.every((one) => [...one].every((unit) => unit.codePointAt(0)! < 128)));
    }),
    { numRuns: 200 },
  );
});
