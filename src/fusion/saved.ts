import { canonicalJson, sha256Hex } from "../base/digest.ts";
import { type Pace, pace } from "../base/turn.ts";
import { type Chunked, chunked, chunksOf, numberAt, setNumber } from "./chunked.ts";
import type { StoreColumn } from "./column.ts";
import { type Dictionary, indexTexts, restoreTexts, unitsRoom } from "./dictionary.ts";
import type { LiveIndex } from "./index.ts";
import { type PartReader, partReader, partsOf } from "./saved_parts.ts";
import { placeRestored, reserveRows, type Table } from "./table.ts";
import type { ViewPlan } from "./types.ts";

/**
 * The online index as bytes: for each table the columns of its live rows, in the order they came. Key tables, paths and
 * what is withdrawn are not in it: restoring puts the rows under their keys again, so that only what rows say is kept, and
 * places of corrected rows end there. The hash tables of texts are in it where every text is still used: filling them
 * anew took half of a start, since each text is somewhere else in memory.
 */
const FORMAT = 2;

/** Rows, or texts, that are handled before it is asked whether others should have a turn. */
const SLICE = 4_096;
/** Texts that are hashed before it is asked whether others should have a turn: each may be the first on its page of memory. */
const HASHED_SLICE = 128;
/** Rows that are put under their keys before it is asked. */
const PLACED_SLICE = 512;
/** Room for rows to come, as a part of those that were restored. */
const SPARE = 0.25;

/** What a saved index is good for: the same views, by the digest of their plans, in the same layout. */
export const savedTag = (plans: readonly ViewPlan[], version: string): string =>
  sha256Hex(canonicalJson([FORMAT, version, plans.map(({ name, digest }) => [name, digest])]));

/** One table as it is now. Rows go on into the table meanwhile: what is below `length` never changes, but `alive`. */
interface Captured {
  readonly table: Table;
  readonly length: number;
  readonly alive: Uint8Array;
  readonly sequences: Float64Array;
  readonly columns: readonly { readonly column: StoreColumn; readonly texts: number }[];
  readonly scalars: Pick<Table, "failures" | "maxEventTime" | "lastKnown">;
}

/**
 * The index as it is at this call, as parts for `restoreIndex`; they may be read while rows are folded. To be called
 * between commits. Copies a byte a row at once; the rest is made when a part is asked for.
 */
export function saveIndex(index: LiveIndex): AsyncGenerator<Uint8Array> {
  return partsOf([...index.tables.values()].map(capture).map(piecesOf));
}

const capture = (table: Table): Captured => ({
  table,
  length: table.length,
  alive: table.alive.slice(0, table.length),
  sequences: table.sequences,
  // The objects as they are: a table that grows gives its columns longer arrays, and these keep the rows.
  columns: [...table.columns.values()].map((column) => ({
    column: column.kind === "text" ? { ...column, dictionary: asItIs(column.dictionary) } : { ...column },
    texts: column.kind === "text" ? column.dictionary.count : 0,
  })),
  scalars: { failures: table.failures, maxEventTime: table.maxEventTime, lastKnown: table.lastKnown },
});

/** Its chunks stay while the dictionary grows: texts that were there are never changed. */
const asItIs = (of: Dictionary): Dictionary => ({ ...of, ends: { ...of.ends, chunks: [...of.ends.chunks] } });

interface TableHeader {
  readonly dataset: string;
  readonly rows: number;
  readonly columns: readonly (readonly [id: string, kind: string, type: string])[];
  /** As text: JSON has no infinity. */
  readonly scalars: readonly string[];
}

const headerOf = ({ table, columns, scalars }: Captured, rows: number): TableHeader => ({
  dataset: table.dataset,
  rows,
  columns: columns.map(({ column: { name, kind, type } }) => [name, kind, type]),
  scalars: [scalars.failures, scalars.maxEventTime, scalars.lastKnown].map(String),
});

async function* piecesOf(captured: Captured): AsyncGenerator<Uint8Array> {
  const steps = pace();
  const places = await livePlaces(captured, steps);
  const rows = places.reduce((sum, { length }) => sum + length, 0);
  yield* framed(new TextEncoder().encode(JSON.stringify(headerOf(captured, rows))));
  for (const part of places) yield bytesOf(valuesAt(captured.sequences, part), part.length);
  for (const { column, texts } of captured.columns) {
    if (column.kind === "number") {
      for (const part of places) yield bytesOf(valuesAt(column.values, part), part.length);
      yield* framed(new TextEncoder().encode(JSON.stringify(await bigOf(column.big, places, steps))));
    } else if (column.kind === "text") yield* textPieces(column, texts, places, steps);
    else for (const part of places) yield* bytesPieces(column.values, part);
  }
}

// What loops over rows is in functions of its own, here and below: the engine never makes a generator's loops fast.

/** The live places in lists of at most SLICE. */
async function livePlaces({ alive, length }: Captured, steps: Pace): Promise<Int32Array[]> {
  const places: Int32Array[] = [];
  for (let from = 0; from < length; from += SLICE) {
    places.push(liveAmong(alive, from, Math.min(from + SLICE, length)));
    if (steps.due()) await steps.turn();
  }
  return places;
}

function liveAmong(alive: Uint8Array, from: number, to: number): Int32Array {
  const places = new Int32Array(to - from);
  let count = 0;
  for (let place = from; place < to; place++) if (alive[place] === 1) places[count++] = place;
  return places.subarray(0, count);
}

/** A length of 8 bytes, then the bytes. */
function* framed(bytes: Uint8Array): Generator<Uint8Array> {
  yield new Uint8Array(Float64Array.of(bytes.length).buffer);
  yield bytes;
}

function valuesAt(values: Float64Array, places: Int32Array): Float64Array {
  const taken = new Float64Array(places.length);
  for (let i = 0; i < taken.length; i++) taken[i] = values[places[i]!]!;
  return taken;
}

/** Whole numbers beyond 2^53: row, value. They are rare. */
async function bigOf(
  big: ReadonlyMap<number, bigint> | undefined,
  places: readonly Int32Array[],
  steps: Pace,
): Promise<[number, string][]> {
  const found: [number, string][] = [];
  let first = 0;
  for (const part of big === undefined ? [] : places) {
    for (let i = 0; i < part.length; i++) {
      const value = big!.get(part[i]!);
      if (value !== undefined) found.push([first + i, `${value}`]);
    }
    first += part.length;
    if (steps.due()) await steps.turn();
  }
  return found;
}

/** The texts that the rows use, numbered anew; then the rows' numbers. */
async function* textPieces(
  { codes, dictionary }: StoreColumn & { kind: "text" },
  texts: number,
  places: readonly Int32Array[],
  steps: Pace,
): AsyncGenerator<Uint8Array> {
  const { units, ends } = dictionary;
  const numbered = chunked(0); // by code: its new number plus one
  for (const part of places) {
    markUsed(codes, part, numbered);
    if (steps.due()) await steps.turn();
  }
  const kept: Kept = { ends: chunked(0), used: 0, end: 0 };
  for (let from = 0; from < texts; from += SLICE) {
    numberTexts(ends, numbered, from, Math.min(from + SLICE, texts), kept);
    if (steps.due()) await steps.turn();
  }
  const { used, end } = kept;
  const { slots } = dictionary;
  yield new Uint8Array(Float64Array.of(used, end, used === texts ? slots.length : 0).buffer);
  for (const part of chunksOf(kept.ends, used)) yield* pieced(bytesOf(part, part.length));
  for (let from = 0; from < texts; ) {
    const run = usedRun(numbered, from, texts);
    if (run.to > run.from) yield* pieced(units.subarray(startOf(ends, run.from), numberAt(ends, run.to - 1) >>> 1));
    from = run.to;
    if (steps.due()) await steps.turn();
  }
  if (used === texts) for (const chunk of slots.chunks) yield bytesOf(withoutLater(chunk, texts), chunk.length);
  for (const part of places) yield bytesOf(numbersAt(codes, part, numbered), part.length);
}

function markUsed(codes: Int32Array, places: Int32Array, numbered: Chunked): void {
  for (let i = 0; i < places.length; i++) {
    const code = codes[places[i]!]!;
    if (code >= 0) setNumber(numbered, code, 1);
  }
}

/** Texts that are kept: where each ends, how many there are, and how many units they take. */
interface Kept {
  readonly ends: Chunked;
  used: number;
  end: number;
}

/** Numbers the texts in use among the codes. */
function numberTexts(ends: Chunked, numbered: Chunked, from: number, to: number, kept: Kept): void {
  for (let code = from; code < to; code++) {
    if (numberAt(numbered, code) === 0) continue;
    const end = numberAt(ends, code);
    kept.end += (end >>> 1) - startOf(ends, code);
    setNumber(kept.ends, kept.used, (kept.end * 2 + (end & 1)) | 0);
    setNumber(numbered, code, ++kept.used);
  }
}

/** The next codes that are all used, at most SLICE of them; `from` is `to` where there is none among SLICE. */
function usedRun(numbered: Chunked, first: number, texts: number): { from: number; to: number } {
  const most = Math.min(texts, first + SLICE);
  let from = first;
  while (from < most && numberAt(numbered, from) === 0) from++;
  let to = from;
  while (to < most && numberAt(numbered, to) !== 0) to++;
  return { from, to };
}

function numbersAt(codes: Int32Array, places: Int32Array, numbered: Chunked): Int32Array {
  const taken = new Int32Array(places.length);
  for (let i = 0; i < taken.length; i++) {
    const code = codes[places[i]!]!;
    taken[i] = code < 0 ? -1 : numberAt(numbered, code) - 1;
  }
  return taken;
}

/** Slots without texts that came since: those stand where the first ones left room, so nothing is looked for past them. */
function withoutLater(slots: Int32Array, texts: number): Int32Array {
  const taken = slots.slice();
  for (let i = 0; i < taken.length; i++) if (taken[i]! > texts) taken[i] = 0;
  return taken;
}

const startOf = (ends: Chunked, code: number): number => (code === 0 ? 0 : numberAt(ends, code - 1) >>> 1);

const PIECE_BYTES = 1 << 16;

function* pieced(bytes: Uint8Array): Generator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += PIECE_BYTES) yield bytes.subarray(at, at + PIECE_BYTES);
}

/** Each value with its length before it, -1 for null. */
function* bytesPieces(values: readonly (Uint8Array | null)[], places: Int32Array): Generator<Uint8Array> {
  for (const place of places) {
    const value = values[place] ?? null;
    yield new Uint8Array(Float64Array.of(value === null ? -1 : value.length).buffer);
    if (value !== null) yield* pieced(value);
  }
}

/**
 * Fills an empty index, made for the same views, with what was saved. Others have a turn every few thousand rows. Throws
 * RangeError where the parts do not fit the index, or end early: the index is of no use then.
 */
export async function restoreIndex(index: LiveIndex, parts: AsyncIterable<Uint8Array>): Promise<void> {
  const from = partReader(parts);
  try {
    for (const table of index.tables.values()) await restoreTable(table, from);
    if (!(await from.ended())) throw new RangeError("the saved index is longer than the views need");
  } finally {
    await from.close();
  }
}

async function restoreTable(table: Table, from: PartReader): Promise<void> {
  const header = JSON.parse(new TextDecoder().decode(await from.frame())) as TableHeader;
  const own = [...table.columns.values()].map(({ name, kind, type }) => [name, kind, type]);
  if (header.dataset !== table.dataset || JSON.stringify(own) !== JSON.stringify(header.columns)) {
    throw new RangeError(`the saved table of ${header.dataset} has other columns`);
  }
  const { rows } = header;
  if (rows > 0) await reserveRows(table, Math.ceil(rows * (1 + SPARE)));
  await from.fill(bytesOf(table.sequences, rows));
  const steps = pace();
  for (const column of table.columns.values()) await restoreColumn(column, rows, from, steps);
  table.alive.fill(1, 0, rows);
  table.length = rows;
  for (let at = 0; at < rows; at += PLACED_SLICE) {
    placeRestored(table, at, Math.min(at + PLACED_SLICE, rows));
    if (steps.due()) await steps.turn();
  }
  const [failures, maxEventTime, lastKnown] = header.scalars.map(Number);
  Object.assign(table, { failures, maxEventTime, lastKnown });
}

const bytesOf = (values: Float64Array | Int32Array, count: number): Uint8Array =>
  new Uint8Array(values.buffer, values.byteOffset, count * values.BYTES_PER_ELEMENT);

async function restoreColumn(column: StoreColumn, rows: number, from: PartReader, steps: Pace): Promise<void> {
  if (column.kind === "number") {
    await from.fill(bytesOf(column.values, rows));
    const big = JSON.parse(new TextDecoder().decode(await from.frame())) as [number, string][];
    if (big.length > 0) column.big = new Map(big.map(([row, value]) => [row, BigInt(value)]));
  } else if (column.kind === "text") {
    const [count, length, slots] = await from.numbers(3);
    for (const ends of chunksOf(column.dictionary.ends, count!)) await from.fill(bytesOf(ends, ends.length));
    const units = unitsRoom(length!);
    await from.fill(units);
    await restoreTexts(column.dictionary, units, count!, slots!);
    if (slots! > 0) {
      for (const chunk of column.dictionary.slots.chunks) await from.fill(bytesOf(chunk, chunk.length));
      column.dictionary.count = count!;
    }
    for (let at = column.dictionary.count; at < count!; at += HASHED_SLICE) {
      indexTexts(column.dictionary, Math.min(at + HASHED_SLICE, count!));
      if (steps.due()) await steps.turn();
    }
    await from.fill(bytesOf(column.codes, rows));
  } else {
    for (let row = 0; row < rows; row++) {
      const [length] = await from.numbers(1);
      const value = length! < 0 ? null : new Uint8Array(length!);
      if (value) await from.fill(value);
      column.values[row] = value;
    }
  }
}
