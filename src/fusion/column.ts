import { compareValues, type Value } from "../base/row.ts";
import type { Column } from "../contract/batch.ts";
import type { Field, FieldType } from "../contract/contract.ts";
import type { LazyTexts } from "../contract/texts.ts";
import { compareTexts, type Dictionary, dictionary, internAscii, internText, textOf } from "./dictionary.ts";

/**
 * One stored column of a table: grows at the end, never shrinks. Numbers are 64-bit floats with NaN for null (no
 * record holds NaN: ingestion rejects it); whole numbers beyond 2^53 keep their exact value in `big` beside the rounded
 * one; text is 32-bit codes into a dictionary with -1 for null.
 */
export type StoreColumn = NumberColumn | TextColumn | BytesColumn;

export interface NumberColumn {
  readonly kind: "number";
  readonly name: string;
  readonly type: FieldType;
  values: Float64Array;
  big: Map<number, bigint> | undefined;
}

export interface TextColumn {
  readonly kind: "text";
  readonly name: string;
  readonly type: FieldType;
  codes: Int32Array;
  readonly dictionary: Dictionary;
  /** By dictionary of a batch, whose slices share it: its codes here plus one, 0 for a text that was not met yet. */
  readonly translations: WeakMap<readonly string[] | LazyTexts, Int32Array>;
}

export interface BytesColumn {
  readonly kind: "bytes";
  readonly name: string;
  readonly type: FieldType;
  readonly values: (Uint8Array | null)[];
}

export function storeColumn(name: string, type: FieldType): StoreColumn {
  if (type === "string" || type === "enum") {
    return {
      kind: "text",
      name,
      type,
      codes: new Int32Array(0),
      dictionary: dictionary(),
      translations: new WeakMap(),
    };
  }
  if (type === "bytes") return { kind: "bytes", name, type, values: [] };
  return { kind: "number", name, type, values: new Float64Array(0), big: undefined };
}

/** The array that grows with the rows; null for bytes, whose list does by itself. */
export const arrayOf = (column: StoreColumn): Float64Array | Int32Array | null =>
  column.kind === "number" ? column.values : column.kind === "text" ? column.codes : null;

/** Puts a longer array with the same start in the place of the column's. */
export function replaceArray(column: StoreColumn, longer: Float64Array | Int32Array): void {
  if (column.kind === "number") column.values = longer as Float64Array;
  else if (column.kind === "text") column.codes = longer as Int32Array;
}

export function writeValue(column: StoreColumn, at: number, value: Value): void {
  if (column.kind === "bytes") column.values[at] = value as Uint8Array | null;
  else if (column.kind === "text")
    column.codes[at] = value === null ? -1 : internText(column.dictionary, value as string);
  else {
    column.big?.delete(at);
    column.values[at] = value === null ? Number.NaN : Number(value);
    if (typeof value === "bigint" && !Number.isSafeInteger(Number(value))) {
      column.big ??= new Map();
      column.big.set(at, value);
    }
  }
}

export function readValue(column: StoreColumn, at: number): Value {
  if (column.kind === "text") {
    const code = column.codes[at]!;
    return code < 0 ? null : textOf(column.dictionary, code);
  }
  if (column.kind === "bytes") return column.values[at] ?? null;
  const value = column.values[at]!;
  if (Number.isNaN(value)) return null;
  if (column.type === "boolean") return value !== 0;
  return column.big?.get(at) ?? value;
}

export function isNullAt(column: StoreColumn, at: number): boolean {
  if (column.kind === "number") return Number.isNaN(column.values[at]!);
  return column.kind === "text" ? column.codes[at]! < 0 : (column.values[at] ?? null) === null;
}

/** Copies rows of a batch column into a stored column: `(row of the batch, place in the table)`. */
export type CopyRow = (from: number, to: number) => void;

/** `source` is undefined where the rows were written under a contract without the field: its default, or null. */
export function copierOf(target: StoreColumn, source: Column | undefined, field: Field): CopyRow {
  if (source === undefined) {
    const value = field.default ?? null;
    return (_, to) => writeValue(target, to, value);
  }
  if (source.kind === "text" && target.kind === "text") {
    const texts = source.packed ?? source.dictionary;
    const translated = target.translations.get(texts) ?? new Int32Array(texts.length);
    target.translations.set(texts, translated);
    return (from, to) => {
      const code = source.codes[from]!;
      if (code < 0) target.codes[to] = -1;
      else {
        if (translated[code] === 0) translated[code] = internFrom(target.dictionary, texts, code) + 1;
        target.codes[to] = translated[code]! - 1;
      }
    };
  }
  if (source.kind === "number" && target.kind === "number") {
    const { values, valid } = source;
    return (from, to) => {
      target.big?.delete(to);
      target.values[to] = valid && valid[from] === 0 ? Number.NaN : values[from]!;
    };
  }
  if (source.kind === "bigint") {
    const { values, valid } = source;
    return (from, to) => writeValue(target, to, valid && valid[from] === 0 ? null : values[from]!);
  }
  if (source.kind === "bytes") return (from, to) => writeValue(target, to, source.values[from] ?? null);
  return (_, to) => writeValue(target, to, null); // a type the contract can't have been widened from
}

function internFrom(into: Dictionary, texts: readonly string[] | LazyTexts, code: number): number {
  if (!("plain" in texts)) return internText(into, texts[code]!);
  return texts.plain
    ? internAscii(into, texts.bytes, texts.starts[code]!, texts.starts[code + 1]!)
    : internText(into, texts.at(code));
}

/** Total order of two places of one column: nulls first, then numbers by size, text by code unit, bytes by content. */
export function compareAt(column: StoreColumn, a: number, b: number): number {
  if (column.kind === "number") {
    const x = column.values[a]!;
    const y = column.values[b]!;
    if (x === y && column.big === undefined) return 0;
    if (x < y) return -1;
    if (x > y) return 1;
  } else if (column.kind === "text" && column.codes[a]! >= 0 && column.codes[b]! >= 0) {
    return compareTexts(column.dictionary, column.codes[a]!, column.codes[b]!);
  }
  return compareValues(readValue(column, a), readValue(column, b));
}
