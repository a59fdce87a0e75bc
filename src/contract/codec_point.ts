import { ByteReader } from "../base/bytes.ts";
import type { Value } from "../base/row.ts";
import { type Column, valueAt } from "./batch.ts";
import { CODES, DECIMAL, decodeColumn, NULLABLE, type PackedTexts, TEXT_TYPES, WHOLE } from "./codec.ts";
import { DECIMALS_MAX } from "./codec_decimal.ts";
import { unpackWhole, wholePoints } from "./codec_whole.ts";
import type { FieldType } from "./contract.ts";

/** Single values of a column: for reads of one row, which need few of the thousands that stand together. */
export interface PointColumn {
  at(row: number): Value;
  /** What it keeps in memory, about; a dictionary that stands elsewhere is not counted. */
  readonly bytes: number;
  /** Of texts that a dictionary elsewhere has: their codes, -1 for null, and that dictionary. */
  readonly coded?: { readonly texts: PackedTexts; codeAt(row: number): number };
}

/**
 * Single values of the column that `encodeColumn` wrote: the same that `decodeColumn` gives. Packed numbers and codes
 * stay packed, any other column is decoded. Throws RangeError on damaged bytes, here or when the value is asked for.
 */
export function pointColumn(bytes: Uint8Array, type: FieldType, length: number, dictionary?: PackedTexts): PointColumn {
  const points = TEXT_TYPES.has(type) ? codedTexts(bytes, length, dictionary) : packedNumbers(bytes, type, length);
  if (points) return points;
  const column = decodeColumn(bytes, type, length);
  return { at: (row) => valueAt(column, type, row), bytes: sizeOf(column) };
}

const OVERHEAD = 256; // of objects and views

function codedTexts(bytes: Uint8Array, length: number, dictionary: PackedTexts | undefined): PointColumn | undefined {
  if (bytes[0] !== CODES || !dictionary) return undefined;
  let reader = new ByteReader(bytes.subarray(1));
  const packed = wholePoints(reader, length);
  if (!packed) reader = new ByteReader(bytes.subarray(1));
  const shifted = packed ? undefined : unpackWhole(reader, length);
  if (reader.remaining > 0) throw new RangeError("bytes are left after the column");
  const codeAt = (row: number) => {
    const code = (packed ? packed(row) : shifted![row]!) - 1;
    if (!(code >= -1 && code < dictionary.length)) throw new RangeError("a code is outside its dictionary");
    return code;
  };
  const at = (row: number) => {
    const code = codeAt(row);
    return code < 0 ? null : dictionary.at(code)!;
  };
  return { at, bytes: OVERHEAD + (shifted?.byteLength ?? bytes.length), coded: { texts: dictionary, codeAt } };
}

function packedNumbers(bytes: Uint8Array, type: FieldType, length: number): PointColumn | undefined {
  const reader = new ByteReader(bytes);
  const tag = reader.u8();
  const kind = tag & ~NULLABLE;
  if (type === "bytes" || (kind !== WHOLE && kind !== DECIMAL)) return undefined;
  const valid = tag & NULLABLE ? reader.raw((length + 7) >> 3) : undefined;
  const places = kind === DECIMAL ? reader.u8() : 0;
  const wholeAt = wholePoints(reader, length);
  if (!wholeAt || reader.remaining > 0 || places > DECIMALS_MAX) return undefined;
  const scale = 10 ** places;
  const at = (row: number) => {
    if (valid && ((valid[row >> 3]! >> (row & 7)) & 1) === 0) return null;
    const value = places === 0 ? wholeAt(row) : wholeAt(row) / scale;
    return type === "boolean" ? value !== 0 : value;
  };
  return { at, bytes: OVERHEAD + bytes.length };
}

function sizeOf(column: Column): number {
  if (column.kind === "bytes") return column.values.reduce((sum, value) => sum + (value?.length ?? 0) + 16, OVERHEAD);
  if (column.kind !== "text") return OVERHEAD + column.values.byteLength + (column.valid?.byteLength ?? 0);
  const texts = column.dictionary.reduce((sum, text) => sum + text.length + 16, 0);
  return OVERHEAD + column.codes.byteLength + texts;
}
