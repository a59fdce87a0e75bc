import { compareValues, type Value } from "../base/row.ts";
import type { Micros } from "../base/time.ts";
import type { Failure } from "../expression/types.ts";
import { aggregate, type Selection } from "./aggregate.ts";
import type { BoundJoin, BoundView, BoundWindow } from "./bind.ts";
import { readValue } from "./column.ts";
import { countUpTo, type PlaceList, placesOf } from "./path.ts";
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
 * the index knows.
 */
export function evaluate(view: BoundView, spine: readonly Value[], at: Micros): FusedValues {
  const { plan } = view;
  const places: number[] = new Array(view.joins.length);
  const inputs: (Micros | null)[] = new Array(view.joins.length);
  const found: boolean[] = new Array(view.joins.length);
  for (let j = 0; j < view.joins.length; j++) {
    const join = view.joins[j]!;
    const place = findJoined(view, join, spine, at);
    places[j] = place;
    found[j] = place >= 0;
    const times = join.table.eventTime;
    inputs[j] = place < 0 || times === null ? null : times.values[place]!;
  }
  const windows: (readonly Value[])[] = new Array(view.windows.length);
  for (let w = 0; w < view.windows.length; w++) windows[w] = windowValues(view, view.windows[w]!, spine, at);
  const slots: Value[] = new Array(view.slots.length);
  for (let s = 0; s < slots.length; s++) {
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
  for (const value of values) {
    if (Object.is(value, -0)) return values.map((other) => (other === 0 ? 0 : other));
  }
  return values;
}

/** The place of the row that the join uses, -1 for none. */
export function findJoined(view: BoundView, join: BoundJoin, spine: readonly Value[], at: Micros): number {
  const key = keyOf(join.plan.key, spine);
  if (!key) return -1;
  const list = placesOf(join.path, key, view.scratch.list);
  if (!list) return -1;
  return latestPlace(join, list, at);
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
  for (let i = 0; i < values.length; i++) {
    const value = spine[key.spine[i]!]!;
    if (value === null) return undefined;
    values[i] = value;
  }
  return values;
}

function windowValues(view: BoundView, window: BoundWindow, spine: readonly Value[], at: Micros): readonly Value[] {
  const rows = selectWindow(view, window, spine, at);
  const { values } = window.plan;
  const results: Value[] = new Array(values.length);
  for (let i = 0; i < results.length; i++)
    results[i] = rows ? aggregate(values[i]!.fn, window.columns[i]!, rows) : null;
  return results;
}

/** The rows of the window in (T - length, T], oldest first, in a scratch that the next call reuses. Null for a null key. */
export function selectWindow(
  view: BoundView,
  window: BoundWindow,
  spine: readonly Value[],
  at: Micros,
): Selection | null {
  const key = keyOf(window.plan.key, spine);
  if (!key) return null;
  const { scratch } = view;
  const list = placesOf(window.path, key, scratch.list);
  const times = window.table.eventTime;
  if (!list || times === null) return { places: scratch.places, length: 0 };
  const own = window.plan.excludes ? keyOf(window.plan.excludes, spine) : undefined;
  const end = countUpTo(list, times.values, at);
  const start = countUpTo(list, times.values, at - window.plan.length);
  if (scratch.places.length < end - start) scratch.places = new Int32Array((end - start) * 2);
  // From the newest back, because `rows` keeps the newest; turned round below.
  let count = 0;
  for (let i = end - 1; i >= start && count < window.plan.rows; i--) {
    const place = list.places[i]!;
    if (availableAt(window.table, place) > at) continue;
    if (window.where !== null && window.where.values[place] !== 1) continue;
    if (own && isOwn(window, place, own)) continue;
    scratch.places[count++] = place;
  }
  const { places } = scratch;
  for (let low = 0, high = count - 1; low < high; low++, high--) {
    const place = places[low]!;
    places[low] = places[high]!;
    places[high] = place;
  }
  return { places, length: count };
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
