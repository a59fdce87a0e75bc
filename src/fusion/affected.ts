import type { Value } from "../base/row.ts";
import type { BoundJoin, BoundView, BoundWindow } from "./bind.ts";
import { readValue } from "./column.ts";
import type { AccessPath } from "./path.ts";
import { lowerBound, type PlaceList, placesOf, scratchList } from "./path.ts";
import { availableAt, type Table } from "./table.ts";

/** The T at which a row can be used: from `low`, up to but without `end`, except that `high` itself is included. */
interface Range {
  readonly low: number;
  readonly high: number;
  readonly end: number;
}

/**
 * Visits the spine rows whose features may change because a row of a joined or aggregated table came or went. More may
 * be visited than change; none that changes is missed. `lastFused` is the greatest T fused so far: beyond it nothing
 * has to be found.
 */
export function visitAffected(
  view: BoundView,
  table: Table,
  place: number,
  lastFused: number,
  visit: (place: number) => void,
): void {
  if (place < 0 || lastFused === Number.NEGATIVE_INFINITY) return;
  const from = table.eventTime === null ? Number.NEGATIVE_INFINITY : usableFrom(table, place);
  if (!(from <= lastFused)) return;
  view.joins.forEach((join, i) => {
    if (join.table === table)
      visitRange(view, view.dependents[i]!, join.path, place, joinRange(join, place, from), visit);
  });
  view.windows.forEach((window, i) => {
    if (window.table !== table) return;
    const path = view.dependents[view.joins.length + i]!;
    visitRange(view, path, window.path, place, windowRange(window, place, from), visit);
  });
}

/** The first T that may use the row; NaN where it has no event time and is never used. */
const usableFrom = (table: Table, place: number): number =>
  Math.max(table.eventTime!.values[place]!, availableAt(table, place));

function windowRange({ table, plan }: BoundWindow, place: number, low: number): Range {
  return { low, high: Number.NEGATIVE_INFINITY, end: table.eventTime!.values[place]! + plan.length };
}

/** A joined row stops being the latest as soon as a later one can be used. */
function joinRange({ table, plan, path }: BoundJoin, place: number, low: number): Range {
  if (table.eventTime === null) return { low, high: Number.POSITIVE_INFINITY, end: Number.POSITIVE_INFINITY };
  const times = table.eventTime.values;
  const high = times[place]! + plan.maxAge;
  const list = placesOf(path, keyAt(path, place), scratchList());
  let end = Number.POSITIVE_INFINITY;
  if (list) {
    let i = lowerBound(list, (other) => path.compare(other, place));
    for (; i < list.length && times[list.places[i]!]! < Math.min(end, high); i++) {
      const other = list.places[i]!;
      if (other !== place) end = Math.min(end, usableFrom(table, other));
    }
  }
  return end > high ? { low, high, end: high } : { low, high: Number.NEGATIVE_INFINITY, end };
}

function visitRange(
  view: BoundView,
  dependents: AccessPath,
  path: AccessPath,
  place: number,
  range: Range,
  visit: (place: number) => void,
): void {
  const key = keyAt(path, place);
  if (key.some((value) => value === null)) return;
  const list: PlaceList | undefined = placesOf(dependents, key, scratchList());
  if (!list) return;
  const times = view.asOf.values;
  for (let i = lowerBound(list, (other) => times[other]! - range.low); i < list.length; i++) {
    const at = times[list.places[i]!]!;
    if (at >= range.end && at > range.high) return;
    visit(list.places[i]!);
  }
}

const keyAt = (path: AccessPath, place: number): Value[] => path.keys.columns.map((column) => readValue(column, place));
