import { invariant } from "../base/errors.ts";
import type { Value } from "../base/row.ts";
import type { Selection } from "./aggregate.ts";
import { type Chunked, chunked } from "./chunked.ts";
import type { StoreColumn, TextColumn } from "./column.ts";
import { type AccessPath, type PlaceList, scratchList } from "./path.ts";
import { pathOf, type Table } from "./table.ts";
import type { JoinPlan, KeyPlan, Slot, ViewPlan, WindowPlan } from "./types.ts";

/** A plan with its tables, paths and columns found: what evaluation runs on. */
export interface BoundView {
  readonly plan: ViewPlan;
  readonly spine: Table;
  readonly spineColumns: readonly StoreColumn[];
  /** T of each place of the spine's table. */
  readonly asOf: StoreColumn & { kind: "number" };
  readonly joins: readonly BoundJoin[];
  readonly windows: readonly BoundWindow[];
  readonly slots: readonly BoundSlot[];
  readonly label: { readonly table: Table; readonly path: AccessPath; readonly column: StoreColumn } | null;
  /** Spine rows by entity, in the order of T. */
  readonly byEntity: AccessPath;
  /** For increments: spine rows by the keys of each join, then of each window, in the order of T. */
  readonly dependents: readonly AccessPath[];
  /** Reused by every evaluation, which is synchronous. */
  readonly scratch: {
    readonly list: PlaceList;
    /** By join: the place found. By window: its values. By input of the program: its value. */
    readonly places: number[];
    readonly windows: readonly Value[][];
    readonly slots: Value[];
  };
  /** The columns of the record id. */
  readonly keyColumns: readonly StoreColumn[];
}

export interface BoundJoin {
  readonly plan: JoinPlan;
  readonly table: Table;
  readonly path: AccessPath;
  /** The key that is looked up. */
  readonly scratch: Value[];
  readonly texts: TextKey | null;
}

/** For a key of one text: the spine's column, and by its codes the entries of the path's keys found so far, else -1. */
export interface TextKey {
  readonly column: TextColumn;
  readonly entries: Chunked;
}

export interface BoundWindow {
  readonly plan: WindowPlan;
  readonly table: Table;
  readonly path: AccessPath;
  readonly where: (StoreColumn & { kind: "number" }) | null;
  readonly excludes: readonly StoreColumn[];
  /** By value: its argument, null for count(*). */
  readonly columns: readonly (StoreColumn | null)[];
  /** The keys that are looked up and left out, and the rows selected. */
  readonly scratch: { readonly key: Value[]; readonly own: Value[]; readonly rows: Selection };
  readonly texts: TextKey | null;
}

export type BoundSlot =
  | { readonly from: "spine"; readonly field: number }
  | { readonly from: "join"; readonly join: number; readonly column: StoreColumn }
  | { readonly from: "window"; readonly window: number; readonly value: number };

export function bindView(plan: ViewPlan, tables: ReadonlyMap<string, Table>, increments: boolean): BoundView {
  const spine = tableOf(tables, plan.spine);
  const textsOf = ({ spine: fields }: KeyPlan): TextKey | null => {
    const [only] = fields;
    if (only === undefined || fields.length > 1) return null;
    const column = columnOf(spine, plan.spineFields[only]!.name);
    return column.kind === "text" ? { column, entries: chunked(-1) } : null;
  };
  const joins = plan.joins.map((join): BoundJoin => {
    const table = tableOf(tables, join.dataset);
    return { plan: join, table, path: pathOf(table, join.key.theirs), scratch: [], texts: textsOf(join.key) };
  });
  const windows = plan.windows.map((window): BoundWindow => {
    const table = tableOf(tables, window.dataset);
    return {
      plan: window,
      table,
      path: pathOf(table, window.key.theirs),
      where: window.where === undefined ? null : numbersOf(table, window.where),
      excludes: (window.excludes?.theirs ?? []).map((name) => columnOf(table, name)),
      columns: window.values.map((value) => (value.column === null ? null : columnOf(table, value.column))),
      scratch: { key: [], own: [], rows: { places: new Int32Array(64), length: 0 } },
      texts: textsOf(window.key),
    };
  });
  const spineNames = (key: KeyPlan) => key.spine.map((at) => plan.spineFields[at]!.name);
  const labelTable = plan.label ? tableOf(tables, plan.label.dataset) : null;
  return {
    plan,
    spine,
    spineColumns: plan.spineFields.map((field) => columnOf(spine, field.name)),
    asOf: numbersOf(spine, plan.asOf),
    joins,
    windows,
    slots: plan.slots.map((slot) => bindSlot(slot, joins)),
    label:
      plan.label && labelTable
        ? {
            table: labelTable,
            path: pathOf(labelTable, plan.label.key.theirs),
            column: columnOf(labelTable, plan.label.column),
          }
        : null,
    byEntity: pathOf(spine, plan.shape.entity, plan.asOf),
    dependents: increments
      ? [...plan.joins, ...plan.windows].map(({ key }) => pathOf(spine, spineNames(key), plan.asOf))
      : [],
    scratch: {
      list: scratchList(),
      places: plan.joins.map(() => -1),
      windows: plan.windows.map(({ values }) => values.map(() => null)),
      slots: plan.slots.map(() => null),
    },
    keyColumns: plan.shape.keys.map((key) => columnOf(spine, key.name)),
  };
}

function bindSlot(slot: Slot, joins: readonly BoundJoin[]): BoundSlot {
  return slot.from === "join" ? { ...slot, column: columnOf(joins[slot.join]!.table, slot.column) } : slot;
}

function tableOf(tables: ReadonlyMap<string, Table>, dataset: string): Table {
  const table = tables.get(dataset);
  invariant(table, `the index has no table for ${dataset}`);
  return table;
}

function columnOf(table: Table, id: string): StoreColumn {
  const column = table.columns.get(id);
  invariant(column, `the table of ${table.dataset} has no column ${id}`);
  return column;
}

function numbersOf(table: Table, id: string): StoreColumn & { kind: "number" } {
  const column = columnOf(table, id);
  invariant(column.kind === "number", `${id} of ${table.dataset} holds no numbers`);
  return column;
}
