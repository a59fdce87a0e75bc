import { canonicalJson, sha256Hex } from "../base/digest.ts";
import { othersTurn } from "../base/turn.ts";
import { type Chunked, chunksOf, numberAt } from "./chunked.ts";
import type { StoreColumn } from "./column.ts";
import { type Dictionary, indexTexts, restoreTexts } from "./dictionary.ts";
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

/** Rows that are handled before others have a turn. */
const SLICE = 8_192;
/** Texts that are hashed before others have a turn: each may be the first on its page of memory. */
const HASHED_SLICE = 512;
/** Rows that are put under their keys before others have a turn. */
const PLACED_SLICE = 4_096;
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
  const places = await livePlaces(captured);
  yield* framed(new TextEncoder().encode(JSON.stringify(headerOf(captured, places.length))));
  yield* numbers(captured.sequences, places);
  for (const { column, texts } of captured.columns) {
    if (column.kind === "number") {
      yield* numbers(column.values, places);
      yield* framed(new TextEncoder().encode(JSON.stringify(await bigOf(column.big, places))));
    } else if (column.kind === "text") yield* textPieces(column, texts, places);
    else yield* bytesPieces(column.values, places);
  }
}

async function livePlaces({ alive, length }: Captured): Promise<Int32Array> {
  const places = new Int32Array(length);
  let count = 0;
  for (let from = 0; from < length; from += SLICE) {
    const to = Math.min(from + SLICE, length);
    for (let place = from; place < to; place++) if (alive[place] === 1) places[count++] = place;
    await othersTurn();
  }
  return places.subarray(0, count);
}

/** A length of 8 bytes, then the bytes. */
function* framed(bytes: Uint8Array): Generator<Uint8Array> {
  yield new Uint8Array(Float64Array.of(bytes.length).buffer);
  yield bytes;
}

/** The values of those places, without their number: the header has it. */
function* numbers(values: Float64Array, places: Int32Array): Generator<Uint8Array> {
  for (let from = 0; from < places.length; from += SLICE) {
    const taken = new Float64Array(Math.min(SLICE, places.length - from));
    for (let i = 0; i < taken.length; i++) taken[i] = values[places[from + i]!]!;
    yield new Uint8Array(taken.buffer);
  }
}

/** Whole numbers beyond 2^53: row, value. They are rare. */
async function bigOf(big: ReadonlyMap<number, bigint> | undefined, places: Int32Array): Promise<[number, string][]> {
  const found: [number, string][] = [];
  if (big === undefined) return found;
  for (let from = 0; from < places.length; from += SLICE) {
    const to = Math.min(from + SLICE, places.length);
    for (let row = from; row < to; row++) {
      const value = big.get(places[row]!);
      if (value !== undefined) found.push([row, `${value}`]);
    }
    await othersTurn();
  }
  return found;
}

/** The texts that the rows use, numbered anew; then the rows' numbers. */
async function* textPieces(
  { codes, dictionary }: StoreColumn & { kind: "text" },
  texts: number,
  places: Int32Array,
): AsyncGenerator<Uint8Array> {
  const { units, ends } = dictionary;
  const endOf = (code: number) => numberAt(ends, code);
  const numbered = new Int32Array(texts); // by code: its new number plus one
  for (let from = 0; from < places.length; from += SLICE) {
    const to = Math.min(from + SLICE, places.length);
    for (let i = from; i < to; i++) {
      const code = codes[places[i]!]!;
      if (code >= 0) numbered[code] = 1;
    }
    await othersTurn();
  }
  const newEnds = new Uint32Array(texts);
  let used = 0;
  let end = 0;
  for (let code = 0; code < texts; code++) {
    if (code % SLICE === 0) await othersTurn();
    if (numbered[code] === 0) continue;
    end += (endOf(code) >>> 1) - startOf(ends, code);
    newEnds[used] = end * 2 + (endOf(code) & 1);
    numbered[code] = ++used;
  }
  const slots = used === texts ? dictionary.slots : new Int32Array(0);
  yield new Uint8Array(Float64Array.of(used, end, slots.length).buffer);
  yield* pieced(new Uint8Array(newEnds.buffer, 0, used * 4));
  yield* usedUnits(units, ends, numbered);
  yield* slotPieces(slots, texts);
  for (let from = 0; from < places.length; from += SLICE) {
    const taken = new Int32Array(Math.min(SLICE, places.length - from));
    for (let i = 0; i < taken.length; i++) {
      const code = codes[places[from + i]!]!;
      taken[i] = code < 0 ? -1 : numbered[code]! - 1;
    }
    yield new Uint8Array(taken.buffer);
  }
}

/** The slots without texts that came since: those stand where the first ones left room, so nothing is looked for past them. */
function* slotPieces(slots: Int32Array, texts: number): Generator<Uint8Array> {
  for (let from = 0; from < slots.length; from += SLICE) {
    const taken = slots.slice(from, from + SLICE);
    for (let i = 0; i < taken.length; i++) if (taken[i]! > texts) taken[i] = 0;
    yield new Uint8Array(taken.buffer);
  }
}

const startOf = (ends: Chunked, code: number): number => (code === 0 ? 0 : numberAt(ends, code - 1) >>> 1);

/** The units of used codes; neighbours that are all used go as one piece. */
function* usedUnits(units: Uint8Array, ends: Chunked, numbered: Int32Array): Generator<Uint8Array> {
  for (let code = 0; code < numbered.length; code++) {
    if (numbered[code] === 0) continue;
    const from = startOf(ends, code);
    const first = code;
    while (code + 1 < numbered.length && numbered[code + 1] !== 0 && code - first < SLICE) code++;
    yield* pieced(units.subarray(from, numberAt(ends, code) >>> 1));
  }
}

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
  if (rows > 0) reserveRows(table, Math.ceil(rows * (1 + SPARE)));
  await from.fill(bytesOf(table.sequences, rows));
  for (const column of table.columns.values()) await restoreColumn(column, rows, from);
  table.alive.fill(1, 0, rows);
  table.length = rows;
  for (let at = 0; at < rows; at += PLACED_SLICE) {
    placeRestored(table, at, Math.min(at + PLACED_SLICE, rows));
    await othersTurn();
  }
  const [failures, maxEventTime, lastKnown] = header.scalars.map(Number);
  Object.assign(table, { failures, maxEventTime, lastKnown });
}

const bytesOf = (values: Float64Array | Int32Array, count: number): Uint8Array =>
  new Uint8Array(values.buffer, values.byteOffset, count * values.BYTES_PER_ELEMENT);

async function restoreColumn(column: StoreColumn, rows: number, from: PartReader): Promise<void> {
  if (column.kind === "number") {
    await from.fill(bytesOf(column.values, rows));
    const big = JSON.parse(new TextDecoder().decode(await from.frame())) as [number, string][];
    if (big.length > 0) column.big = new Map(big.map(([row, value]) => [row, BigInt(value)]));
  } else if (column.kind === "text") {
    const [count, length, slots] = await from.numbers(3);
    for (const ends of chunksOf(column.dictionary.ends, count!)) await from.fill(bytesOf(ends, ends.length));
    const units = new Uint8Array(length!);
    await from.fill(units);
    restoreTexts(column.dictionary, units, count!, slots!);
    await from.fill(bytesOf(column.dictionary.slots, slots!));
    if (slots! > 0) column.dictionary.count = count!;
    for (let at = column.dictionary.count; at < count!; at += HASHED_SLICE) {
      indexTexts(column.dictionary, Math.min(at + HASHED_SLICE, count!));
      await othersTurn();
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
