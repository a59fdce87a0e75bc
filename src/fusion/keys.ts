import { compareValues, type Value } from "../base/row.ts";
import { type Chunked, chunked, numberAt, setNumber } from "./chunked.ts";
import { isNullAt, readValue, type StoreColumn } from "./column.ts";
import { codeOf } from "./dictionary.ts";
import { manySlots, type NextSlots, nextSlots, putNumber, ready, type Slots, slotAt, someSlots } from "./slots.ts";

/**
 * Tuples of columns -> small whole numbers (entries), by open addressing over the columns themselves: no key is stored
 * twice, so a third of a million composite keys cost a few megabytes. An entry's representative is a place in the table
 * that holds its tuple; places are never reused, so it stays true.
 */
export interface KeyTable {
  readonly columns: readonly StoreColumn[];
  /** By hash: an entry plus one, or 0. */
  slots: Slots;
  /** While `slots` is getting full: what will replace it, with the first `moved` entries in it. */
  next: NextSlots | undefined;
  readonly representatives: Chunked;
  count: number;
  /** The tuple that is looked for, as codes and numbers; reused. */
  readonly probe: Float64Array;
  /** For a key of one text column, which needs no hashing: by code plus one (null is 0), the entry plus one. */
  readonly byCode: Chunked;
}

export function keyTable(columns: readonly StoreColumn[]): KeyTable {
  const probe = new Float64Array(columns.length);
  return {
    columns,
    slots: someSlots(),
    next: undefined,
    representatives: chunked(0),
    count: 0,
    probe,
    byCode: chunked(0),
  };
}

/** The entry of the tuple at that place of the table, made if it is new. Nulls are values here. */
export function entryAt(table: KeyTable, place: number): number {
  const { columns } = table;
  if (columns.length === 1 && columns[0]!.kind === "text") return entryOfCode(table, columns[0]!.codes[place]!, place);
  let hash = 0;
  for (let c = 0; c < columns.length; c++) hash = mix(hash, hashAt(columns[c]!, place));
  const spread = finish(hash);
  const mask = table.slots.length - 1;
  for (let slot = spread & mask; slotAt(table.slots, slot) !== 0; slot = (slot + 1) & mask) {
    const entry = slotAt(table.slots, slot) - 1;
    if (samePlaces(columns, numberAt(table.representatives, entry), place)) return entry;
  }
  const entry = table.count++;
  putNumber(table.slots, spread, entry);
  setNumber(table.representatives, entry, place);
  moveOn(table);
  return entry;
}

function entryOfCode(table: KeyTable, code: number, place: number): number {
  const known = numberAt(table.byCode, code + 1) - 1;
  if (known >= 0) return known;
  const entry = table.count++;
  setNumber(table.representatives, entry, place);
  setNumber(table.byCode, code + 1, entry + 1);
  return entry;
}

/** The entry of a tuple of values, -1 when there is none. */
export function entryOf(table: KeyTable, values: readonly Value[]): number {
  const { columns, probe } = table;
  if (columns.length === 1 && columns[0]!.kind === "text") {
    const code = values[0] === null ? -1 : codeOf(columns[0]!.dictionary, values[0] as string);
    return code === -1 && values[0] !== null ? -1 : numberAt(table.byCode, code + 1) - 1;
  }
  let hash = 0;
  for (let c = 0; c < columns.length; c++) {
    const column = columns[c]!;
    const value = values[c]!;
    if (column.kind === "text") {
      const code = value === null ? -1 : codeOf(column.dictionary, value as string);
      if (code < 0 && value !== null) return -1;
      probe[c] = code;
      hash = mix(hash, code);
    } else if (column.kind === "number") {
      probe[c] = value === null ? Number.NaN : Number(value);
      hash = mix(hash, hashNumber(probe[c]!));
    } else hash = mix(hash, hashValue(value));
  }
  const mask = table.slots.length - 1;
  for (let slot = finish(hash) & mask; slotAt(table.slots, slot) !== 0; slot = (slot + 1) & mask) {
    const entry = slotAt(table.slots, slot) - 1;
    if (sameAsProbe(table, numberAt(table.representatives, entry), values)) return entry;
  }
  return -1;
}

/** Whether any column of the tuple at that place is null: such a key matches nothing. */
export function hasNullAt(table: KeyTable, place: number): boolean {
  for (const column of table.columns) if (isNullAt(column, place)) return true;
  return false;
}

function samePlaces(columns: readonly StoreColumn[], a: number, b: number): boolean {
  for (let c = 0; c < columns.length; c++) {
    const column = columns[c]!;
    if (column.kind === "text") {
      if (column.codes[a] !== column.codes[b]) return false;
    } else if (column.kind === "number" && column.big === undefined) {
      const x = column.values[a]!;
      const y = column.values[b]!;
      if (x !== y && !(Number.isNaN(x) && Number.isNaN(y))) return false;
    } else if (compareValues(readValue(column, a), readValue(column, b)) !== 0) return false;
  }
  return true;
}

function sameAsProbe({ columns, probe }: KeyTable, place: number, values: readonly Value[]): boolean {
  for (let c = 0; c < columns.length; c++) {
    const column = columns[c]!;
    if (column.kind === "text") {
      if (column.codes[place] !== probe[c]) return false;
    } else if (column.kind === "number" && column.big === undefined && typeof values[c] !== "bigint") {
      const stored = column.values[place]!;
      if (stored !== probe[c] && !(Number.isNaN(stored) && Number.isNaN(probe[c]!))) return false;
    } else if (compareValues(readValue(column, place), values[c]!) !== 0) return false;
  }
  return true;
}

function hashAt(column: StoreColumn, place: number): number {
  if (column.kind === "text") return column.codes[place]!;
  if (column.kind === "number") return hashNumber(column.values[place]!);
  return hashValue(column.values[place] ?? null);
}

function hashValue(value: Value): number {
  if (value === null) return hashNumber(Number.NaN);
  if (value instanceof Uint8Array) return Bun.hash.crc32(value) | 0;
  return hashNumber(Number(value));
}

/** Any spread of a double over 32 bits will do: the low and the high half of its size, in units that keep fractions. */
function hashNumber(value: number): number {
  if (Number.isNaN(value)) return 0x5bd1e995;
  const low = value | 0; // the value modulo 2^32
  const high = (value / 4294967296) | 0;
  const rest = ((value - Math.trunc(value)) * 4294967296) | 0;
  return low ^ Math.imul(high, 0x27d4eb2f) ^ Math.imul(rest, 0x165667b1);
}

const mix = (hash: number, next: number): number =>
  Math.imul(Math.imul(hash, 31) ^ next, 0x9e3779b1 | 0) ^ (hash >>> 15);

function finish(hash: number): number {
  const spread = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b | 0);
  return (spread ^ (spread >>> 13)) >>> 0;
}

/** Makes room for so many entries in a table that has none. Others have turns. */
export async function reserveKeys(table: KeyTable, entries: number): Promise<void> {
  let length = table.slots.length;
  while (length < entries * 2) length *= 2;
  if (table.count === 0 && length > table.slots.length && !byCode(table)) table.slots = await manySlots(length);
}

const byCode = ({ columns }: KeyTable): boolean => columns.length === 1 && columns[0]!.kind === "text";

/** Entries moved to the next slots with each new one: they are all there long before the slots are full. */
const MOVED_AT_ONCE = 16;

/** Once the slots are half full, moves some entries to larger ones, so that no row ever waits for all of them. */
function moveOn(table: KeyTable): void {
  if (table.count * 2 > table.slots.length) {
    table.next ??= nextSlots(table.slots.length * 2);
  }
  const { next } = table;
  if (next === undefined || !ready(next)) return;
  const end = Math.min(next.moved + MOVED_AT_ONCE, table.count);
  for (; next.moved < end; next.moved++) {
    let hash = 0;
    for (const column of table.columns) hash = mix(hash, hashAt(column, numberAt(table.representatives, next.moved)));
    putNumber(next.slots, finish(hash), next.moved);
  }
  if (next.moved < table.count) return;
  table.slots = next.slots;
  table.next = undefined;
}

/** Twice as long, the same start. */
export function doubled(values: Int32Array): Int32Array {
  const grown = new Int32Array(Math.max(8, values.length * 2));
  grown.set(values);
  return grown;
}
