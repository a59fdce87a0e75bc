import type { Row, Value } from "../base/row.ts";
import type { Micros } from "../base/time.ts";
import type { BoundView, BoundWindow } from "../fusion/bind.ts";
import { readValue } from "../fusion/column.ts";
import { evaluate, findJoined, selectWindow, spineAt } from "../fusion/evaluate.ts";
import { type LabelValue, labelOf } from "../fusion/label.ts";
import { findSpine } from "../fusion/request.ts";
import { availableAt, type Table } from "../fusion/table.ts";
import { viewErrors } from "./errors.ts";

/** A row that was used, with the columns that the view reads of it. */
export interface UsedRow {
  readonly dataset: string;
  /** Its number in the stream curated/<dataset>. */
  readonly sequence: number;
  readonly row: Row;
  readonly eventTime: Micros | null;
  readonly availableTime: Micros | null;
}

export interface Explanation {
  readonly view: string;
  readonly asOf: Micros;
  readonly spine: UsedRow;
  readonly joins: readonly {
    readonly alias: string;
    readonly dataset: string;
    readonly used: UsedRow | null;
    readonly age: Micros | null;
  }[];
  readonly windows: readonly {
    readonly alias: string;
    readonly dataset: string;
    /** (from, to] */
    readonly from: Micros;
    readonly to: Micros;
    readonly count: number;
    /** The newest of them, oldest first. */
    readonly rows: readonly UsedRow[];
  }[];
  readonly features: readonly {
    readonly name: string;
    readonly type: string;
    readonly expression: string;
    readonly value: Value;
    /** Why it is null, where it could not be computed. */
    readonly failure: string | null;
    readonly columns: readonly { readonly dataset: string; readonly field: string; readonly kind: string }[];
  }[];
  readonly label: LabelValue | null;
}

/** Most rows of one window that are listed. */
const ROWS_SHOWN = 50;

/**
 * The rows behind each value of an entity (in the order of `shape.entity`). T is `at`, or the row's own; an entity that
 * has several rows means the latest at `at`.
 */
export function explainEntity(view: BoundView, entity: readonly Value[], at?: Micros): Explanation {
  const place = findSpine(view, entity, at ?? Number.POSITIVE_INFINITY);
  if (place === undefined) {
    const names = view.plan.shape.entity.join(", ");
    const message = `${view.plan.spine} has no row of the entity (${names}) = (${entity.map(String).join(", ")})`;
    throw viewErrors.error("no_such_row", message);
  }
  return explainPlace(view, place, at ?? view.asOf.values[place]!);
}

function explainPlace(view: BoundView, place: number, at: Micros): Explanation {
  const { plan } = view;
  const spine = spineAt(view, place);
  const { values, failures } = evaluate(view, spine, at);
  return {
    view: plan.name,
    asOf: at,
    spine: usedRow(view.spine, place),
    joins: view.joins.map((join) => {
      const found = findJoined(view, join, spine, at);
      const used = found < 0 ? null : usedRow(join.table, found);
      const age = used?.eventTime == null ? null : at - used.eventTime;
      return { alias: join.plan.alias, dataset: join.plan.dataset, used, age };
    }),
    windows: view.windows.map((window) => explainWindow(view, window, spine, at)),
    features: plan.program.outputs.map(({ name, type, canonical }, i) => ({
      name,
      type,
      expression: canonical,
      value: values[i]!,
      failure: failures.find((failure) => failure.output === i)?.message ?? null,
      columns: plan.lineage.get(name) ?? [],
    })),
    label: labelOf(view, spine),
  };
}

function explainWindow(
  view: BoundView,
  window: BoundWindow,
  spine: readonly Value[],
  at: Micros,
): Explanation["windows"][number] {
  const selected = selectWindow(view, window, spine, at);
  const count = selected?.length ?? 0;
  const places = selected ? [...selected.places.subarray(Math.max(0, count - ROWS_SHOWN), count)] : [];
  const { alias, dataset, length } = window.plan;
  const rows = places.map((place) => usedRow(window.table, place));
  return { alias, dataset, from: at - length, to: at, count, rows };
}

function usedRow(table: Table, place: number): UsedRow {
  const available = availableAt(table, place);
  return {
    dataset: table.dataset,
    sequence: table.sequences[place]!,
    row: Object.fromEntries(table.fields.map(({ field, column }) => [field.name, readValue(column, place)])),
    eventTime: table.eventTime === null ? null : table.eventTime.values[place]!,
    availableTime: Number.isFinite(available) ? available : null,
  };
}
