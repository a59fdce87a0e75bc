import { invariant } from "../base/errors.ts";
import { pace } from "../base/turn.ts";
import { rowsOf } from "../contract/batch.ts";
import { curatedStream, ERASURES, RETENTION } from "../contract/streams.ts";
import type { Store, StoredRows } from "../store/port.ts";
import { type BoundView, bindView } from "./bind.ts";
import { applyToTable, createTable, type OnChange, reserveRows, type Table, type TableNeeds } from "./table.ts";
import type { ViewPlan } from "./types.ts";

/**
 * The live index: the latest versions of the curated rows that some views read, by key and time. A fold over the log
 * that knows no history of its own: what it answers is what is known now, or at the cutoff it was built up to.
 */
export interface LiveIndex {
  readonly tables: ReadonlyMap<string, Table>;
  readonly views: ReadonlyMap<string, BoundView>;
  /** The streams whose rows belong here. */
  readonly streams: readonly string[];
}

export interface IndexOptions {
  /** Also sort spine rows by T under every key they join on, so that late rows find the spine rows they change. */
  readonly increments?: boolean;
}

/** Gives up a fold: what was folded until then is of no use. */
export type Stopped = () => boolean;

/** Streams that say what is no longer in the log: an index that was folded of such rows has to be made anew. */
export const REMOVALS: readonly string[] = [RETENTION, ERASURES];

/** Whether rows of REMOVALS say that rows of one of the streams were removed. */
export function removedFrom({ stream, batch }: StoredRows, streams: readonly string[]): boolean {
  if (stream !== RETENTION) return stream === ERASURES;
  return rowsOf(batch).some((row) => streams.includes(row.stream as string));
}

/** Rows that are folded before it is asked whether others should have a turn. */
const STEP_ROWS = 32;

/** An empty index for those views; several views share the tables of the datasets they both read. */
export function createIndex(plans: readonly ViewPlan[], options: IndexOptions = {}): LiveIndex {
  const needs = new Map<string, TableNeeds[]>();
  for (const plan of plans) {
    for (const [dataset, need] of plan.needs) needs.set(dataset, [...(needs.get(dataset) ?? []), need]);
  }
  const tables = new Map([...needs].map(([dataset, list]) => [dataset, createTable(list)]));
  const views = new Map(plans.map((plan) => [plan.name, bindView(plan, tables, options.increments ?? false)]));
  return { tables, views, streams: [...tables.keys()].map(curatedStream) };
}

/** The view's place in the index. A view the index was not made for is a broken invariant. */
export function boundView(index: LiveIndex, plan: ViewPlan): BoundView {
  const bound = index.views.get(plan.name);
  invariant(bound && bound.plan.digest === plan.digest, `the index was not made for the view ${plan.name}`);
  return bound;
}

/**
 * Folds stored rows into the index; rows of other streams are passed over. `from` and `to` bound the rows taken, for
 * callers that must yield between slices.
 */
export function applyRows(
  index: LiveIndex,
  stored: StoredRows,
  from = 0,
  to = stored.batch.length,
  onChange?: OnChange,
) {
  const table = index.tables.get(stored.stream.slice("curated/".length));
  if (table && stored.stream.startsWith("curated/")) applyToTable(table, stored, from, to, onChange);
}

/** An index of everything known at the cutoff `upTo`. */
export async function buildIndex(
  store: Store,
  plans: readonly ViewPlan[],
  upTo: number,
  options: IndexOptions & { readonly stopped?: Stopped } = {},
): Promise<LiveIndex> {
  const index = createIndex(plans, options);
  const rows = new Map((await store.streams()).map((info) => [info.stream, info.rows]));
  for (const table of index.tables.values()) {
    await reserveRows(table, rows.get(curatedStream(table.dataset)) ?? 0);
  }
  await foldRange(store, index, 0, upTo, options.stopped);
  return index;
}

/** Folds the commits after `after`, up to `upTo`, into an index of everything up to `after`. Others have turns. */
export async function foldRange(
  store: Store,
  index: LiveIndex,
  after: number,
  upTo: number,
  stopped: Stopped = () => false,
): Promise<void> {
  if (after >= upTo) return;
  const steps = pace();
  for (const table of index.tables.values()) {
    const columns = table.fields.map(({ field }) => field.name);
    for await (const stored of store.scan(curatedStream(table.dataset), { columns, after, upTo, packed: true })) {
      for (let at = 0; at < stored.batch.length; at += STEP_ROWS) {
        applyRows(index, stored, at, Math.min(at + STEP_ROWS, stored.batch.length));
        if (steps.due()) await steps.turn();
        if (stopped()) return;
      }
    }
  }
}
