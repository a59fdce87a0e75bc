import { ByteReader, ByteWriter } from "../base/bytes.ts";
import { pace } from "../base/turn.ts";
import { type Batch, type Column, usedTexts } from "./batch.ts";
import { DECIMALS_MAX, decimalsOf } from "./codec_decimal.ts";
import { packedTexts, textsAsBytes, writeDictionary } from "./codec_texts.ts";
import { doublesIn, packingOf, unpackWhole, writePacked } from "./codec_whole.ts";
import type { Contract, FieldType } from "./contract.ts";
import { type LazyTexts, lazyTexts, packedColumn } from "./texts.ts";

/**
 * The one encoding of columns: in commit records and in segment chunks. A column is a tag byte, a validity bitmap
 * where there are nulls, and a body; whole numbers are packed to as few bytes as their range or their steps need.
 * Decoding checks every length against the bytes at hand, so damaged input throws RangeError and never hangs.
 */

/** The most rows one encoded batch may claim: bounds what hostile bytes can make a decoder allocate. */
const MAX_BATCH_ROWS = 1 << 22;

const RAW = 0; // IEEE doubles
const SINGLE = 1; // IEEE singles, where nothing is lost
export const WHOLE = 2; // whole numbers: see codec_whole.ts
const LONG = 3; // 64-bit integers beyond +-2^53
const TEXT = 4; // a dictionary of its own, then codes
export const CODES = 5; // codes into a dictionary that stands elsewhere
const BYTES = 6;
const NULLS = 7; // every value is null
export const DECIMAL = 8; // doubles that are whole numbers divided by a power of ten
export const NULLABLE = 0x80;

const INT32_TYPES: ReadonlySet<FieldType> = new Set(["boolean", "int", "date"]);
export const TEXT_TYPES: ReadonlySet<FieldType> = new Set(["string", "enum"]);

/** All rows and columns of the batch, without its contract. */
export function encodeBatch(batch: Batch): Uint8Array<ArrayBuffer> {
  const writer = new ByteWriter(64 + batch.length * batch.columns.length * 4);
  return writeBatch(writer, batch, new ByteWriter(64 + batch.length * 8)).finish();
}

/** The same behind what stands in `writer`; columns are made in `body`. */
export function writeBatch(writer: ByteWriter, batch: Batch, body: ByteWriter): ByteWriter {
  if (batch.length > MAX_BATCH_ROWS) throw new RangeError(`a batch has at most ${MAX_BATCH_ROWS} rows`);
  writer.varint(batch.length);
  for (const column of batch.columns) writer.bytes(writeColumn(body.clear(), column, batch.length, false).written());
  return writer;
}

/**
 * The batch that `encodeBatch` wrote under `contract`. With `columns`, only those fields are decoded and the others
 * are all null. Throws RangeError on bytes that are no such batch.
 */
export function decodeBatch(bytes: Uint8Array, contract: Contract, columns?: readonly string[]): Batch {
  const { length, bodies } = splitBatch(bytes, contract);
  const nulls = nullColumns(length);
  const decoded = contract.fields.map(({ name, type }, i) => {
    const wanted = columns === undefined || columns.includes(name);
    return wanted ? decodeColumn(bodies[i]!, type, length) : nulls(type);
  });
  return { contract, length, columns: decoded };
}

/** The same in turns, with texts packed. */
export async function decodeBatchInTurns(bytes: Uint8Array, contract: Contract): Promise<Batch> {
  const steps = pace();
  const { length, bodies } = splitBatch(bytes, contract);
  const columns: Column[] = [];
  for (const [i, { type }] of contract.fields.entries()) {
    columns.push(decodeColumn(bodies[i]!, type, length, undefined, true));
    if (steps.due()) await steps.turn();
  }
  return { contract, length, columns };
}

/** Rows, and the bytes of each column. */
function splitBatch(bytes: Uint8Array, { fields }: Contract): { length: number; bodies: Uint8Array[] } {
  const reader = new ByteReader(bytes);
  const length = reader.varint();
  if (length > MAX_BATCH_ROWS) throw new RangeError("the batch claims too many rows");
  const bodies = fields.map(() => reader.bytes());
  if (reader.remaining > 0) throw new RangeError("bytes are left after the last column");
  return { length, bodies };
}

/** A column of `length` nulls. */
function nullColumn(type: FieldType, length: number): Column {
  if (TEXT_TYPES.has(type)) return { kind: "text", codes: new Int32Array(length).fill(-1), dictionary: [] };
  if (type === "bytes") return { kind: "bytes", values: new Array<null>(length).fill(null) };
  const values = INT32_TYPES.has(type) ? new Int32Array(length) : new Float64Array(length);
  return { kind: "number", values, valid: new Uint8Array(length) };
}

/** Columns of `length` nulls by type; those of one kind share their memory: nobody writes into a column. */
export function nullColumns(length: number): (type: FieldType) => Column {
  const made = new Map<string, Column>();
  return (type) => {
    const kind = TEXT_TYPES.has(type) ? "text" : type === "bytes" ? "bytes" : INT32_TYPES.has(type) ? "int" : "double";
    const column = made.get(kind) ?? nullColumn(type, length);
    made.set(kind, column);
    return column;
  };
}

/** One column. With `shared`, a text column writes only its codes: the dictionary is kept by the caller. */
export function encodeColumn(column: Column, length: number, shared = false): Uint8Array<ArrayBuffer> {
  return writeColumn(new ByteWriter(32 + length * 4), column, length, shared).finish();
}

function writeColumn(writer: ByteWriter, column: Column, length: number, shared: boolean): ByteWriter {
  if (column.kind === "text") encodeText(writer, column, length, shared);
  else if (column.kind === "bytes") encodeBytes(writer, column.values, length);
  else if (column.kind === "bigint") encodeLong(writer, column, length);
  else encodeNumbers(writer, column, length);
  return writer;
}

/**
 * The column that `encodeColumn` wrote; `dictionary` is needed for one written with `shared`. With `packed`, texts stay
 * packed until they are asked for. With `room`, numbers may be put there: they are good until it is used again.
 */
export function decodeColumn(
  bytes: Uint8Array,
  type: FieldType,
  length: number,
  dictionary?: readonly string[] | LazyTexts,
  packed = false,
  room?: Float64Array,
): Column {
  const reader = new ByteReader(bytes);
  const tag = reader.u8();
  if ((tag & ~NULLABLE) === NULLS) return nullColumn(type, length);
  const column = decodeBody(reader, tag, type, length, dictionary, packed, room);
  const isText = column.kind === "text";
  if (isText !== TEXT_TYPES.has(type) || (column.kind === "bytes") !== (type === "bytes")) {
    throw new RangeError(`the column is not a ${type}`);
  }
  if (reader.remaining > 0) throw new RangeError("bytes are left after the column");
  return column;
}

function decodeBody(
  reader: ByteReader,
  tag: number,
  type: FieldType,
  length: number,
  dictionary: readonly string[] | LazyTexts | undefined,
  packed: boolean,
  room: Float64Array | undefined,
): Column {
  const kind = tag & ~NULLABLE;
  if (kind === BYTES) return { kind: "bytes", values: decodeBytes(reader, length) };
  if (kind === TEXT) {
    const own = lazyTexts(packedTexts(reader));
    const codes = decodeCodes(reader, length, own.length, room);
    return packed ? packedColumn(codes, own) : { kind: "text", codes, dictionary: own.all() };
  }
  if (kind === CODES) {
    if (!dictionary) throw new RangeError("the column needs a dictionary");
    const codes = decodeCodes(reader, length, dictionary.length, room);
    return "all" in dictionary ? packedColumn(codes, dictionary) : { kind: "text", codes, dictionary };
  }
  const valid = tag & NULLABLE ? decodeValidity(reader, length) : undefined;
  if (kind === LONG) {
    const values = new BigInt64Array(aligned(reader.raw(length * 8)));
    return valid ? { kind: "bigint", values, valid } : { kind: "bigint", values };
  }
  const values = narrow(decodeValues(reader, kind, length, room), type);
  if (valid) for (let i = 0; i < length; i++) if (valid[i] === 0) values[i] = 0;
  return valid ? { kind: "number", values, valid } : { kind: "number", values };
}

function decodeValues(reader: ByteReader, kind: number, length: number, room: Float64Array | undefined): Float64Array {
  if (kind === RAW) {
    const bytes = reader.raw(length * 8);
    const values = doublesIn(room, length);
    viewOf(values).set(bytes);
    return values;
  }
  if (kind === SINGLE) return new Float64Array(new Float32Array(aligned(reader.raw(length * 4))));
  if (kind === WHOLE) return unpackWhole(reader, length, room);
  if (kind === DECIMAL) {
    const places = reader.u8();
    if (places < 1 || places > DECIMALS_MAX) throw new RangeError("no such number of decimal places");
    const values = unpackWhole(reader, length, room);
    const scale = 10 ** places;
    for (let i = 0; i < length; i++) values[i]! /= scale;
    return values;
  }
  throw new RangeError(`no column has the tag ${kind}`);
}

/** Fields of 32-bit types are kept as such unless a value does not fit. */
function narrow(values: Float64Array, type: FieldType): Float64Array | Int32Array {
  if (!INT32_TYPES.has(type)) return values;
  const narrowed = new Int32Array(values);
  for (let i = 0; i < values.length; i++) if (narrowed[i] !== values[i]) return values;
  return narrowed;
}

function encodeNumbers(writer: ByteWriter, column: Column & { kind: "number" }, length: number): void {
  const values = column.values.subarray(0, length);
  const valid = hasNulls(column.valid, length) ? column.valid : undefined;
  const flag = valid ? NULLABLE : 0;
  if (valid && !valid.subarray(0, length).includes(1)) {
    writer.u8(NULLS);
    return;
  }
  let whole = true;
  let single = true;
  let filled = values instanceof Float64Array && !valid ? values : new Float64Array(values);
  if (valid) filled = fillNulls(filled, valid);
  for (let i = 0; i < length && (whole || single); i++) {
    const value = filled[i]!;
    if (whole && !(Number.isSafeInteger(value) && !Object.is(value, -0))) whole = false;
    if (single && !Object.is(Math.fround(value), value)) single = false;
  }
  const decimals = whole || single ? undefined : decimalsOf(filled);
  const packed = whole ? packingOf(filled) : decimals && packingOf(decimals.wholes);
  writer.u8((packed ? (decimals ? DECIMAL : WHOLE) : single ? SINGLE : RAW) | flag);
  if (valid) encodeValidity(writer, valid, length);
  if (packed && decimals) writer.u8(decimals.places);
  if (packed) writePacked(writer, packed);
  else if (single) writer.raw(viewOf(new Float32Array(filled)));
  else writer.raw(viewOf(filled));
}

/** Nulls repeat the value before them, so that they cost nothing to pack. */
function fillNulls(values: Float64Array, valid: Uint8Array): Float64Array {
  const first = valid.indexOf(1);
  let last = first < 0 ? 0 : values[first]!;
  for (let i = 0; i < values.length; i++) {
    if (valid[i]) last = values[i]!;
    else values[i] = last;
  }
  return values;
}

function encodeLong(writer: ByteWriter, column: Column & { kind: "bigint" }, length: number): void {
  const valid = hasNulls(column.valid, length) ? column.valid : undefined;
  const values = column.values.slice(0, length);
  if (valid) for (let i = 0; i < length; i++) if (valid[i] === 0) values[i] = 0n;
  writer.u8(LONG | (valid ? NULLABLE : 0));
  if (valid) encodeValidity(writer, valid, length);
  writer.raw(viewOf(values));
}

function hasNulls(valid: Uint8Array | undefined, length: number): boolean {
  if (!valid) return false;
  const at = valid.indexOf(0);
  return at >= 0 && at < length;
}

function encodeValidity(writer: ByteWriter, valid: Uint8Array, length: number): void {
  const bits = new Uint8Array((length + 7) >> 3);
  for (let i = 0; i < length; i++) if (valid[i]) bits[i >> 3]! |= 1 << (i & 7);
  writer.raw(bits);
}

function decodeValidity(reader: ByteReader, length: number): Uint8Array {
  const bits = reader.raw((length + 7) >> 3);
  const valid = new Uint8Array(length);
  for (let i = 0; i < length; i++) valid[i] = (bits[i >> 3]! >> (i & 7)) & 1;
  return valid;
}

function encodeText(writer: ByteWriter, column: Column & { kind: "text" }, length: number, shared: boolean): void {
  const shifted = new Float64Array(length);
  if (shared) {
    writer.u8(CODES);
    for (let i = 0; i < length; i++) shifted[i] = column.codes[i]! + 1;
    writePacked(writer, packingOf(shifted)!);
    return;
  }
  const used = column.written ? column : usedTexts(column, length);
  for (let i = 0; i < length; i++) shifted[i] = used.codes[i]! + 1;
  writer.u8(TEXT);
  writeDictionary(writer, used.written ?? used.packed ?? textsAsBytes(used.dictionary));
  writePacked(writer, packingOf(shifted)!);
}

function decodeCodes(reader: ByteReader, length: number, entries: number, room: Float64Array | undefined): Int32Array {
  const shifted = unpackWhole(reader, length, room);
  const codes = new Int32Array(length);
  for (let i = 0; i < length; i++) {
    const code = shifted[i]! - 1;
    if (!(code >= -1 && code < entries)) throw new RangeError("a code is outside its dictionary");
    codes[i] = code;
  }
  return codes;
}

function encodeBytes(writer: ByteWriter, values: readonly (Uint8Array | null)[], length: number): void {
  writer.u8(BYTES);
  for (let i = 0; i < length; i++) writer.varint((values[i]?.length ?? -1) + 1);
  for (let i = 0; i < length; i++) {
    const value = values[i];
    if (value) writer.raw(value);
  }
}

function decodeBytes(reader: ByteReader, length: number): (Uint8Array | null)[] {
  if (length > reader.remaining) throw new RangeError("the column claims too many rows");
  const lengths = Array.from({ length }, () => reader.varint());
  return lengths.map((size) => (size === 0 ? null : new Uint8Array(reader.raw(size - 1))));
}

function viewOf(values: Float64Array | Float32Array | BigInt64Array): Uint8Array {
  return new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
}

function aligned(bytes: Uint8Array): ArrayBuffer {
  return new Uint8Array(bytes).buffer; // not slice(): a Buffer's is a view
}
