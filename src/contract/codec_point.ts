import { ByteReader } from "../base/bytes.ts";
import type { Value } from "../base/row.ts";
import { type Column, valueAt } from "./batch.ts";
import { CODES, DECIMAL, decodeColumn, NULLABLE, TEXT_TYPES, WHOLE } from "./codec.ts";
import { DECIMALS_MAX } from "./codec_decimal.ts";
import { type PackedTexts, textAt } from "./codec_texts.ts";
import { type PackedWhole, packedWhole, unpackWhole, wholeAt } from "./codec_whole.ts";
import type { FieldType } from "./contract.ts";

/**
 * A column for reads of single rows, which need few of the thousands of values that stand together: numbers and codes stay
 * packed. Plain data, so that a read touches as little memory as it can.
 */
export interface PointColumn extends PackedWhole {
  /** The column where it had to be decoded; else packed numbers, or, with `texts`, codes shifted by one. */
  readonly decoded: Column | undefined;
  /** What packed numbers are divided by. */
  readonly scale: number;
  /** A bit for each row that has a value; undefined where all have one. */
  readonly valid: Uint8Array | undefined;
  /** The dictionary, which stands elsewhere. */
  readonly texts: PackedTexts | undefined;
  readonly type: FieldType;
  /** What it keeps in memory, about; a dictionary that stands elsewhere is not counted. */
  readonly bytes: number;
}

/**
 * The column that `encodeColumn` wrote, for `pointAt`. Throws RangeError on damaged bytes, here or when the value is
 * asked for.
 */
export function pointColumn(bytes: Uint8Array, type: FieldType, length: number, texts?: PackedTexts): PointColumn {
  const points = TEXT_TYPES.has(type) ? codedTexts(bytes, type, length, texts) : packedNumbers(bytes, type, length);
  if (points) return points;
  const decoded = decodeColumn(bytes, type, length);
  return { ...NOTHING, scale: 1, valid: undefined, texts: undefined, decoded, type, bytes: sizeOf(decoded) };
}

/** A column of small whole numbers, 0 for every row where there are none. */
export function byteColumn(values: Uint8Array | undefined): PointColumn {
  const packed = values ? { offsets: values, width: 1, least: 0 } : NOTHING;
  const bytes = OVERHEAD + packed.offsets.length;
  return { ...packed, scale: 1, valid: undefined, texts: undefined, decoded: undefined, type: "long", bytes };
}

/** No bytes for a row: each is 0. */
const NOTHING: PackedWhole = { offsets: new Uint8Array(0), width: 0, least: 0 };

/** The value of one row: the same that decoding the column gives. */
export function pointAt(column: PointColumn, row: number): Value {
  const { decoded, valid, texts, scale } = column;
  if (texts) {
    const code = codeAt(column, texts, row);
    return code < 0 ? null : textAt(texts, code);
  }
  if (decoded) return valueAt(decoded, column.type, row);
  if (valid && ((valid[row >> 3]! >> (row & 7)) & 1) === 0) return null;
  const value = scale === 1 ? wholeAt(column, row) : wholeAt(column, row) / scale;
  return column.type === "boolean" ? value !== 0 : value;
}

/** The place of the row's text in the dictionary `texts` of the column; -1 for null. */
export function codeAt(column: PointColumn, { length }: PackedTexts, row: number): number {
  const { decoded } = column;
  const code = decoded ? (decoded as Column & { kind: "text" }).codes[row]! : wholeAt(column, row) - 1;
  if (!(code >= -1 && code < length)) throw new RangeError("a code is outside its dictionary");
  return code;
}

const OVERHEAD = 256; // of objects and views

function codedTexts(
  bytes: Uint8Array,
  type: FieldType,
  length: number,
  texts: PackedTexts | undefined,
): PointColumn | undefined {
  if (bytes[0] !== CODES || !texts) return undefined;
  let reader = new ByteReader(bytes.subarray(1));
  const packed = packedWhole(reader, length);
  if (!packed) reader = new ByteReader(bytes.subarray(1));
  const decoded = packed ? undefined : codesOf(unpackWhole(reader, length), texts);
  if (reader.remaining > 0) throw new RangeError("bytes are left after the column");
  const size = OVERHEAD + (decoded ? decoded.codes.byteLength : bytes.length);
  return { ...(packed ?? NOTHING), scale: 1, valid: undefined, texts, decoded, type, bytes: size };
}

/** What is not packed as points is kept as codes; their texts stand elsewhere. */
function codesOf(shifted: Float64Array, { length }: PackedTexts): Column & { kind: "text" } {
  if (!shifted.every((code) => code >= 0 && code <= length)) throw new RangeError("a code is outside its dictionary");
  return { kind: "text", codes: Int32Array.from(shifted, (code) => code - 1), dictionary: [] };
}

function packedNumbers(bytes: Uint8Array, type: FieldType, length: number): PointColumn | undefined {
  const reader = new ByteReader(bytes);
  const tag = reader.u8();
  const kind = tag & ~NULLABLE;
  if (type === "bytes" || (kind !== WHOLE && kind !== DECIMAL)) return undefined;
  const valid = tag & NULLABLE ? reader.raw((length + 7) >> 3) : undefined;
  const places = kind === DECIMAL ? reader.u8() : 0;
  const packed = packedWhole(reader, length);
  if (!packed || reader.remaining > 0 || places > DECIMALS_MAX) return undefined;
  const size = OVERHEAD + bytes.length;
  return { ...packed, scale: 10 ** places, valid, texts: undefined, decoded: undefined, type, bytes: size };
}

function sizeOf(column: Column): number {
  if (column.kind === "bytes") return column.values.reduce((sum, value) => sum + (value?.length ?? 0) + 16, OVERHEAD);
  if (column.kind !== "text") return OVERHEAD + column.values.byteLength + (column.valid?.byteLength ?? 0);
  const texts = column.dictionary.reduce((sum, text) => sum + text.length + 16, 0);
  return OVERHEAD + column.codes.byteLength + texts;
}
