/** Packed texts against a plain map of strings; and large tables that grow a part at a time against plain lists. */
import { expect, test } from "bun:test";
import fc from "fast-check";
import { streamContract } from "../../src/contract/contract.ts";
import { readValue } from "../../src/fusion/column.ts";
import {
  codeOf,
  compareTexts,
  type Dictionary,
  dictionary,
  internAscii,
  internText,
  textOf,
} from "../../src/fusion/dictionary.ts";
import { entryOf } from "../../src/fusion/keys.ts";
import { placesOf, scratchList } from "../../src/fusion/path.ts";
import { applyToTable, createTable, pathOf } from "../../src/fusion/table.ts";

const texts = fc.oneof(
  fc.constantFrom("", "a", "é", "ÿ", "Ā", "語", "😀", "\ud800", "\udc00", "a\0", "\0", "ab", "a\u0101"),
  fc.string({ maxLength: 4, unit: fc.nat({ max: 0x101 }).map((unit) => String.fromCharCode(unit)) }),
);

test("texts of any code units have the codes that a map would give, and the order of strings", () => {
  fc.assert(
    fc.property(fc.array(texts, { maxLength: 200 }), texts, (given, other) => {
      const packed = dictionary();
      const codes = new Map<string, number>();
      for (const text of given) {
        if (!codes.has(text)) codes.set(text, codes.size);
        expect(internAny(packed, text)).toBe(codes.get(text)!);
      }
      packed.strings.length = 0; // as if they were beyond those that are kept
      for (const [text, code] of codes) expect([textOf(packed, code), codeOf(packed, text)]).toEqual([text, code]);
      expect(codeOf(packed, other)).toBe(codes.get(other) ?? -1);
      const known = [...codes];
      for (let i = 1; i < known.length; i++) {
        const [[a, x], [b, y]] = [known[i - 1]!, known[i]!];
        expect(Math.sign(compareTexts(packed, x, y))).toBe(a < b ? -1 : 1);
      }
    }),
    { numRuns: 300 },
  );
});

/** Every other text of ASCII from its bytes, which stand between others. */
function internAny(into: Dictionary, text: string): number {
  if (text.length % 2 === 0 || [...text].some((unit) => unit.codePointAt(0)! > 127)) return internText(into, text);
  return internAscii(into, Buffer.from(`x${text}y`, "latin1"), 1, 1 + text.length);
}

test("thousands of texts, read from bytes, are found while the room for them grows", () => {
  const packed = dictionary();
  const count = 40_000;
  for (let i = 0; i < count; i++) {
    const bytes = Buffer.from(`device-${i}`, "latin1");
    expect(internAscii(packed, bytes, 0, bytes.length)).toBe(i);
    if (i % 97 === 0) expect(internText(packed, `device-${i >> 1}`)).toBe(i >> 1);
  }
  for (let i = 0; i < count; i += 7)
    expect([codeOf(packed, `device-${i}`), textOf(packed, i)]).toEqual([i, `device-${i}`]);
  expect(codeOf(packed, `device-${count}`)).toBe(-1);
});

const contract = streamContract({
  name: "d",
  fields: { name: "string", part: "int", value: "double", at: "timestamp" },
  entity: ["name"],
  eventTime: "at",
  recordId: ["name", "part"],
});

test("a table that grows while rows come, slice by slice, loses none of them", () => {
  const need = { dataset: "d", contract, isStatic: false, available: undefined, derived: undefined };
  const table = createTable([{ ...need, fields: ["name", "part", "value", "at"] }]);
  const path = pathOf(table, ["name"]);
  const rows = 150_000;
  const names = Array.from({ length: rows / 2 }, (_, i) => `E${i}`);
  const stored = {
    stream: "curated/d",
    batch: {
      contract,
      length: rows,
      columns: [
        { kind: "text" as const, codes: Int32Array.from({ length: rows }, (_, i) => i >> 1), dictionary: names },
        { kind: "number" as const, values: Int32Array.from({ length: rows }, (_, i) => i & 1) },
        { kind: "number" as const, values: Float64Array.from({ length: rows }, (_, i) => i / 8) },
        { kind: "number" as const, values: Float64Array.from({ length: rows }, (_, i) => i) },
      ],
    },
    sequences: Float64Array.from({ length: rows }, (_, i) => i),
    commitNos: new Float64Array(rows).fill(1),
    knownTimes: new Float64Array(rows).fill(1),
    tombstones: new Uint8Array(rows),
  };
  let ahead = 0;
  for (let at = 0; at < rows; at += 500) {
    applyToTable(table, stored, at, Math.min(at + 500, rows));
    if (table.growth) ahead++;
  }
  expect(ahead).toBeGreaterThan(5);
  expect(table.length).toBe(rows);
  const scratch = scratchList();
  for (let i = 0; i < rows; i += 7) {
    const list = placesOf(path, [`E${i >> 1}`], scratch)!;
    const place = list.places[i & 1]!;
    const values = [...table.columns.values()].map((column) => readValue(column, place));
    expect(values).toEqual([`E${i >> 1}`, i & 1, i / 8, i]);
    expect(entryOf(table.ids!, [`E${i >> 1}`, i & 1])).toBe(i);
    expect([table.alive[place], table.sequences[place]]).toEqual([1, i]);
  }
});
