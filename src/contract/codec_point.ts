import { ByteReader } from "../base/bytes.ts";
import type { Value } from "../base/row.ts";
import { type Column, valueAt } from "./batch.ts";
import { CODES, DECIMAL, decodeColumn, NULLABLE, TEXT_TYPES, WHOLE } from "./codec.ts";
import { DECIMALS_MAX } from "./codec_decimal.ts";
import { wholePoints } from "./codec_whole.ts";
import type { FieldType } from "./contract.ts";

/** Single values of a column: for reads of one row, which need few of the thousands that stand together. */
export interface PointColumn {
  at(row: number): Value;
  /** What it keeps in memory, about; a dictionary that stands elsewhere is not counted. */
  readonly bytes: number;
}

/**
 * Single values of the column that `encodeColumn` wrote: the same that `decodeColumn` gives. Packed numbers and codes
 * stay packed, any other column is decoded. Throws RangeError on damaged bytes, here or when the value is asked for.
 */
export function pointColumn(
  bytes: Uint8Array,
  type: FieldType,
  length: number,
  dictionary?: readonly string[],
): PointColumn {
  const at = TEXT_TYPES.has(type) ? codedTexts(bytes, length, dictionary) : packedNumbers(bytes, type, length);
  if (at) return { at, bytes: bytes.length + OVERHEAD };
  const column = decodeColumn(bytes, type, length, dictionary);
  return { at: (row) => valueAt(column, type, row), bytes: sizeOf(column, column.kind === "text" && !dictionary) };
}

const OVERHEAD = 256; // of objects and views

type At = PointColumn["at"];

function codedTexts(bytes: Uint8Array, length: number, dictionary: readonly string[] | undefined): At | undefined {
  const reader = new ByteReader(bytes);
  if (reader.u8() !== CODES || !dictionary) return undefined;
  const codeAt = wholePoints(reader, length);
  if (!codeAt || reader.remaining > 0) return undefined;
  return (row) => {
    const code = codeAt(row) - 1;
    if (!(code >= -1 && code < dictionary.length)) throw new RangeError("a code is outside its dictionary");
    return code < 0 ? null : dictionary[code]!;
  };
}

function packedNumbers(bytes: Uint8Array, type: FieldType, length: number): At | undefined {
  const reader = new ByteReader(bytes);
  const tag = reader.u8();
  const kind = tag & ~NULLABLE;
  if (type === "bytes" || (kind !== WHOLE && kind !== DECIMAL)) return undefined;
  const valid = tag & NULLABLE ? reader.raw((length + 7) >> 3) : undefined;
  const places = kind === DECIMAL ? reader.u8() : 0;
  const wholeAt = wholePoints(reader, length);
  if (!wholeAt || reader.remaining > 0 || places > DECIMALS_MAX) return undefined;
  const scale = 10 ** places;
  return (row) => {
    if (valid && ((valid[row >> 3]! >> (row & 7)) & 1) === 0) return null;
    const value = places === 0 ? wholeAt(row) : wholeAt(row) / scale;
    return type === "boolean" ? value !== 0 : value;
  };
}

function sizeOf(column: Column, ownTexts: boolean): number {
  if (column.kind === "bytes") return column.values.reduce((sum, value) => sum + (value?.length ?? 0) + 16, OVERHEAD);
  if (column.kind !== "text") return OVERHEAD + column.values.byteLength + (column.valid?.byteLength ?? 0);
  const texts = ownTexts ? column.dictionary.reduce((sum, text) => sum + text.length + 16, 0) : 0;
  return OVERHEAD + column.codes.byteLength + texts;
}
