import type { Value } from "../base/row.ts";
import type { Micros } from "../base/time.ts";
import type { BoundView } from "./bind.ts";
import { readValue, writeValue } from "./column.ts";
import { keyOf } from "./evaluate.ts";
import { createIndex, type LiveIndex } from "./index.ts";
import { type AccessPath, addPlace, countUpTo, type PlaceList, placesOf, scratchList } from "./path.ts";
import { availableAt, reservePlace, type Table } from "./table.ts";
import type { KeyPlan, ViewPlan } from "./types.ts";

/**
 * A new index, made for `plan`, that holds only the rows under the keys of one spine row that were available at T, out
 * of what the whole index knows: what a process would hold that had seen nothing else.
 */
export function sliceIndex(
  index: LiveIndex,
  plan: ViewPlan,
  view: BoundView,
  spine: readonly Value[],
  at: Micros,
): LiveIndex {
  const only = createIndex([plan]);
  const taken = new Map<Table, Set<number>>();
  const inputs: readonly Input[] = [
    ...view.joins.map(({ table, path, plan: { key, maxAge } }) => ({ table, path, key, reach: maxAge })),
    ...view.windows.map(({ table, path, plan: { key, length } }) => ({ table, path, key, reach: length })),
  ];
  for (const { table, path, key: columns, reach } of inputs) {
    const key = keyOf(columns, spine);
    const list = key && placesOf(path, key, scratchList());
    if (!list) continue;
    const places = taken.get(table) ?? new Set();
    taken.set(table, places);
    for (let i = firstWithin(list, table, at - 2 * reach); i < list.length; i++) {
      const place = list.places[i]!;
      if (availableAt(table, place) <= at) places.add(place);
      if (table.eventTime && table.eventTime.values[place]! > at) break;
    }
  }
  for (const [table, places] of taken) {
    const target = only.tables.get(table.dataset);
    if (target) for (const place of places) copyPlace(index.tables.get(table.dataset)!, place, target);
  }
  return only;
}

interface Input {
  readonly table: Table;
  readonly path: AccessPath;
  readonly key: KeyPlan;
  /** How far back from T the input looks. Twice that is copied: what lies just outside must be left out by evaluation. */
  readonly reach: Micros;
}

const firstWithin = (list: PlaceList, { eventTime }: Table, from: Micros): number =>
  eventTime === null || from === Number.NEGATIVE_INFINITY ? 0 : countUpTo(list, eventTime.values, from - 1);

function copyPlace(source: Table, from: number, target: Table): void {
  const to = reservePlace(target, source.sequences[from]!);
  for (const [id, column] of source.columns) {
    const other = target.columns.get(id);
    if (other) writeValue(other, to, readValue(column, from) as Value);
  }
  for (const { path, times } of target.paths.values()) {
    if (times === null || !Number.isNaN(times.values[to]!)) addPlace(path, to);
  }
}
