import type { Value } from "../base/row.ts";
import type { Micros } from "../base/time.ts";
import type { BoundView } from "./bind.ts";
import { readValue } from "./column.ts";
import { keyOf } from "./evaluate.ts";
import { placesOf } from "./path.ts";
import { availableAt } from "./table.ts";

export interface LabelValue {
  /** True is 1, false is 0. */
  readonly value: number;
  readonly eventTime: Micros | null;
  readonly availableTime: Micros | null;
}

/**
 * The outcome of a spine row, from the latest row of the label's dataset with its keys; null while unlabelled. It is
 * never an input, so T does not bound it. `spine` are the values of `plan.spineFields`.
 */
export function labelOf(view: BoundView, spine: readonly Value[]): LabelValue | null {
  const { label, plan } = view;
  if (!label || !plan.label) return null;
  const key = keyOf(plan.label.key, spine);
  const list = key && placesOf(label.path, key, view.scratch.list);
  if (!list) return null;
  const place = list.places[list.length - 1]!;
  const value = readValue(label.column, place);
  if (value === null) return null;
  const available = availableAt(label.table, place);
  return {
    value: Number(value),
    eventTime: label.table.eventTime === null ? null : label.table.eventTime.values[place]!,
    availableTime: Number.isFinite(available) ? available : null,
  };
}
