import type { Column } from "./batch.ts";
import type { FieldType } from "./contract.ts";

/** A column of an Arrow stream. */
export interface ArrowField {
  readonly name: string;
  readonly type: FieldType;
  readonly nullable: boolean;
  readonly symbols?: readonly string[];
}

/** One Arrow IPC stream, made batch by batch: each call gives the bytes that it adds. */
export interface ArrowStream {
  /** The schema and, the first time, what comes before it. */
  begin(): Uint8Array;
  /** Columns in the order of the fields. */
  batch(columns: readonly Column[], length: number): Uint8Array;
  end(): Uint8Array;
}

/**
 * Opens an Arrow IPC stream (Arrow columnar format 1.5). Timestamps are Timestamp(us, UTC), dates Date32, int and long Int32
 * and Int64, float and double Float32 and Float64, texts Utf8, enums a dictionary of their symbols, bytes Binary, booleans
 * Bool; nulls are nulls. The schema is the contract's alone: no type depends on the values.
 */
export async function arrowStream(
  fields: readonly ArrowField[],
  metadata: Readonly<Record<string, string>> = {},
): Promise<ArrowStream> {
  // Loaded when it is first needed: no other command should wait for it.
  const arrow = await import("apache-arrow");
  type Data = import("apache-arrow").Data;
  const { makeData } = arrow;

  const types = fields.map((field, id) => typeOf(arrow, field, id));
  const schema = new arrow.Schema(
    fields.map((field, i) => new arrow.Field(field.name, types[i]!, field.nullable)),
    new Map(Object.entries(metadata)),
  );
  const dictionaries = fields.map(({ symbols }) =>
    symbols === undefined ? undefined : arrow.vectorFromArray([...symbols], new arrow.Utf8()),
  );

  const dataOf = (column: Column, index: number, length: number): Data => {
    const { type: kind, symbols } = fields[index]!;
    const type = types[index]! as never;
    if (column.kind === "bytes" || (column.kind === "text" && kind !== "enum")) {
      return makeData({ type, length, ...spans(column, length) } as never);
    }
    if (column.kind === "text") {
      const places = column.dictionary.map((text) => symbols?.indexOf(text) ?? -1);
      const codes = column.codes.map((code) => (code < 0 ? 0 : places[code]!));
      const nulls = nullsOf(length, (row) => column.codes[row]! < 0);
      return makeData({ type, length, data: codes, dictionary: dictionaries[index], ...nulls } as never);
    }
    const { valid } = column;
    const nulls = valid === undefined ? {} : nullsOf(length, (row) => valid[row] === 0);
    return makeData({ type, length, data: valuesOf(column, kind, length), ...nulls } as never);
  };

  const parts: Uint8Array[] = [];
  const sink = new arrow.AsyncByteQueue();
  sink.write = (chunk) => {
    const bytes = chunk as Uint8Array;
    parts.push(bytes.slice()); // the writer uses its buffers again
    return bytes.length;
  };
  const writer = new arrow.RecordBatchStreamWriter({ autoDestroy: false });
  const taken = () => new Uint8Array(Buffer.concat(parts.splice(0)));
  return {
    begin() {
      writer.reset(sink, schema);
      return taken();
    },
    batch(columns, length) {
      const children = columns.map((column, index) => dataOf(column, index, length));
      const data = makeData({ type: new arrow.Struct(schema.fields), length, nullCount: 0, children });
      writer.write(new arrow.RecordBatch(schema, data));
      return taken();
    },
    end() {
      writer.finish();
      return taken();
    },
  };
}

type Arrow = typeof import("apache-arrow");

function typeOf(arrow: Arrow, field: ArrowField, id: number): import("apache-arrow").DataType {
  const types: Readonly<Record<FieldType, () => import("apache-arrow").DataType>> = {
    boolean: () => new arrow.Bool(),
    int: () => new arrow.Int32(),
    long: () => new arrow.Int64(),
    float: () => new arrow.Float32(),
    double: () => new arrow.Float64(),
    string: () => new arrow.Utf8(),
    enum: () => new arrow.Dictionary(new arrow.Utf8(), new arrow.Int32(), id),
    bytes: () => new arrow.Binary(),
    timestamp: () => new arrow.TimestampMicrosecond("UTC"),
    date: () => new arrow.DateDay(),
  };
  return types[field.type]();
}

/** A bit a row, 1 where there is a value, and how many there are not. */
function nullsOf(length: number, isNull: (row: number) => boolean): { nullCount: number; nullBitmap?: Uint8Array } {
  const nullBitmap = new Uint8Array(Math.ceil(length / 64) * 8);
  let nullCount = 0;
  for (let row = 0; row < length; row++) {
    if (isNull(row)) nullCount++;
    else nullBitmap[row >> 3]! |= 1 << (row & 7);
  }
  return nullCount === 0 ? { nullCount } : { nullCount, nullBitmap };
}

/** Texts and byte strings: their bytes one after another, and where each begins. */
function spans(column: Column & { kind: "text" | "bytes" }, length: number) {
  const encoder = new TextEncoder();
  const dictionary = column.kind === "text" ? column.dictionary.map((text) => encoder.encode(text)) : [];
  const at = (row: number): Uint8Array | undefined =>
    column.kind === "text" ? dictionary[column.codes[row]!] : (column.values[row] ?? undefined);
  const valueOffsets = new Int32Array(length + 1);
  for (let row = 0; row < length; row++) valueOffsets[row + 1] = valueOffsets[row]! + (at(row)?.length ?? 0);
  const data = new Uint8Array(valueOffsets[length]!);
  for (let row = 0; row < length; row++) {
    const bytes = at(row);
    if (bytes !== undefined) data.set(bytes, valueOffsets[row]);
  }
  return { data, valueOffsets, ...nullsOf(length, (row) => at(row) === undefined) };
}

function valuesOf(column: Column & { kind: "number" | "bigint" }, kind: FieldType, length: number): unknown {
  if (kind === "boolean") {
    const bits = new Uint8Array(Math.ceil(length / 64) * 8);
    for (let row = 0; row < length; row++) if (Number(column.values[row]) !== 0) bits[row >> 3]! |= 1 << (row & 7);
    return bits;
  }
  if (kind === "long" || kind === "timestamp") {
    if (column.kind === "bigint") return column.values.slice(0, length);
    const wide = new BigInt64Array(length);
    for (let row = 0; row < length; row++) wide[row] = BigInt(column.values[row]! || 0); // under a null may be anything
    return wide;
  }
  const values = column.values as Float64Array | Int32Array;
  if (kind === "int" || kind === "date") return Int32Array.from(values.subarray(0, length));
  return kind === "float"
    ? Float32Array.from(values.subarray(0, length))
    : Float64Array.from(values.subarray(0, length));
}
