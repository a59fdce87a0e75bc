import { invariant } from "../base/errors.ts";
import type { Value } from "../base/row.ts";
import type { Contract, Field } from "../contract/contract.ts";
import type { Evaluated, Program } from "../expression/types.ts";
import type { StoredRows } from "../store/port.ts";
import { type Chunked, chunked, numberAt, setNumber } from "./chunked.ts";
import {
  type CopyRow,
  compareAt,
  copierOf,
  type NumberColumn,
  readValue,
  type StoreColumn,
  storeColumn,
  writeValue,
} from "./column.ts";
import { type Growth, grow, growAhead, growInTurns } from "./growth.ts";
import { entryAt, type KeyTable, keyTable, reserveKeys } from "./keys.ts";
import { type AccessPath, accessPath, addPlace, removePlace } from "./path.ts";

/**
 * The rows of one curated dataset that views read: only the columns they need, one place a stored version. Places are
 * never reused, so memory grows with corrections until the index is built again (at every start).
 */
export interface Table {
  readonly dataset: string;
  readonly contract: Contract;
  /** Rows have no event time: the latest version counts at every T. */
  readonly isStatic: boolean;
  length: number;
  capacity: number;
  /** By column id: a field's name, or `=` and the canonical text of an expression over the row. */
  /** While longer arrays are being filled, which will replace those that are nearly full. */
  growth: Growth | undefined;
  readonly columns: Map<string, StoreColumn>;
  /** The rows that are being folded in steps. */
  opened: { readonly stored: StoredRows; readonly copiers: readonly CopyRow[] } | undefined;
  readonly fields: { readonly field: Field; readonly column: StoreColumn }[];
  readonly derivers: Deriver[];
  /** 1 while the place holds the latest version of a record that was not withdrawn. */
  alive: Uint8Array;
  sequences: Float64Array;
  readonly eventTime: NumberColumn | null;
  /** Null where a row is available from its event time on. */
  readonly available: NumberColumn | null;
  /** Record id -> entry; null where every row is a record of its own (`recordId: position`). */
  readonly ids: KeyTable | null;
  /** By entry: the place of the record's latest version, -1 before the first. */
  readonly current: Chunked;
  readonly paths: Map<string, TablePath>;
  /** Values of expressions that could not be computed, and are null. */
  failures: number;
  /** The greatest event time folded, whatever became of the row since; minus infinity before the first. */
  maxEventTime: number;
  /** The greatest known time folded; minus infinity before the first. */
  lastKnown: number;
}

interface TablePath {
  readonly path: AccessPath;
  /** What the path is sorted by; rows where it is null are not in it. Null for static datasets. */
  readonly times: NumberColumn | null;
}

interface Deriver {
  readonly program: Program;
  readonly inputs: readonly StoreColumn[];
  readonly outputs: readonly StoreColumn[];
  /** For programs of one input: results by its value. Values repeat, and a lookup costs a tenth of an evaluation. */
  readonly known: Map<Value, Evaluated> | undefined;
}

/** Results kept for each program of one input; then they are forgotten and found anew. */
const RESULTS_KEPT = 65_536;

/** What a table must hold for one view. */
export interface TableNeeds {
  readonly dataset: string;
  readonly contract: Contract;
  readonly isStatic: boolean;
  readonly fields: readonly string[];
  /** Column id of the available time; undefined where it is the event time. */
  readonly available: string | undefined;
  /** One program over fields; output i is stored as the column `derived.ids[i]`. */
  readonly derived: { readonly program: Program; readonly ids: readonly string[] } | undefined;
}

/** One table for all the views that read the dataset. */
export function createTable(needs: readonly TableNeeds[]): Table {
  const first = needs[0];
  invariant(first, "a table has a reader");
  const { contract, isStatic, dataset } = first;
  const columns = new Map<string, StoreColumn>();
  const fields: { field: Field; column: StoreColumn }[] = [];
  const idFields = contract.recordId === "content" ? contract.fields.map((field) => field.name) : contract.recordId;
  const wanted = new Set(needs.flatMap((need) => need.fields));
  for (const name of Array.isArray(idFields) ? idFields : []) wanted.add(name);
  for (const name of [contract.eventTime, contract.order]) if (name !== undefined) wanted.add(name);
  for (const field of contract.fields) {
    if (!wanted.has(field.name)) continue;
    const column = storeColumn(field.name, field.type);
    columns.set(field.name, column);
    fields.push({ field, column });
  }
  const derivers = deriversOf(needs, columns);
  const timeColumn = (id: string | undefined) => (id === undefined ? null : (columns.get(id) as NumberColumn));
  return {
    dataset,
    contract,
    isStatic,
    length: 0,
    capacity: 0,
    growth: undefined,
    columns,
    opened: undefined,
    fields,
    derivers,
    alive: new Uint8Array(0),
    sequences: new Float64Array(0),
    eventTime: isStatic ? null : timeColumn(contract.eventTime),
    available: isStatic ? null : timeColumn(first.available),
    ids: Array.isArray(idFields) ? keyTable(idFields.map((name) => columns.get(name)!)) : null,
    current: chunked(NONE),
    paths: new Map(),
    failures: 0,
    maxEventTime: Number.NEGATIVE_INFINITY,
    lastKnown: Number.NEGATIVE_INFINITY,
  };
}

function deriversOf(needs: readonly TableNeeds[], columns: Map<string, StoreColumn>): Deriver[] {
  const derivers: Deriver[] = [];
  for (const { derived } of needs) {
    if (!derived || derived.ids.every((id) => columns.has(id))) continue;
    const outputs = derived.program.outputs.map((output, i) => {
      const id = derived.ids[i]!;
      const column = columns.get(id) ?? storeColumn(id, output.type);
      columns.set(id, column);
      return column;
    });
    const inputs = derived.program.inputs.map((name) => columns.get(name)!);
    const known = inputs.length === 1 && inputs[0]!.kind !== "bytes" ? new Map<Value, Evaluated>() : undefined;
    derivers.push({ program: derived.program, inputs, outputs, known });
  }
  return derivers;
}

/** The path of the table by those columns, sorted by event time or by the column `times`. Made before rows are applied. */
export function pathOf(table: Table, keys: readonly string[], times?: string): AccessPath {
  const name = JSON.stringify([keys, times ?? null]);
  const known = table.paths.get(name);
  if (known) return known.path;
  invariant(table.length === 0, "paths are made before rows are applied");
  const column = times === undefined ? table.eventTime : (table.columns.get(times) as NumberColumn);
  const columns = keys.map((key) => table.columns.get(key)!);
  const { ids } = table;
  const byId =
    ids !== null && ids.columns.length === columns.length && columns.every((one, i) => one === ids.columns[i]);
  const path = accessPath(columns, comparePlaces(table, column), byId ? ids : undefined);
  table.paths.set(name, { path, times: column });
  return path;
}

/** Time, then the contract's `order` field, then record id; never arrival, except for rows that have no other identity. */
function comparePlaces(table: Table, times: NumberColumn | null): (a: number, b: number) => number {
  const { contract, ids, columns } = table;
  const rest = [...(contract.order === undefined ? [] : [columns.get(contract.order)!]), ...(ids?.columns ?? [])];
  return (a, b) => {
    if (times) {
      const x = times.values[a]!;
      const y = times.values[b]!;
      if (x !== y) return x < y ? -1 : 1;
    }
    for (const column of rest) {
      const compared = compareAt(column, a, b);
      if (compared !== 0) return compared;
    }
    return table.sequences[a]! - table.sequences[b]!;
  };
}

/** Told after each change: a place taken out of the paths and the place put in for the same record, -1 for none. */
export type OnChange = (table: Table, removed: number, added: number) => void;

/** Folds stored rows `from` to `to` (exclusive) into the table. In any order: the greatest sequence of a record wins. */
export function applyToTable(table: Table, stored: StoredRows, from: number, to: number, onChange?: OnChange): void {
  if (table.opened?.stored !== stored) table.opened = { stored, copiers: openBatch(table, stored) };
  const { copiers } = table.opened;
  for (let i = from; i < to; i++) applyRow(table, stored, i, copiers, onChange);
  growAhead(table, to - from);
  if (to >= stored.batch.length) table.opened = undefined;
}

function openBatch(table: Table, { batch: { contract, columns } }: StoredRows): readonly CopyRow[] {
  return table.fields.map(({ field, column }) => {
    const at = contract.fields.findIndex((candidate) => candidate.name === field.name);
    return copierOf(column, at < 0 ? undefined : columns[at], field);
  });
}

function applyRow(
  table: Table,
  stored: StoredRows,
  index: number,
  copiers: readonly CopyRow[],
  onChange: OnChange | undefined,
): void {
  const place = table.length;
  if (place === table.capacity) grow(table);
  for (let c = 0; c < copiers.length; c++) copiers[c]!(index, place);
  const sequence = stored.sequences[index]!;
  const withdrawn = stored.tombstones[index] === 1;
  table.sequences[place] = sequence;
  table.alive[place] = withdrawn ? 0 : 1;
  table.length++;
  noteTimes(table, place, stored.knownTimes[index]!);
  const { ids } = table;
  const entry = ids ? entryAt(ids, place) : NONE;
  const removed = ids ? takeOver(table, entry, place, sequence) : NONE;
  if (removed === NEWER_IS_HERE) return;
  if (!withdrawn) {
    derive(table, place);
    addToPaths(table, place, entry);
  }
  if (onChange && (removed >= 0 || !withdrawn)) onChange(table, removed, withdrawn ? NONE : place);
}

/** Puts places that were restored, `from` to `to` (exclusive), under their keys: each is the live version of a record. */
export function placeRestored(table: Table, from: number, to: number): void {
  const { ids } = table;
  for (let place = from; place < to; place++) {
    const entry = ids ? entryAt(ids, place) : NONE;
    if (ids) setNumber(table.current, entry, place);
    addToPaths(table, place, entry);
  }
}

function addToPaths(table: Table, place: number, entry: number): void {
  for (const { path, times } of table.paths.values()) {
    if (times !== null && Number.isNaN(times.values[place]!)) continue;
    if (path.keys === table.ids) addPlace(path, place, entry);
    else addPlace(path, place);
  }
}

/** What watermarks are made of; older versions count too, so that the order of folding makes no difference. */
function noteTimes(table: Table, place: number, knownTime: number): void {
  if (knownTime > table.lastKnown) table.lastKnown = knownTime;
  const time = table.eventTime?.values[place];
  if (time !== undefined && time > table.maxEventTime) table.maxEventTime = time;
}

const NONE = -1;
const NEWER_IS_HERE = -2;

/**
 * Makes the place the current one of its record, which is `entry` of the ids: the place that was live before, NONE, or NEWER_IS_HERE (and the place is
 * given back) when a newer version was folded already.
 */
function takeOver(table: Table, entry: number, place: number, sequence: number): number {
  const old = numberAt(table.current, entry);
  if (old === NONE) {
    setNumber(table.current, entry, place);
    return NONE;
  }
  if (table.sequences[old]! > sequence) {
    table.alive[place] = 0;
    table.length--; // nothing refers to it yet
    return NEWER_IS_HERE;
  }
  setNumber(table.current, entry, place);
  if (table.alive[old] === 0) return NONE;
  for (const { path, times } of table.paths.values()) {
    if (times === null || !Number.isNaN(times.values[old]!)) removePlace(path, old);
  }
  table.alive[old] = 0;
  return old;
}

function derive(table: Table, place: number): void {
  for (const deriver of table.derivers) {
    const { inputs, outputs } = deriver;
    const values: Value[] = new Array(inputs.length);
    for (let i = 0; i < inputs.length; i++) values[i] = readValue(inputs[i]!, place);
    const result = evaluateDeriver(deriver, values);
    for (let i = 0; i < outputs.length; i++) writeValue(outputs[i]!, place, result.values[i]!);
    table.failures += result.failures.length;
  }
}

function evaluateDeriver({ program, known }: Deriver, values: readonly Value[]): Evaluated {
  const [only] = values;
  if (known === undefined || only === undefined || Object.is(only, -0)) return program.evaluate(values);
  let result = known.get(only);
  if (result === undefined) {
    result = program.evaluate(values);
    if (known.size === RESULTS_KEPT) known.clear();
    known.set(only, result);
  }
  return result;
}

/** Makes room for so many rows, where it is known how many will come: growing step by step copies them several times. */
export async function reserveRows(table: Table, rows: number): Promise<void> {
  if (rows <= table.capacity) return;
  await growInTurns(table, rows);
  if (table.ids) await reserveKeys(table.ids, rows);
}

/** A live place at the end, for a copy of a row of another table; the caller writes its columns and adds it to the paths. */
export function reservePlace(table: Table, sequence: number): number {
  if (table.length === table.capacity) grow(table);
  const place = table.length++;
  table.sequences[place] = sequence;
  table.alive[place] = 1;
  return place;
}

/** When a consumer could have used the row: minus infinity for static rows, never (plus infinity) where it is null. */
export function availableAt(table: Table, place: number): number {
  if (table.isStatic) return Number.NEGATIVE_INFINITY;
  const column = table.available ?? table.eventTime;
  const at = column === null ? Number.NaN : column.values[place]!;
  return Number.isNaN(at) ? Number.POSITIVE_INFINITY : at;
}
