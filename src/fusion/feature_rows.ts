import type { Row, Value } from "../base/row.ts";
import type { Micros } from "../base/time.ts";
import type { Batch } from "../contract/batch.ts";
import type { BoundView } from "./bind.ts";
import { readValue } from "./column.ts";
import { builderOf } from "./column_builder.ts";
import { evaluate, type FusedValues, spineAt } from "./evaluate.ts";
import type { ViewPlan } from "./types.ts";

/** One row of features/<view>, or its withdrawal. */
export interface FeatureRow {
  /** In the order of `shape.keys`. */
  readonly keys: readonly Value[];
  readonly asOf: Micros;
  /** Null where the row is withdrawn. */
  readonly fused: FusedValues | null;
}

/** The row of the spine's table at that place, fused at its T from what the index knows. */
export function fusePlace(view: BoundView, place: number): FeatureRow {
  const asOf = view.asOf.values[place]!;
  return { keys: keysAt(view, place), asOf, fused: evaluate(view, spineAt(view, place), asOf, place) };
}

/** The record id of a place of the spine's table. */
export function keysAt(view: BoundView, place: number): Value[] {
  const { keyColumns } = view;
  const keys: Value[] = new Array(keyColumns.length);
  for (let i = 0; i < keys.length; i++) keys[i] = readValue(keyColumns[i]!, place);
  return keys;
}

/** Rows for the stream features/<view>, in the field order of its contract; `position` is the commit number that was read. */
export function featureBatch(
  plan: ViewPlan,
  rows: readonly FeatureRow[],
  position: number,
): { readonly batch: Batch; readonly tombstones: Uint8Array } {
  const { contract, shape } = plan;
  const columns = contract.fields.map(({ type }) => builderOf(type, rows.length));
  const firstFeature = shape.keys.length + 1;
  const firstInput = firstFeature + shape.features.length;
  rows.forEach(({ keys, asOf, fused }, row) => {
    for (let k = 0; k < keys.length; k++) columns[k]!.set(row, keys[k]!);
    columns[keys.length]!.set(row, asOf);
    for (let f = 0; f < shape.features.length; f++)
      columns[firstFeature + f]!.set(row, fused ? fused.values[f]! : null);
    for (let j = 0; j < shape.inputs.length; j++) columns[firstInput + j]!.set(row, fused ? fused.inputs[j]! : null);
    columns.at(-1)!.set(row, position);
  });
  const tombstones = Uint8Array.from(rows, (row) => (row.fused === null ? 1 : 0));
  const batch = { contract, length: rows.length, columns: columns.map((column) => column.finish()) };
  return { batch, tombstones };
}

/** A feature row by the field names of features/<view>. */
export function featureRecord({ shape }: ViewPlan, { keys, asOf, fused }: FeatureRow, position: number): Row {
  const record: Record<string, Value> = { as_of: asOf, position };
  for (let i = 0; i < keys.length; i++) record[`key_${shape.keys[i]!.name}`] = keys[i]!;
  if (fused === null) return record;
  for (let i = 0; i < fused.values.length; i++) record[shape.features[i]!.name] = fused.values[i]!;
  for (let i = 0; i < fused.inputs.length; i++) record[`time_${shape.inputs[i]}`] = fused.inputs[i]!;
  return record;
}
