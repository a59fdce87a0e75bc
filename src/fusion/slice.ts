import type { Value } from "../base/row.ts";
import type { Micros } from "../base/time.ts";
import type { BoundView } from "./bind.ts";
import { readValue, writeValue } from "./column.ts";
import { keyOf } from "./evaluate.ts";
import { createIndex, type LiveIndex } from "./index.ts";
import { addPlace, type AccessPath, placesOf, scratchList } from "./path.ts";
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
  const inputs: readonly { table: Table; path: AccessPath; plan: { key: KeyPlan } }[] = [...view.joins, ...view.windows];
  for (const { table, path, plan: input } of inputs) {
    const key = keyOf(input.key, spine);
    const list = key && placesOf(path, key, scratchList());
    if (!list) continue;
    const places = taken.get(table) ?? new Set();
    taken.set(table, places);
    for (const place of list.places.subarray(0, list.length)) if (availableAt(table, place) <= at) places.add(place);
  }
  for (const [table, places] of taken) {
    const target = only.tables.get(table.dataset);
    if (target) for (const place of places) copyPlace(index.tables.get(table.dataset)!, place, target);
  }
  return only;
}

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
