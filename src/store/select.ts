import { concatBytes } from "../base/bytes.ts";
import type { Value } from "../base/row.ts";
import {
  type Batch,
  type Column,
  columnNamed,
  concatBatches,
  joinNumbers,
  sliceRows,
  takeRows,
  valueAt,
} from "../contract/batch.ts";
import { nullColumns } from "../contract/codec.ts";
import { type Contract, fieldOf } from "../contract/contract.ts";
import type { ScanOptions, StoredRows } from "./port.ts";

/** What is said of a stored row, as bits of its flag: that it withdraws a record; that it is an empty place. */
export const TOMBSTONE = 1;
export const ERASED = 2;

/** The rows without those that were erased, which keep their places in segments and are shown to nobody. */
export function withoutErased(stored: StoredRows): StoredRows {
  const { tombstones: flags } = stored;
  if (!hasErased(flags)) return stored;
  const kept = new Int32Array(flags.length);
  let count = 0;
  for (let i = 0; i < flags.length; i++) if ((flags[i]! & ERASED) === 0) kept[count++] = i;
  return pickRows(stored, kept.subarray(0, count));
}

const hasErased = (flags: Uint8Array) => flags.includes(ERASED) || flags.includes(ERASED | TOMBSTONE);

/** The fields that must be decoded to answer `options`; undefined where all are wanted. */
export function columnsNeeded(contract: Contract, options: ScanOptions): readonly string[] | undefined {
  if (options.columns === undefined) return undefined;
  const needed = new Set(options.columns);
  if (options.entity) for (const name of contract.entity) needed.add(name);
  const bounded = options.from !== undefined || options.to !== undefined;
  if (bounded && contract.eventTime !== undefined) needed.add(contract.eventTime);
  return [...needed];
}

/** Only the rows that the options ask for, with only their columns; undefined where none is left. */
export function selectRows(stored: StoredRows, options: ScanOptions): StoredRows | undefined {
  const { batch } = stored;
  const tests: ((index: number) => boolean)[] = [];
  if (hasErased(stored.tombstones)) tests.push((index) => (stored.tombstones[index]! & ERASED) === 0);
  const { upTo = Number.POSITIVE_INFINITY, after = 0 } = options;
  if (anyOutside(stored.commitNos, after, upTo)) {
    tests.push((index) => stored.commitNos[index]! > after && stored.commitNos[index]! <= upTo);
  }
  const time = eventTimes(batch);
  if (time && (options.from !== undefined || options.to !== undefined)) {
    const from = options.from ?? Number.NEGATIVE_INFINITY;
    const to = options.to ?? Number.POSITIVE_INFINITY;
    tests.push(
      (index) => isValid(time, index) && Number(time.values[index]) >= from && Number(time.values[index]) <= to,
    );
  }
  if (options.entity) tests.push(entityTest(batch, options.entity));
  const kept = keptRows(batch.length, tests);
  if (kept?.length === 0) return undefined;
  const picked = kept === undefined ? stored : pickRows(stored, kept);
  return options.columns === undefined ? picked : { ...picked, batch: onlyColumns(picked.batch, options.columns) };
}

function anyOutside(commitNos: Float64Array, after: number, upTo: number): boolean {
  for (let i = 0; i < commitNos.length; i++) if (commitNos[i]! <= after || commitNos[i]! > upTo) return true;
  return false;
}

/** The rows that pass every test; undefined where all do. */
function keptRows(length: number, tests: readonly ((index: number) => boolean)[]): Int32Array | undefined {
  if (tests.length === 0 && length > 0) return undefined;
  const kept = new Int32Array(length);
  let count = 0;
  for (let i = 0; i < length; i++) {
    let passed = true;
    for (let t = 0; t < tests.length && passed; t++) passed = tests[t]!(i);
    if (passed) kept[count++] = i;
  }
  return count === length && length > 0 ? undefined : kept.subarray(0, count);
}

/** The rows from `from` up to but without `to`, as views of the same memory. */
export function sliceStored(stored: StoredRows, from: number, to: number): StoredRows {
  return {
    stream: stored.stream,
    batch: sliceRows(stored.batch, from, to),
    sequences: stored.sequences.subarray(from, to),
    commitNos: stored.commitNos.subarray(from, to),
    knownTimes: stored.knownTimes.subarray(from, to),
    tombstones: stored.tombstones.subarray(from, to),
  };
}

/** The rows of the parts, one after another. */
export function joinStored(parts: readonly StoredRows[]): StoredRows {
  return {
    stream: parts[0]!.stream,
    batch: concatBatches(parts.map((part) => part.batch)),
    sequences: joinNumbers(parts.map((part) => part.sequences)),
    commitNos: joinNumbers(parts.map((part) => part.commitNos)),
    knownTimes: joinNumbers(parts.map((part) => part.knownTimes)),
    tombstones: concatBytes(parts.map((part) => part.tombstones)),
  };
}

/** The rows at `kept`, in that order. */
export function pickRows(stored: StoredRows, kept: Int32Array): StoredRows {
  const take = (values: Float64Array) => {
    const taken = new Float64Array(kept.length);
    for (let i = 0; i < kept.length; i++) taken[i] = values[kept[i]!]!;
    return taken;
  };
  const tombstones = new Uint8Array(kept.length);
  for (let i = 0; i < kept.length; i++) tombstones[i] = stored.tombstones[kept[i]!]!;
  return {
    stream: stored.stream,
    batch: takeRows(stored.batch, kept),
    sequences: take(stored.sequences),
    commitNos: take(stored.commitNos),
    knownTimes: take(stored.knownTimes),
    tombstones,
  };
}

function onlyColumns(batch: Batch, columns: readonly string[]): Batch {
  const nulls = nullColumns(batch.length);
  return {
    ...batch,
    columns: batch.contract.fields.map((field, i) =>
      columns.includes(field.name) ? batch.columns[i]! : nulls(field.type),
    ),
  };
}

type Numbers = Column & { kind: "number" | "bigint" };

function eventTimes(batch: Batch): Numbers | undefined {
  const { eventTime } = batch.contract;
  return eventTime === undefined ? undefined : (columnNamed(batch, eventTime) as Numbers);
}

const isValid = (column: Numbers, index: number) => column.valid === undefined || column.valid[index] !== 0;

/** Equality of key values: by content for bytes, and a null equals nothing. */
function sameValue(a: Value, b: Value): boolean {
  if (a === null || b === null) return false;
  if (a instanceof Uint8Array && b instanceof Uint8Array) return Buffer.compare(a, b) === 0;
  return a === b;
}

function entityTest(batch: Batch, entity: readonly Value[]): (index: number) => boolean {
  const { contract } = batch;
  const tests = contract.entity.map((name, i) => {
    const column = columnNamed(batch, name);
    const wanted = entity[i] ?? null;
    if (column.kind === "text") {
      const codes = new Set<number>();
      column.dictionary.forEach((text, code) => {
        if (text === wanted) codes.add(code);
      });
      return (index: number) => codes.has(column.codes[index]!);
    }
    const { type } = fieldOf(contract, name)!;
    return (index: number) => sameValue(valueAt(column, type, index), wanted);
  });
  return (index) => tests.every((test) => test(index));
}

/** A text that is equal exactly for equal entities; null where a part is null. */
export function entityKey(values: readonly Value[]): string | null {
  if (values.length === 1 && typeof values[0] === "string") return `s${values[0]}`;
  let key = "";
  for (const value of values) {
    if (value === null) return null;
    if (typeof value === "string") key += `s${value.length}:${value}`;
    else if (value instanceof Uint8Array) key += `x${Buffer.from(value).toString("hex")};`;
    else if (typeof value === "boolean") key += value ? "t" : "f";
    else key += `n${value};`;
  }
  return key;
}

/** The entity key of every row of the batch; the key columns must have been decoded. */
export function entityKeys(batch: Batch): (index: number) => string | null {
  const columns = batch.contract.entity.map((name) => columnNamed(batch, name));
  const types = batch.contract.entity.map((name) => fieldOf(batch.contract, name)!.type);
  const only = columns.length === 1 ? columns[0]! : undefined;
  if (only?.kind === "text") {
    return (index) => {
      const code = only.codes[index]!;
      return code < 0 ? null : `s${only.dictionary[code]!}`;
    };
  }
  return (index) => entityKey(columns.map((column, i) => valueAt(column, types[i]!, index)));
}
