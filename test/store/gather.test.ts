/** Columns put together of parts in any order, against plain lists of values. */
import { expect, test } from "bun:test";
import fc from "fast-check";
import type { Value } from "../../src/base/row.ts";
import { pace } from "../../src/base/turn.ts";
import { type Column, columnOf, valueAt } from "../../src/contract/batch.ts";
import { decodeColumn, encodeColumn } from "../../src/contract/codec.ts";
import type { Field, FieldType } from "../../src/contract/contract.ts";
import { gathering } from "../../src/store/gather.ts";

const valuesOf: Readonly<Record<string, fc.Arbitrary<Value>>> = {
  string: fc.oneof(fc.string({ maxLength: 3 }), fc.constantFrom("é", "語", "\ud800", "")),
  bytes: fc.uint8Array({ maxLength: 3 }),
  int: fc.integer({ min: -5, max: 5 }),
  boolean: fc.boolean(),
  double: fc.double({ noNaN: true, noDefaultInfinity: true }),
  long: fc.oneof(fc.integer(), fc.bigInt({ min: 2n ** 60n, max: 2n ** 62n })),
};

/** Parts of a column, each as a segment or a commit gives it. */
const parts = fc.constantFrom(...Object.keys(valuesOf)).chain((type) =>
  fc.record({
    type: fc.constant(type as FieldType),
    parts: fc.array(fc.array(fc.option(valuesOf[type]!, { freq: 5 }), { maxLength: 20 }), {
      minLength: 1,
      maxLength: 6,
    }),
    seed: fc.nat(),
  }),
);

const columnsOf = (type: FieldType, values: readonly Value[], room: Float64Array): Column => {
  const column = columnOf({ type }, values.length, (i) => values[i]!);
  return decodeColumn(encodeColumn(column, values.length), type, values.length, undefined, true, room);
};

test("every row is where it was put, whatever the parts are made of", async () => {
  await fc.assert(
    fc.asyncProperty(parts, async ({ type, parts, seed }) => {
      const rows = parts.flatMap((values, part) => values.map((_, row) => [part, row] as const));
      // each row somewhere else, by multiplication
      const places = rows
        .map((_, i) => i)
        .sort((a, b) => ((a * 7919 + seed) % 101) - ((b * 7919 + seed) % 101) || a - b);
      const gathered = gathering({ name: "f", type } as Field, rows.length);
      let at = 0;
      const room = new Float64Array(15).fill(Number.NaN); // of every part, one after another; some are larger
      for (const values of parts) {
        const targets = Int32Array.from(values, () => places[at++]!);
        await gathered.put(
          columnsOf(type, values, room),
          Int32Array.from(values, (_, row) => row),
          targets,
          pace(),
        );
      }
      const column = await gathered.finish(pace());
      const expected: Value[] = [];
      for (const [i, [part, row]] of rows.entries()) expected[places[i]!] = parts[part]![row]!;
      const found = rows.map((_, i) => valueAt(column, type, i));
      expect(found.map(plain)).toEqual(expected.map(plain));
    }),
    { numRuns: 400 },
  );
});

/** Whole numbers are told apart from doubles by nobody but the column. */
const plain = (value: Value) =>
  typeof value === "bigint" ? `${value}` : typeof value === "number" ? `${value}` : value;
