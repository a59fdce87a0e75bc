import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { type BasicType, parquetWriteBuffer } from "hyparquet-writer";
import { MlpeError } from "../../src/base/errors.ts";
import type { Row, Value } from "../../src/base/row.ts";
import { batchOf } from "../../src/contract/batch.ts";
import { contractOf, streamContract } from "../../src/contract/contract.ts";
import { openParquet, type ParquetReadOptions, parquetJsonLines, readParquet } from "../../src/contract/parquet.ts";
import { checkParquetSchema } from "../../src/contract/parquet_schema.ts";
import { writeParquet } from "../../src/contract/parquet_write.ts";

// Round trips through the writer and the reader; files of other shapes are made with the bare writer.

const everything = streamContract({
  name: "everything",
  fields: {
    b: "boolean",
    i: "int",
    l: "long",
    f: "float",
    d: "double",
    s: "string",
    y: "bytes",
    t: "timestamp",
    a: "date",
    bn: "boolean?",
    in: "int?",
    ln: "long?",
    fn: "float?",
    dn: "double?",
    sn: "string?",
    yn: "bytes?",
    tn: "timestamp?",
    an: "date?",
  },
  recordId: "position",
});

const values = {
  boolean: fc.boolean(),
  int: fc.integer(),
  long: fc.oneof(
    fc.maxSafeInteger(),
    fc.bigInt({ min: 2n ** 53n, max: 2n ** 63n - 1n }),
    fc.bigInt({ min: -(2n ** 63n), max: -(2n ** 53n) }),
  ),
  float: fc.float({ noNaN: true }),
  double: fc.double(),
  string: fc.string({ unit: "grapheme" }),
  bytes: fc.uint8Array({ maxLength: 20 }).map((bytes) => new Uint8Array(bytes)),
  timestamp: fc.integer({ min: -(2 ** 52), max: 2 ** 52 }),
  date: fc.integer({ min: -700_000, max: 700_000 }),
} as Record<string, fc.Arbitrary<Value>>;

const row: fc.Arbitrary<Row> = fc.record(
  Object.fromEntries(
    everything.fields.map((field) => [
      field.name,
      field.nullable ? fc.option(values[field.type]!, { nil: null }) : values[field.type]!,
    ]),
  ),
);

async function readAll(bytes: Uint8Array, options: ParquetReadOptions = {}): Promise<Row[]> {
  const file = await openParquet(bytes, "x.parquet");
  const rows: Row[] = [];
  for await (const slice of readParquet(file, "x.parquet", options)) {
    expect(slice.first).toBe((options.from ?? 0) + rows.length);
    rows.push(...slice.rows);
  }
  return rows;
}

async function failureOf(work: Promise<unknown>): Promise<MlpeError> {
  const error = await work.then(
    () => new Error("it was accepted"),
    (thrown) => thrown,
  );
  if (!(error instanceof MlpeError)) throw error;
  return error;
}

function fileOf(columns: Record<string, { type: BasicType; data: unknown[]; nullable?: boolean }>): Uint8Array {
  const columnData = Object.entries(columns).map(([name, column]) => ({ name, ...column, data: column.data as never }));
  return new Uint8Array(parquetWriteBuffer({ columnData }));
}

describe("a written file", () => {
  test("reads back to the same values of every type, null or not", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(row, { maxLength: 40 }), async (rows) => {
        const bytes = writeParquet([batchOf(everything, rows)], {}, everything);
        expect(await readAll(bytes, { contract: everything })).toEqual(rows);
      }),
      { numRuns: 60 },
    );
  });

  test("has the same bytes whatever the batches", () => {
    fc.assert(
      fc.property(fc.array(row, { maxLength: 30 }), fc.array(fc.nat(30), { maxLength: 5 }), (rows, cuts) => {
        const edges = [0, ...cuts.filter((cut) => cut <= rows.length), rows.length].sort((a, b) => a - b);
        const parts = edges.slice(1).map((end, index) => batchOf(everything, rows.slice(edges[index], end)));
        const whole = writeParquet([batchOf(everything, rows)], { b: "2", a: "1" });
        expect(Buffer.compare(whole, writeParquet(parts, { a: "1", b: "2" }, everything))).toBe(0);
      }),
      { numRuns: 40 },
    );
  });

  test("has row groups of a fixed size across batches, and reads on from any row", async () => {
    const contract = streamContract({ name: "n", fields: { n: "long", s: "string?" }, recordId: ["n"] });
    const rows = Array.from({ length: 70_000 }, (_, n) => ({ n, s: n % 3 === 0 ? null : `s${n % 50}` }));
    const one = writeParquet([batchOf(contract, rows)]);
    const pieces: Row[][] = [];
    for (let at = 0; at < rows.length; at += 9_999) pieces.push(rows.slice(at, at + 9_999));
    expect(Buffer.compare(one, writeParquet(pieces.map((piece) => batchOf(contract, piece))))).toBe(0);
    const file = await openParquet(one, "x.parquet");
    expect(file.footer.row_groups.map((group) => Number(group.num_rows))).toEqual([65_536, 4_464]);
    expect(file.rows).toBe(70_000);
    expect(await readAll(one, { from: 65_000, sliceRows: 1_000 })).toEqual(rows.slice(65_000));
  });

  test("carries its Avro schema and what it is given", async () => {
    const file = await openParquet(writeParquet([], { "mlpe.view": "v" }, everything), "x.parquet");
    expect(file.metadata["mlpe.view"]).toBe("v");
    const avro = contractOf(JSON.parse(file.metadata["parquet.avro.schema"]!), "x");
    expect(avro.fingerprint).toBe(everything.fingerprint);
    expect(file.rows).toBe(0);
    expect(checkParquetSchema(file.columns, everything)).toEqual([]);
    expect(file.columns.map((column) => [column.type, column.nullable])).toEqual(
      everything.fields.map((field) => [field.type, field.nullable]),
    );
  });
});

describe("values that need care", () => {
  test("are spelled as contracts read them in JSON lines", async () => {
    const contract = streamContract({
      name: "n",
      fields: { t: "timestamp", a: "date", y: "bytes", l: "long", d: "double", s: "string?" },
      recordId: "position",
    });
    const rows = [
      { t: 1_357_034_400_000_001, a: 15_706, y: new Uint8Array([1, 2]), l: 2n ** 60n, d: Number.NaN, s: null },
      { t: 0, a: 0, y: new Uint8Array(), l: -5, d: 0.1, s: 'a"b' },
    ];
    const bytes = writeParquet([batchOf(contract, rows)]);
    const file = await openParquet(bytes, "x");
    expect(parquetJsonLines(file.columns, await readAll(bytes))).toBe(
      `{"t":"2013-01-01T10:00:00.000001Z","a":"2013-01-01","y":"AQI=","l":1152921504606846976,"d":"NaN","s":null}\n` +
        `{"t":"1970-01-01T00:00:00Z","a":"1970-01-01","y":"","l":-5,"d":0.1,"s":"a\\"b"}\n`,
    );
  });

  test("nanoseconds and local times are neither rounded nor guessed", async () => {
    const { ByteWriter, parquetWrite } = await import("hyparquet-writer");
    const writer = new ByteWriter();
    const stamp = (name: string, unit: "NANOS" | "MICROS", utc: boolean) => ({
      name,
      type: "INT64" as const,
      repetition_type: "REQUIRED" as const,
      logical_type: { type: "TIMESTAMP" as const, isAdjustedToUTC: utc, unit },
    });
    parquetWrite({
      writer,
      columnData: [
        { name: "n", data: [1_000n, 1_500_000_001n, -1n] },
        { name: "l", data: [0n, 1_000_000n, 1n] },
      ],
      schema: [{ name: "root", num_children: 2 }, stamp("n", "NANOS", true), stamp("l", "MICROS", false)],
    });
    const rows = await readAll(new Uint8Array(writer.getBuffer()));
    expect(rows).toEqual([
      { n: 1, l: "1970-01-01T00:00:00" },
      { n: "1970-01-01T00:00:01.500000001Z", l: "1970-01-01T00:00:01" },
      { n: "1969-12-31T23:59:59.999999999Z", l: "1970-01-01T00:00:00.000001" },
    ]);
  });
});

describe("a file that does not fit its contract", () => {
  const contract = contractOf(
    {
      type: "record",
      name: "trip",
      recordId: ["id"],
      eventTime: "at",
      fields: [
        { name: "id", type: "long" },
        { name: "at", type: { type: "long", logicalType: "timestamp-micros" } },
        { name: "distance", type: "float" },
        { name: "note", type: ["null", "string"], default: null },
      ],
    },
    "trip.avsc",
  );
  const good = {
    id: { type: "INT64" as const, data: [1n] },
    at: { type: "TIMESTAMP" as const, data: [new Date(0)] },
    distance: { type: "FLOAT" as const, data: [1.5] },
  };

  const cases: [string, Record<string, unknown>, string, string, string][] = [
    ["a missing column", { distance: undefined }, "trip.distance", 'no column "distance"', "set:"],
    [
      "a misspelt column",
      { distance: undefined, distanc: good.distance },
      "trip.distance",
      "no column",
      "rename: { distance: distanc }",
    ],
    ["a narrowing", { distance: { type: "DOUBLE", data: [1.5] } }, "trip.distance", "DOUBLE", "a double"],
    ["text for a number", { id: { type: "STRING", data: ["1"] } }, "trip.id", "BYTE_ARRAY UTF8", "a long"],
    ["a number for an instant", { at: { type: "INT64", data: [0n] } }, "trip.at", "INT64", "microseconds"],
    [
      "only nulls",
      { id: { type: "INT64", data: [null], nullable: true } },
      "trip.id",
      "null in every row",
      "allow null",
    ],
    ["a nested column", { id: { type: "VARIANT", data: [{ a: 1 }] } }, "trip.id", "nested", "a long"],
  ];
  for (const [name, change, path, message, fix] of cases) {
    test(`is refused before a row is read: ${name}`, async () => {
      const shape = Object.fromEntries(
        Object.entries({ ...good, ...change }).filter(([, column]) => column !== undefined),
      );
      const failure = await failureOf(readAll(fileOf(shape as typeof good), { contract }));
      expect(failure.code).toBe("contract.structure_mismatch");
      expect(failure.problems).toHaveLength(1);
      expect(failure.place).toBe(`x.parquet (${path})`);
      expect(failure.message).toContain(message);
      expect(failure.fix).toContain(fix);
    });
  }

  test("but one that widens, renames, computes or leaves defaults out is read", async () => {
    const file = fileOf({ nr: { type: "INT32", data: [7] }, distance: { type: "INT32", data: [3] } });
    const mapping = { rename: { id: "nr" }, computed: ["at"] };
    expect(await readAll(file, { contract, mapping })).toEqual([{ nr: 7, distance: 3 }]);
  });
});

describe("a file that is no Parquet", () => {
  const bytes = writeParquet([batchOf(everything, fc.sample(row, { numRuns: 50, seed: 1 }))]);

  test("is refused", async () => {
    for (const text of ["", "PAR1", "a,b\n1,2\n3,4\n5,6\n", "PAR1".repeat(5)]) {
      const failure = await failureOf(readAll(new TextEncoder().encode(text)));
      expect([text, failure.code]).toEqual([text, "contract.bad_parquet"]);
    }
    expect((await failureOf(readAll(bytes.slice(0, -1)))).code).toBe("contract.bad_parquet");
  });

  test("and any damage is an error of ours or goes unseen in the values, never anything else, and never for long", async () => {
    await fc.assert(
      fc.asyncProperty(fc.nat(bytes.length - 1), fc.integer({ min: 1, max: 255 }), async (at, flip) => {
        const damaged = bytes.slice();
        damaged[at]! ^= flip;
        await readAll(damaged).catch((error) => {
          if (!(error instanceof MlpeError)) throw error;
          expect(error.code).toStartWith("contract.");
        });
      }),
      { numRuns: 200 },
    );
  });

  test("a compression that is not read is named", async () => {
    const columnData = [{ name: "n", data: [1, 2, 3], type: "INT32" as const }];
    const file = parquetWriteBuffer({ columnData, codec: "BROTLI", compressors: { BROTLI: (input) => input } });
    const failure = await failureOf(readAll(new Uint8Array(file)));
    expect([failure.code, failure.message]).toEqual([
      "contract.parquet_unsupported",
      'the column "n" of x.parquet is compressed with BROTLI',
    ]);
  });
});
