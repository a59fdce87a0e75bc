import type { Micros } from "../base/time.ts";
import type { Config, SourceConfig } from "../config/schema.ts";
import { batchOf, rowAt } from "../contract/batch.ts";
import { CONTROL, controlContract } from "../contract/streams.ts";
import type { Append, StoredRows } from "../store/port.ts";
import type { Table } from "./table.ts";

/** A source as far as watermarks care. */
export interface Feed {
  readonly name: string;
  /** Holds its datasets' watermarks at minus infinity until its end of input, then moves them to infinity. */
  readonly finite: boolean;
  /** How far behind the newest event time a row may still arrive in time. */
  readonly lateness: Micros;
  /** After this long without a row an endless source stops holding T back. */
  readonly idleAfter: Micros;
  readonly datasets: readonly string[];
}

/** The sources as feeds; `endsOnItsOwn` is what their connectors say. */
export function feedsOf(sources: Config["sources"], endsOnItsOwn: (source: SourceConfig) => boolean): Feed[] {
  return Object.entries(sources).map(([name, source]) => ({
    name,
    finite: endsOnItsOwn(source),
    lateness: "lateness" in source ? source.lateness : 0,
    idleAfter: "idle_after" in source ? source.idle_after : 0,
    datasets: source.dataset === undefined ? Object.keys(source.routes ?? {}) : [source.dataset],
  }));
}

/** What the control stream has said so far. */
export interface FeedState {
  readonly feeds: readonly Feed[];
  readonly ended: Set<string>;
  /** Source -> the time up to which it was declared to have nothing more. */
  readonly idleUpTo: Map<string, Micros>;
}

export const feedState = (feeds: readonly Feed[]): FeedState => ({ feeds, ended: new Set(), idleUpTo: new Map() });

/** Folds control rows; kinds that are not about sources are passed over. */
export function applyControl(state: FeedState, stored: StoredRows): void {
  for (let i = 0; i < stored.batch.length; i++) {
    const { kind, subject, at } = rowAt(stored.batch, i) as { kind: string; subject: string; at: Micros };
    if (kind === "end_of_input") state.ended.add(subject);
    if (kind === "idle") state.idleUpTo.set(subject, Math.max(at, state.idleUpTo.get(subject) ?? at));
  }
}

/**
 * The instant before which no more rows of the dataset are expected: the least over its sources. It never goes back,
 * and a dataset that no source feeds holds nothing.
 */
export function watermarkOf(state: FeedState, table: Table): Micros {
  let least = Number.POSITIVE_INFINITY;
  for (const feed of state.feeds)
    if (feed.datasets.includes(table.dataset)) least = Math.min(least, markOf(state, feed, table));
  return least;
}

function markOf(state: FeedState, feed: Feed, table: Table): Micros {
  if (feed.finite) return state.ended.has(feed.name) ? Number.POSITIVE_INFINITY : Number.NEGATIVE_INFINITY;
  if (table.isStatic) return Number.POSITIVE_INFINITY;
  return Math.max(table.maxEventTime - feed.lateness, state.idleUpTo.get(feed.name) ?? Number.NEGATIVE_INFINITY);
}

/** Endless sources that hold back a row whose T has passed on the clock, and have been silent for long enough. */
export function silentFeeds(
  state: FeedState,
  tables: readonly Table[],
  earliest: Micros,
  startedAt: Micros,
  now: Micros,
): string[] {
  if (earliest >= now) return [];
  return state.feeds
    .filter((feed) => !feed.finite)
    .filter((feed) =>
      tables.some((table) => {
        if (!feed.datasets.includes(table.dataset) || markOf(state, feed, table) > earliest) return false;
        return now - Math.max(table.lastKnown, startedAt) >= feed.idleAfter;
      }),
    )
    .map((feed) => feed.name);
}

/** The decision that those sources are idle, as rows: a replay takes it from the log, not from a clock. */
export function idleRows(names: readonly string[], now: Micros): Append {
  const rows = names.map((subject) => ({ kind: "idle", subject, body: "{}", at: now }));
  return { stream: CONTROL, batch: batchOf(controlContract, rows) };
}
