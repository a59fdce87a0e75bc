import { invariant } from "../base/errors.ts";
import type { Row, Value } from "../base/row.ts";
import { type TextBytes, textsAsBytes } from "./codec_texts.ts";
import type { Contract, Field, FieldType } from "./contract.ts";
import { type LazyTexts, packedColumn, takeTexts } from "./texts.ts";

/**
 * One column of a batch. `valid` has one byte a row, 0 where the value is null; absent means no nulls.
 * A `long` column is `number` while all its values are within +-2^53, else `bigint`.
 */
export type Column =
  | { readonly kind: "number"; readonly values: Float64Array | Int32Array; readonly valid?: Uint8Array }
  | { readonly kind: "bigint"; readonly values: BigInt64Array; readonly valid?: Uint8Array }
  /** `codes` index the dictionary; -1 is null. Where there is `packed`, the dictionary is made of it when it is read. */
  | {
      readonly kind: "text";
      readonly codes: Int32Array;
      readonly dictionary: readonly string[];
      readonly packed?: LazyTexts;
      /** The dictionary as bytes, where it is just the texts in use, in order of first use: see `withWrittenTexts`. */
      readonly written?: TextBytes;
    }
  | { readonly kind: "bytes"; readonly values: readonly (Uint8Array | null)[] };

/** Rows of one contract as columns, one per contract field in its order. The unit that streams are written and read in. */
export interface Batch {
  readonly contract: Contract;
  readonly length: number;
  readonly columns: readonly Column[];
}

const WHOLE: ReadonlySet<FieldType> = new Set(["boolean", "int", "date"]);
const TEXT: ReadonlySet<FieldType> = new Set(["string", "enum"]);

/** The rows as a batch. A missing or undefined field is null; nullability is the caller's to have checked. */
export function batchOf(contract: Contract, rows: readonly Row[]): Batch {
  const columns = contract.fields.map((field) => columnOf(field, rows.length, (i) => rows[i]![field.name]));
  return { contract, length: rows.length, columns };
}

/** The same of rows that are lists of values in the contract's order. */
export function batchOfValues(contract: Contract, rows: readonly (readonly Value[])[]): Batch {
  const columns = contract.fields.map((field, f) => columnOf(field, rows.length, (i) => rows[i]![f]));
  return { contract, length: rows.length, columns };
}

type Get = (row: number) => Value | undefined;

/** One column of `length` rows; a missing value is null. */
export function columnOf(field: Pick<Field, "type">, length: number, get: Get): Column {
  if (TEXT.has(field.type)) return textColumn(length, get);
  if (field.type === "bytes") {
    return { kind: "bytes", values: Array.from({ length }, (_, i) => (get(i) ?? null) as Uint8Array | null) };
  }
  if (field.type === "long" && holdsBigint(length, get)) return bigintColumn(length, get);
  const values = WHOLE.has(field.type) ? new Int32Array(length) : new Float64Array(length);
  let valid: Uint8Array | undefined;
  for (let i = 0; i < length; i++) {
    const value = get(i);
    if (value === null || value === undefined) {
      valid ??= new Uint8Array(length).fill(1);
      valid[i] = 0;
    } else values[i] = value as number; // booleans become 0 and 1
  }
  return valid ? { kind: "number", values, valid } : { kind: "number", values };
}

function holdsBigint(length: number, get: Get): boolean {
  for (let i = 0; i < length; i++) if (typeof get(i) === "bigint") return true;
  return false;
}

function bigintColumn(length: number, get: Get): Column {
  const values = new BigInt64Array(length);
  const valid = new Uint8Array(length).fill(1);
  for (let i = 0; i < length; i++) {
    const value = get(i);
    if (value === null || value === undefined) valid[i] = 0;
    else values[i] = BigInt(value as bigint | number);
  }
  return { kind: "bigint", values, valid };
}

function textColumn(length: number, get: Get): Column {
  const codes = new Int32Array(length);
  const dictionary: string[] = [];
  const known = new Map<string, number>();
  for (let i = 0; i < length; i++) {
    const value = get(i);
    if (value === null || value === undefined) {
      codes[i] = -1;
      continue;
    }
    let code = known.get(value as string);
    if (code === undefined) {
      code = dictionary.length;
      dictionary.push(value as string);
      known.set(value as string, code);
    }
    codes[i] = code;
  }
  return { kind: "text", codes, dictionary };
}

/** The value of a column at a row, as `Value`. */
export function valueAt(column: Column, type: FieldType, index: number): Value {
  switch (column.kind) {
    case "text": {
      const code = column.codes[index]!;
      return code < 0 ? null : column.dictionary[code]!;
    }
    case "bytes":
      return column.values[index] ?? null;
    case "bigint": {
      if (column.valid && column.valid[index] === 0) return null;
      const value = column.values[index]!;
      const small = Number(value);
      return Number.isSafeInteger(small) ? small : value;
    }
    case "number": {
      if (column.valid && column.valid[index] === 0) return null;
      const value = column.values[index]!;
      return type === "boolean" ? value !== 0 : value;
    }
  }
}

/** Row `index` of the batch as an object. */
export function rowAt(batch: Batch, index: number): Row {
  const row: Record<string, Value> = {};
  const { fields } = batch.contract;
  for (let c = 0; c < fields.length; c++) row[fields[c]!.name] = valueAt(batch.columns[c]!, fields[c]!.type, index);
  return row;
}

export function rowsOf(batch: Batch): Row[] {
  return Array.from({ length: batch.length }, (_, index) => rowAt(batch, index));
}

/** The named column of the batch. A name the contract lacks is a broken invariant. */
export function columnNamed(batch: Batch, name: string): Column {
  const at = batch.contract.fields.findIndex((field) => field.name === name);
  invariant(at >= 0, `${batch.contract.name} has no field ${name}`);
  return batch.columns[at]!;
}

/** The rows at `indices`, in that order. */
export function takeRows(batch: Batch, indices: ArrayLike<number>): Batch {
  const at = indices instanceof Int32Array ? indices : Int32Array.from(indices); // one kind of array: one fast loop
  return { contract: batch.contract, length: at.length, columns: batch.columns.map((c) => takeColumn(c, at)) };
}

/** The rows from `from` up to but without `to`. The columns are views: nothing is copied. */
export function sliceRows(batch: Batch, from: number, to: number): Batch {
  const columns = batch.columns.map((column): Column => {
    if (column.kind === "bytes") return { kind: "bytes", values: column.values.slice(from, to) };
    if (column.kind === "text") return withCodes(column, column.codes.subarray(from, to));
    const valid = column.valid ? { valid: column.valid.subarray(from, to) } : {};
    if (column.kind === "bigint") return { kind: "bigint", values: column.values.subarray(from, to), ...valid };
    return { kind: "number", values: column.values.subarray(from, to), ...valid };
  });
  return { contract: batch.contract, length: to - from, columns };
}

/** The batch with no dictionary longer than itself: what is done text by text is then done once for each text in use. */
export function withUsedTexts(batch: Batch): Batch {
  const columns = batch.columns.map((column) =>
    column.kind === "text" && textCount(column) > batch.length ? usedTexts(column, batch.length) : column,
  );
  return { ...batch, columns };
}

/** The batch with each text column as it is hashed and written, which then is found out once. */
export function withWrittenTexts(batch: Batch): Batch {
  const columns = batch.columns.map((column): Column => {
    if (column.kind !== "text") return column;
    const { codes, dictionary, packed } = usedTexts(column, batch.length);
    return { kind: "text", codes, dictionary, written: packed ?? textsAsBytes(dictionary) };
  });
  return { contract: batch.contract, length: batch.length, columns };
}

type TextColumn = Column & { kind: "text" };

const textCount = (column: TextColumn): number => (column.packed ?? column.dictionary).length;

/** Other rows over the same texts. */
const withCodes = (column: TextColumn, codes: Int32Array): TextColumn =>
  column.packed ? packedColumn(codes, column.packed) : { kind: "text", codes, dictionary: column.dictionary };

/** The column with only the texts in use, in order of first use: a slice of a batch keeps the dictionary of the whole. */
export function usedTexts(column: TextColumn, length: number): TextColumn {
  const { codes, used } = usedCodes(column.codes, length);
  if (column.packed) return packedColumn(codes, takeTexts(column.packed, used));
  const { dictionary } = column;
  const texts = new Array<string>(used.length);
  for (let i = 0; i < used.length; i++) texts[i] = dictionary[used[i]!]!;
  return { kind: "text", codes, dictionary: texts };
}

/** Codes this many times as far apart as there are rows are renamed through a map, not a table. */
const SPARSE = 64;

/** The codes that the first `length` rows use, in order of first use; and the rows' places among them. */
function usedCodes(given: Int32Array, length: number): { codes: Int32Array; used: Int32Array } {
  let [least, most] = [Number.POSITIVE_INFINITY, -1];
  for (let i = 0; i < length; i++) {
    const code = given[i]!;
    if (code > most) most = code;
    if (code >= 0 && code < least) least = code;
  }
  const codes = new Int32Array(length);
  const used = new Int32Array(Math.min(length, Math.max(0, most - least + 1)));
  let count = 0;
  if (most - least > length * SPARSE) {
    const renamed = new Map<number, number>();
    for (let i = 0; i < length; i++) {
      const code = given[i]!;
      let next = code < 0 ? -1 : renamed.get(code);
      if (next === undefined) {
        next = count++;
        used[next] = code;
        renamed.set(code, next);
      }
      codes[i] = next;
    }
    return { codes, used: used.subarray(0, count) };
  }
  const renamed = new Int32Array(used.length === 0 ? 0 : most - least + 1); // plus one, 0 before the first use
  for (let i = 0; i < length; i++) {
    const code = given[i]!;
    if (code >= 0 && renamed[code - least] === 0) {
      used[count] = code;
      renamed[code - least] = ++count;
    }
    codes[i] = code < 0 ? -1 : renamed[code - least]! - 1;
  }
  return { codes, used: used.subarray(0, count) };
}

function takeColumn(column: Column, at: Int32Array): Column {
  if (column.kind === "bytes") {
    return { kind: "bytes", values: Array.from(at, (index) => column.values[index] ?? null) };
  }
  if (column.kind === "text") return withCodes(column, takeWhole(column.codes, at));
  const valid = column.valid ? { valid: takeFlags(column.valid, at) } : {};
  if (column.kind === "bigint") {
    const values = new BigInt64Array(at.length);
    for (let i = 0; i < at.length; i++) values[i] = column.values[at[i]!]!;
    return { kind: "bigint", values, ...valid };
  }
  const { values } = column;
  return {
    kind: "number",
    values: values instanceof Int32Array ? takeWhole(values, at) : takeReal(values, at),
    ...valid,
  };
}

// One function for each kind of array: a loop that sees two kinds is several times slower.
function takeWhole(values: Int32Array, at: Int32Array): Int32Array {
  const taken = new Int32Array(at.length);
  for (let i = 0; i < at.length; i++) taken[i] = values[at[i]!]!;
  return taken;
}

export function takeReal(values: Float64Array, at: Int32Array): Float64Array {
  const taken = new Float64Array(at.length);
  for (let i = 0; i < at.length; i++) taken[i] = values[at[i]!]!;
  return taken;
}

export function takeFlags(values: Uint8Array, at: Int32Array): Uint8Array {
  const taken = new Uint8Array(at.length);
  for (let i = 0; i < at.length; i++) taken[i] = values[at[i]!]!;
  return taken;
}

/** All rows of the batches as one batch of their common contract. */
export function concatBatches(batches: readonly Batch[]): Batch {
  const first = batches[0]!;
  if (batches.length === 1) return first;
  const length = batches.reduce((sum, batch) => sum + batch.length, 0);
  const columns = first.contract.fields.map((_, c) =>
    concatColumns(
      batches.map((batch) => batch.columns[c]!),
      batches.map((batch) => batch.length),
      length,
    ),
  );
  return { contract: first.contract, length, columns };
}

function concatColumns(parts: readonly Column[], lengths: readonly number[], length: number): Column {
  const kind = parts.some((part) => part.kind === "bigint") ? "bigint" : parts[0]!.kind;
  if (kind === "text") return concatTexts(parts as (Column & { kind: "text" })[], lengths, length);
  if (kind === "bytes") return { kind, values: parts.flatMap((part) => (part as Column & { kind: "bytes" }).values) };
  const numeric = parts as (Column & { kind: "number" | "bigint" })[];
  const valid = concatValidity(numeric, lengths, length);
  if (kind === "bigint") {
    const values = new BigInt64Array(length);
    let at = 0;
    numeric.forEach((part, p) => {
      for (let i = 0; i < lengths[p]!; i++) values[at++] = BigInt(part.values[i]!);
    });
    return valid ? { kind, values, valid } : { kind, values };
  }
  const narrow = numeric.every((part) => part.values instanceof Int32Array);
  const values = narrow ? new Int32Array(length) : new Float64Array(length);
  let at = 0;
  numeric.forEach((part, p) => {
    values.set(part.values.subarray(0, lengths[p]!) as Int32Array, at);
    at += lengths[p]!;
  });
  return valid ? { kind: "number", values, valid } : { kind: "number", values };
}

function concatValidity(
  parts: readonly (Column & { kind: "number" | "bigint" })[],
  lengths: readonly number[],
  length: number,
): Uint8Array | undefined {
  if (parts.every((part) => part.valid === undefined)) return undefined;
  const valid = new Uint8Array(length).fill(1);
  let at = 0;
  parts.forEach((part, p) => {
    if (part.valid) valid.set(part.valid.subarray(0, lengths[p]!), at);
    at += lengths[p]!;
  });
  return valid;
}

function concatTexts(
  parts: readonly (Column & { kind: "text" })[],
  lengths: readonly number[],
  length: number,
): Column {
  const codes = new Int32Array(length);
  const dictionary: string[] = [];
  const known = new Map<string, number>();
  let at = 0;
  parts.forEach((part, p) => {
    const renamed = new Int32Array(part.dictionary.length).fill(-1);
    for (let i = 0; i < lengths[p]!; i++) {
      const code = part.codes[i]!;
      if (code < 0) {
        codes[at++] = -1;
        continue;
      }
      let next = renamed[code]!;
      if (next < 0) {
        const text = part.dictionary[code]!;
        next = known.get(text) ?? dictionary.push(text) - 1;
        known.set(text, next);
        renamed[code] = next;
      }
      codes[at++] = next;
    }
  });
  return { kind: "text", codes, dictionary };
}

/** The parts one after another. */
export function joinNumbers(parts: readonly Float64Array[]): Float64Array {
  const whole = new Float64Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}
