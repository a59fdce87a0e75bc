import { compareValues, type Value } from "../base/row.ts";
import type { Micros } from "../base/time.ts";
import type { Failure } from "../expression/types.ts";
import { aggregate, type Selection } from "./aggregate.ts";
import type { BoundJoin, BoundView, BoundWindow, TextKey } from "./bind.ts";
import { numberAt, setNumber } from "./chunked.ts";
import { readValue } from "./column.ts";
import { entryOf } from "./keys.ts";
import { type AccessPath, countUpTo, type PlaceList, placesOf, placesOfEntry } from "./path.ts";
import { availableAt } from "./table.ts";
import type { KeyPlan } from "./types.ts";

/** The features of one spine row at one T. */
export interface FusedValues {
  /** In the order of the view's features. */
  readonly values: readonly Value[];
  /** By join alias: the event time of the row that was used; null where none was, and for static datasets. */
  readonly inputs: readonly (Micros | null)[];
  /** By join alias: whether a row was found. */
  readonly found: readonly boolean[];
  readonly failures: readonly Failure[];
}

/**
 * The one evaluator: history, increments and requests all come here. `spine` are the values of `plan.spineFields` in
 * their order; T is the instant of prediction. Uses rows with event time and available time at or before T, and what
 * the index knows. `place` is the spine row's own in its table, where it has one.
 */
export function evaluate(view: BoundView, spine: readonly Value[], at: Micros, place = NO_PLACE): FusedValues {
  const { plan } = view;
  const { places, windows, slots } = view.scratch;
  const inputs: (Micros | null)[] = new Array(view.joins.length);
  const found: boolean[] = new Array(view.joins.length);
  for (let j = 0; j < view.joins.length; j++) {
    const join = view.joins[j]!;
    const joined = findJoined(view, join, spine, at, place);
    places[j] = joined;
    found[j] = joined >= 0;
    const times = join.table.eventTime;
    inputs[j] = joined < 0 || times === null ? null : times.values[joined]!;
  }
  for (let w = 0; w < view.windows.length; w++) readWindow(view, view.windows[w]!, spine, at, place, windows[w]!);
  for (let s = 0; s < view.slots.length; s++) {
    const slot = view.slots[s]!;
    if (slot.from === "spine") slots[s] = spine[slot.field]!;
    else if (slot.from === "window") slots[s] = windows[slot.window]![slot.value]!;
    else slots[s] = places[slot.join]! < 0 ? null : readValue(slot.column, places[slot.join]!);
  }
  const result = plan.program.evaluate(slots, at);
  return { values: withOneZero(result.values), inputs, found, failures: result.failures };
}

/** Zero has one sign: -0 would not survive JSON, and equal values must have equal bits everywhere. */
function withOneZero(values: readonly Value[]): readonly Value[] {
  for (let i = 0; i < values.length; i++) {
    if (values[i] === 0 && Object.is(values[i], -0)) return values.map((other) => (other === 0 ? 0 : other));
  }
  return values;
}

/** The spine row comes with a request, or is not where it came from. */
const NO_PLACE = -1;

/** The place of the row that the join uses, -1 for none. */
export function findJoined(
  view: BoundView,
  join: BoundJoin,
  spine: readonly Value[],
  at: Micros,
  place = NO_PLACE,
): number {
  if (!readKey(join.plan.key, spine, join.scratch)) return -1;
  const list = listOf(view, join.path, join.scratch, join.texts, place);
  if (!list) return -1;
  return latestPlace(join, list, at);
}

/** The rows of a key; by the code of its text where the spine row has a place, which spares looking the text up. */
function listOf(
  view: BoundView,
  path: AccessPath,
  key: readonly Value[],
  texts: TextKey | null,
  place: number,
): PlaceList | undefined {
  const { list } = view.scratch;
  if (texts === null || place < 0) return placesOf(path, key, list);
  const code = texts.column.codes[place]!;
  let entry = numberAt(texts.entries, code);
  if (entry < 0) {
    entry = entryOf(path.keys, key);
    if (entry >= 0) setNumber(texts.entries, code, entry);
  }
  return entry < 0 ? undefined : placesOfEntry(path, entry, list);
}

function latestPlace({ table, plan }: BoundJoin, list: PlaceList, at: Micros): number {
  if (table.eventTime === null) return list.places[list.length - 1]!; // static: the greatest (order, record id)
  const times = table.eventTime.values;
  const oldest = at - plan.maxAge;
  for (let i = countUpTo(list, times, at) - 1; i >= 0; i--) {
    const place = list.places[i]!;
    if (times[place]! < oldest) return -1;
    if (availableAt(table, place) <= at) return place;
  }
  return -1;
}

/** The values of a key, undefined where one is null: a null key matches nothing. */
export function keyOf(key: KeyPlan, spine: readonly Value[]): Value[] | undefined {
  const values: Value[] = new Array(key.spine.length);
  return readKey(key, spine, values) ? values : undefined;
}

/** The same, into a list that is kept; false where a value is null. */
function readKey(key: KeyPlan, spine: readonly Value[], into: Value[]): boolean {
  for (let i = 0; i < key.spine.length; i++) {
    const value = spine[key.spine[i]!]!;
    if (value === null) return false;
    into[i] = value;
  }
  return true;
}

function readWindow(
  view: BoundView,
  window: BoundWindow,
  spine: readonly Value[],
  at: Micros,
  place: number,
  into: Value[],
): void {
  const rows = selectWindow(view, window, spine, at, place);
  const { values } = window.plan;
  for (let i = 0; i < values.length; i++) into[i] = rows ? aggregate(values[i]!.fn, window.columns[i]!, rows) : null;
}

/** The rows of the window in (T - length, T], oldest first, in a list that the window's next call reuses. Null for a null key. */
export function selectWindow(
  view: BoundView,
  window: BoundWindow,
  spine: readonly Value[],
  at: Micros,
  spinePlace = NO_PLACE,
): Selection | null {
  const key = window.scratch.key;
  if (!readKey(window.plan.key, spine, key)) return null;
  const { rows } = window.scratch;
  const list = listOf(view, window.path, key, window.texts, spinePlace);
  const times = window.table.eventTime;
  rows.length = 0;
  if (!list || times === null) return rows;
  const { own } = window.scratch;
  const excludes = window.plan.excludes !== undefined && readKey(window.plan.excludes, spine, own);
  const end = countUpTo(list, times.values, at);
  const start = countUpTo(list, times.values, at - window.plan.length);
  if (rows.places.length < end - start) rows.places = new Int32Array((end - start) * 2);
  const { places } = rows;
  // From the newest back, because `rows` keeps the newest; turned round below.
  let count = 0;
  for (let i = end - 1; i >= start && count < window.plan.rows; i--) {
    const place = list.places[i]!;
    if (availableAt(window.table, place) > at) continue;
    if (window.where !== null && window.where.values[place] !== 1) continue;
    if (excludes && isOwn(window, place, own)) continue;
    places[count++] = place;
  }
  for (let low = 0, high = count - 1; low < high; low++, high--) {
    const place = places[low]!;
    places[low] = places[high]!;
    places[high] = place;
  }
  rows.length = count;
  return rows;
}

function isOwn(window: BoundWindow, place: number, own: readonly Value[]): boolean {
  for (let i = 0; i < own.length; i++) {
    if (compareValues(readValue(window.excludes[i]!, place), own[i]!) !== 0) return false;
  }
  return true;
}

/** The values of `plan.spineFields` of a row in the spine's table. */
export function spineAt(view: BoundView, place: number): Value[] {
  const { spineColumns } = view;
  const values: Value[] = new Array(spineColumns.length);
  for (let i = 0; i < values.length; i++) values[i] = readValue(spineColumns[i]!, place);
  return values;
}

/** The values of `plan.spineFields` of a row that came with a request; missing fields are null. */
export function spineOf(view: BoundView, row: Readonly<Record<string, Value | undefined>>): Value[] {
  return view.plan.spineFields.map((field) => row[field.name] ?? null);
}
