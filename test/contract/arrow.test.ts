/** Arrow IPC as Arrow's own reader gives it back: random batches of every type, with and without nulls. */
import { expect, test } from "bun:test";
import { tableFromIPC } from "apache-arrow";
import fc from "fast-check";
import type { Row } from "../../src/base/row.ts";
import { arrowStream } from "../../src/contract/arrow.ts";
import { batchOf } from "../../src/contract/batch.ts";
import { contractOf } from "../../src/contract/contract.ts";

const symbols = ["up", "down"];
const avro = {
  b: "boolean",
  i: "int",
  l: "long",
  f: "float",
  d: "double",
  s: "string",
  e: { type: "enum", name: "way", symbols },
  y: "bytes",
  t: { type: "long", logicalType: "timestamp-micros" },
  a: { type: "int", logicalType: "date" },
};
const contract = contractOf(
  {
    type: "record",
    name: "all",
    recordId: "position",
    fields: Object.entries(avro).map(([name, type]) => ({ name, type: ["null", type] })),
  },
  "all",
);
const maybe = <T>(inner: fc.Arbitrary<T>) => fc.option(inner, { nil: null });
const row: fc.Arbitrary<Row> = fc.record({
  b: maybe(fc.boolean()),
  i: maybe(fc.integer()),
  l: maybe(fc.oneof(fc.integer(), fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }))),
  f: maybe(fc.float()),
  d: maybe(fc.double()),
  s: maybe(fc.string({ unit: "grapheme" })),
  e: maybe(fc.constantFrom(...symbols)),
  y: maybe(fc.uint8Array({ maxLength: 9 })),
  t: maybe(fc.integer({ min: -(2 ** 52), max: 2 ** 52 })),
  a: maybe(fc.integer({ min: -100_000, max: 100_000 })),
});

test("every type comes back as it went, whatever the batches", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(fc.array(row, { maxLength: 20 }), { maxLength: 4 }), async (batches) => {
      const stream = await arrowStream(contract.fields, { where: "here" });
      const parts = [stream.begin()];
      for (const rows of batches) {
        const batch = batchOf(contract, rows);
        parts.push(stream.batch(batch.columns, batch.length));
      }
      const table = tableFromIPC(Buffer.concat([...parts, stream.end()]));
      expect(table.schema.metadata.get("where")).toBe("here");
      expect(table.schema.fields.map((field) => String(field.type))).toEqual([
        "Bool",
        "Int32",
        "Int64",
        "Float32",
        "Float64",
        "Utf8",
        "Dictionary<Int32, Utf8>",
        "Binary",
        "Timestamp<MICROSECOND, UTC>",
        "Date32<DAY>",
      ]);
      const expected = batches.flat();
      expect(table.numRows).toBe(expected.length);
      for (const [at, want] of expected.entries()) {
        const got = table.get(at)!;
        const same = (name: string, value: unknown) => expect([name, got[name]]).toEqual([name, value]);
        for (const name of ["b", "i", "f", "d", "s", "e", "y"] as const) same(name, want[name]);
        same("l", want.l === null ? null : BigInt(want.l as number | bigint));
        // Arrow's JavaScript reader gives instants and days as (fractions of) milliseconds.
        same("t", want.t === null ? null : (want.t as number) / 1000);
        same("a", want.a === null ? null : (want.a as number) * 86_400_000);
      }
    }),
    { numRuns: 60 },
  );
});
