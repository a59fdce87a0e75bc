import type { Row, Value } from "../base/row.ts";
import type { Micros } from "../base/time.ts";
import type { BoundView } from "./bind.ts";
import { readValue } from "./column.ts";
import { keyOf } from "./evaluate.ts";
import { placesOf } from "./path.ts";
import { availableAt } from "./table.ts";
import type { LabelPlan, ViewPlan } from "./types.ts";

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

/** What one row of the label's dataset tells of a spine row. */
export interface RowLabel {
  /** By the spine's column. */
  readonly keys: Row;
  /** Null: known to have none, or not computable. */
  readonly label: number | boolean | null;
  /** When the outcome became available, else the row's event time; null where the dataset has neither. */
  readonly labelTime: Micros | null;
}

/** Reads the label off whole rows of its dataset, with the plan's own expression; null where a key is null. */
export function rowLabels(plan: ViewPlan, { dataset, key, column }: LabelPlan): (row: Row) => RowLabel | null {
  const { contract, derived } = plan.needs.get(dataset)!;
  const output = derived?.ids.indexOf(column) ?? -1;
  const outcomeOf = (row: Row): Value => {
    if (!derived || output < 0) return row[column] ?? null;
    return derived.program.evaluate(derived.program.inputs.map((input) => row[input] ?? null)).values[output] ?? null;
  };
  const names = key.spine.map((field) => plan.spineFields[field]!.name);
  const times = [contract.availableTime, contract.eventTime].filter((name) => name !== undefined);
  return (row) => {
    const values = key.theirs.map((name) => row[name] ?? null);
    if (values.includes(null)) return null;
    const time = times.map((name) => row[name] ?? null).find((at) => at !== null);
    return {
      keys: Object.fromEntries(names.map((name, i) => [name, values[i]!])),
      label: outcomeOf(row) as number | boolean | null,
      labelTime: (time as Micros | undefined) ?? null,
    };
  };
}
