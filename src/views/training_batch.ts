import type { Value } from "../base/row.ts";
import type { Batch } from "../contract/batch.ts";
import { type Contract, type FieldType, type StreamShape, streamContract } from "../contract/contract.ts";
import type { BoundView } from "../fusion/bind.ts";
import { builderOf } from "../fusion/column_builder.ts";
import { evaluate, spineAt } from "../fusion/evaluate.ts";
import { keysAt } from "../fusion/feature_rows.ts";
import { labelOf } from "../fusion/label.ts";
import type { ViewPlan } from "../fusion/types.ts";

/** Columns of a training set: `key_<name>`, `as_of`, the features, `label`. */
export function trainingContract({ name, shape, label }: ViewPlan, float32: boolean): Contract {
  const fields: Record<string, FieldType | `${FieldType}?`> = {};
  const plain = (type: FieldType) => (type === "enum" ? "string" : type);
  for (const key of shape.keys) fields[`key_${key.name}`] = plain(key.type);
  fields.as_of = "timestamp";
  for (const { name: feature, type } of shape.features) {
    fields[feature] = `${float32 && type === "double" ? "float" : plain(type)}?`;
  }
  if (label) fields.label = "double?";
  const stream: StreamShape = {
    name: `training_${name}`,
    fields,
    entity: shape.entity.map((key) => `key_${key}`),
    eventTime: "as_of",
    recordId: shape.keys.map((key) => `key_${key.name}`),
  };
  return streamContract(stream);
}

/** The outcome told for a record id beside the label's own dataset; undefined where nothing was told. */
export type ToldLabels = (keys: readonly Value[]) => number | null | undefined;

export interface TrainingRows {
  readonly batch: Batch;
  readonly labelled: number;
  /** Values that a 32-bit float can't hold, and expressions that had no value: null in the set. */
  readonly undefinedValues: number;
}

/** Evaluates the spine rows at those places, in that order, each at its own T. */
export function trainingRows(
  view: BoundView,
  places: Int32Array,
  float32: boolean,
  told: ToldLabels = () => undefined,
): TrainingRows {
  const { plan } = view;
  const contract = trainingContract(plan, float32);
  const columns = contract.fields.map(({ type }) => builderOf(type, places.length));
  const keys = plan.shape.keys.length;
  let labelled = 0;
  let undefinedValues = 0;
  places.forEach((place, row) => {
    const at = view.asOf.values[place]!;
    const spine = spineAt(view, place);
    const { values, failures } = evaluate(view, spine, at, place);
    undefinedValues += failures.length;
    const ids = keysAt(view, place);
    ids.forEach((value, k) => void columns[k]!.set(row, value));
    columns[keys]!.set(row, at);
    values.forEach((value, f) => {
      if (!columns[keys + 1 + f]!.set(row, value)) undefinedValues++;
    });
    if (!plan.label) return;
    const outcome = told(ids);
    const label = outcome === undefined ? (labelOf(view, spine)?.value ?? null) : outcome;
    if (label !== null) labelled++;
    columns.at(-1)!.set(row, label);
  });
  const batch = { contract, length: places.length, columns: columns.map((column) => column.finish()) };
  return { batch, labelled, undefinedValues };
}
