import type { SchemaElement } from "hyparquet";
import { ByteWriter, ParquetWriter } from "hyparquet-writer";
import { invariant } from "../base/errors.ts";
import type { Value } from "../base/row.ts";
import { type Batch, valueAt } from "./batch.ts";
import type { Contract, Field, FieldType } from "./contract.ts";

/** Rows in a row group: fixed, so that the bytes do not depend on how the rows came in batches. */
const GROUP_ROWS = 65_536;
/** A row group of an appender ends at this many bytes of texts and byte strings too. */
const GROUP_TEXT_BYTES_MAX = 32 << 20;
const ZSTD_LEVEL = 3;

/**
 * Parquet with one column per contract field in its order, typed and nullable as the contract says, timestamps in
 * microseconds of UTC, zstd pages, and the Avro schema under the key `parquet.avro.schema` beside `metadata`.
 * The same rows give the same bytes whatever the batches they come in. `contract` is needed where there may be no batch.
 */
export function writeParquet(
  batches: readonly Batch[],
  metadata: Readonly<Record<string, string>> = {},
  contract: Contract | undefined = batches[0]?.contract,
): Uint8Array<ArrayBuffer> {
  invariant(contract, "a Parquet file without rows needs a contract");
  for (const batch of batches) {
    invariant(batch.contract.fingerprint === contract.fingerprint, `batches of ${contract.name} have two contracts`);
  }
  const keys = { ...metadata, "parquet.avro.schema": JSON.stringify(contract.schema) };
  const writer = new ByteWriter();
  const parquet = parquetWriter(writer, contract.name, contract.fields, keys);
  for (const group of rowGroups(batches)) {
    const columnData = contract.fields.map((field, index) => ({
      name: field.name,
      data: columnValues(field, index, group),
    }));
    parquet.write({ columnData, rowGroupSize: GROUP_ROWS });
  }
  parquet.finish();
  return new Uint8Array(writer.getBuffer());
}

/** A Parquet file that is made row by row: at most one row group and its encoded bytes are in memory. */
export interface ParquetAppender {
  /** Adds a row: its values in the order of the fields. */
  add(values: readonly Value[]): void;
  /** The bytes that were made since the last time; empty until a row group is full. */
  take(): Uint8Array<ArrayBuffer>;
  /** Ends the file and gives the rest of its bytes. */
  finish(): Uint8Array<ArrayBuffer>;
}

/** The same file as `writeParquet` makes, of rows that need not fit in memory; row groups of long texts have fewer rows. */
export function parquetAppender(
  name: string,
  fields: readonly Field[],
  metadata: Readonly<Record<string, string>>,
): ParquetAppender {
  const writer = new ByteWriter();
  const parquet = parquetWriter(writer, name, fields, metadata);
  const wide = fields.map(({ type }) => type === "long" || type === "timestamp");
  let columns: unknown[][] = fields.map(() => []);
  let rows = 0;
  let textBytes = 0;
  const endGroup = () => {
    if (rows === 0) return;
    const columnData = fields.map((field, index) => ({ name: field.name, data: columns[index]! }));
    parquet.write({ columnData, rowGroupSize: rows });
    columns = fields.map(() => []);
    rows = 0;
    textBytes = 0;
  };
  const take = () => {
    const bytes = writer.getBytes().slice();
    writer.index = 0;
    return bytes;
  };
  return {
    add(values) {
      for (let c = 0; c < fields.length; c++) {
        const value = values[c]!;
        if (typeof value === "string" || value instanceof Uint8Array) textBytes += value.length;
        columns[c]!.push(wide[c] && typeof value === "number" ? BigInt(value) : value);
      }
      rows++;
      if (rows === GROUP_ROWS || textBytes >= GROUP_TEXT_BYTES_MAX) endGroup();
    },
    take,
    finish() {
      endGroup();
      parquet.finish();
      return take();
    },
  };
}

function parquetWriter(
  writer: ByteWriter,
  name: string,
  fields: readonly Field[],
  metadata: Readonly<Record<string, string>>,
): ParquetWriter {
  return new ParquetWriter({
    writer,
    schema: schemaElements(name, fields),
    codec: "ZSTD",
    compressors: { ZSTD: (bytes) => Bun.zstdCompressSync(bytes, { level: ZSTD_LEVEL }) },
    kvMetadata: Object.entries(metadata)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([key, value]) => ({ key, value })),
    createdBy: "mlpe",
  });
}

const PHYSICAL: Readonly<Record<FieldType, Partial<SchemaElement>>> = {
  boolean: { type: "BOOLEAN" },
  int: { type: "INT32" },
  long: { type: "INT64" },
  float: { type: "FLOAT" },
  double: { type: "DOUBLE" },
  string: { type: "BYTE_ARRAY", converted_type: "UTF8", logical_type: { type: "STRING" } },
  enum: { type: "BYTE_ARRAY", converted_type: "UTF8", logical_type: { type: "STRING" } },
  bytes: { type: "BYTE_ARRAY" },
  timestamp: {
    type: "INT64",
    converted_type: "TIMESTAMP_MICROS",
    logical_type: { type: "TIMESTAMP", isAdjustedToUTC: true, unit: "MICROS" },
  },
  date: { type: "INT32", converted_type: "DATE", logical_type: { type: "DATE" } },
};

function schemaElements(name: string, fields: readonly Field[]): SchemaElement[] {
  const elements = fields.map(
    (field): SchemaElement => ({
      name: field.name,
      repetition_type: field.nullable ? "OPTIONAL" : "REQUIRED",
      ...PHYSICAL[field.type],
    }),
  );
  return [{ name, num_children: elements.length }, ...elements];
}

/** A run of rows of one batch. */
interface Run {
  readonly batch: Batch;
  readonly from: number;
  readonly to: number;
}

function rowGroups(batches: readonly Batch[]): Run[][] {
  const groups: Run[][] = [];
  let room = 0;
  for (const batch of batches) {
    for (let from = 0; from < batch.length; ) {
      if (room === 0) {
        groups.push([]);
        room = GROUP_ROWS;
      }
      const to = Math.min(batch.length, from + room);
      groups.at(-1)!.push({ batch, from, to });
      room -= to - from;
      from = to;
    }
  }
  return groups;
}

function columnValues(field: Field, index: number, runs: readonly Run[]): unknown[] {
  const wide = field.type === "long" || field.type === "timestamp";
  const values: unknown[] = [];
  for (const { batch, from, to } of runs) {
    const column = batch.columns[index]!;
    for (let row = from; row < to; row++) {
      const value = valueAt(column, field.type, row);
      values.push(wide && typeof value === "number" ? BigInt(value) : value);
    }
  }
  return values;
}
