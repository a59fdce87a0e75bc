import type { Row, Value } from "../base/row.ts";
import type { Micros } from "../base/time.ts";
import type { BoundView } from "./bind.ts";
import { evaluate, spineAt, spineOf } from "./evaluate.ts";
import type { FeatureRow } from "./feature_rows.ts";
import { keysAt } from "./feature_rows.ts";
import { boundView, type LiveIndex } from "./index.ts";
import { labelOf } from "./label.ts";
import { countUpTo, placesOf } from "./path.ts";
import type { ViewPlan } from "./types.ts";

/** A fused request: always with values. */
export type RequestRow = FeatureRow & { readonly fused: NonNullable<FeatureRow["fused"]> };

/** Fuses rows that came with a request, at T = `at`, from what is known. Rows hold fields of the spine's contract; missing ones are null. */
export function fuseRequest(plan: ViewPlan, index: LiveIndex, rows: readonly Row[], at: Micros): RequestRow[] {
  const view = boundView(index, plan);
  return rows.map((row) => ({
    keys: plan.shape.keys.map((key) => row[key.name] ?? null),
    asOf: at,
    fused: evaluate(view, spineOf(view, row), at),
  }));
}

/**
 * The stored spine row of an entity (values in the order of `shape.entity`), as a place of the spine's table: the latest
 * whose own T is at or before `at`, or else the first after it; undefined when the entity is unknown.
 */
export function findSpine(view: BoundView, entity: readonly Value[], at: Micros): number | undefined {
  if (entity.some((value) => value === null)) return undefined;
  const list = placesOf(view.byEntity, entity, view.scratch.list);
  if (!list) return undefined;
  return list.places[Math.max(0, countUpTo(list, view.asOf.values, at) - 1)];
}

/** Fuses the stored row of each entity at T = `at`; undefined where the entity is unknown. */
export function fuseEntities(
  plan: ViewPlan,
  index: LiveIndex,
  entities: readonly (readonly Value[])[],
  at: Micros,
): (RequestRow | undefined)[] {
  const view = boundView(index, plan);
  return entities.map((entity) => {
    const place = findSpine(view, entity, at);
    if (place === undefined) return undefined;
    return { keys: keysAt(view, place), asOf: at, fused: evaluate(view, spineAt(view, place), at) };
  });
}

/**
 * Whether the outcome of rows (as for `fuseRequest`) is known already: a score of them is no forecast. Entities are given
 * as for `fuseEntities`; one that is unknown has no outcome.
 */
export function outcomesKnown(
  plan: ViewPlan,
  index: LiveIndex,
  asked: readonly Row[] | readonly (readonly Value[])[],
  at: Micros,
): boolean[] {
  const view = boundView(index, plan);
  return asked.map((one) => {
    if (!view.label) return false;
    if (!Array.isArray(one)) return labelOf(view, spineOf(view, one as Row)) !== null;
    const place = findSpine(view, one, at);
    return place !== undefined && labelOf(view, spineAt(view, place)) !== null;
  });
}
