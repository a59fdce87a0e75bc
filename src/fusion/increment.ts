import { keyText } from "../base/row.ts";
import type { Micros } from "../base/time.ts";
import { CONTROL } from "../contract/streams.ts";
import type { TailPage } from "../store/port.ts";
import { visitAffected } from "./affected.ts";
import type { BoundView } from "./bind.ts";
import { type FeatureRow, fusePlace, keysAt } from "./feature_rows.ts";
import { applyRows, boundView, createIndex, type LiveIndex, REMOVALS, removedFrom } from "./index.ts";
import { emptyPending, type Pending, popPending, pushPending } from "./pending.ts";
import type { Table } from "./table.ts";
import type { ViewPlan } from "./types.ts";
import { applyControl, type Feed, type FeedState, feedState, watermarkOf } from "./watermark.ts";

/**
 * Fusion as rows come in: an index, which spine rows were fused, and which wait. All of it is a fold of the log and of
 * the feature rows already written, so a restart makes it again. Memory is that of the index and nine bytes a spine row.
 */
export interface Fuser {
  readonly plan: ViewPlan;
  readonly index: LiveIndex;
  readonly view: BoundView;
  readonly feeds: FeedState;
  /** The commit number folded; the reader's committed position may be behind it. */
  position: number;
  /** The reader's position as committed. */
  committed: number;
  /** By place of the spine's table: 1 when a feature row of it was written. */
  fused: Uint8Array;
  /** By place: 1 while it is in `queue`. */
  queued: Uint8Array;
  /** Places to fuse, now or again; those before `taken` are fused already. */
  queue: number[];
  taken: number;
  /** Feature rows to withdraw. */
  withdrawn: FeatureRow[];
  readonly pending: Pending;
  /** Where the view has a `max_wait`: places in the order they came, with their known times. */
  readonly arrivals: { place: number; knownTime: Micros }[];
  /** Greatest T fused. */
  lastFused: Micros;
  /** Rows that came behind the watermark of their dataset since the last result. */
  late: number;
  /** Rows folded since the reader's position was last committed. */
  uncommitted: number;
  /** Record ids that were written by an act whose rest was cut off, and whose spine rows are read again. */
  readonly written: Set<string>;
  startedAt: Micros | undefined;
  /** Rows it was folded of are no longer in the log: it is to be resumed anew, once `isSettled`. */
  outdated: boolean;
}

export function createFuser(plan: ViewPlan, feeds: readonly Feed[], index?: LiveIndex): Fuser {
  const own = index ?? createIndex([plan], { increments: true });
  return {
    plan,
    index: own,
    view: boundView(own, plan),
    feeds: feedState(feeds),
    position: 0,
    committed: 0,
    fused: new Uint8Array(0),
    queued: new Uint8Array(0),
    queue: [],
    taken: 0,
    withdrawn: [],
    pending: emptyPending(),
    arrivals: [],
    lastFused: Number.NEGATIVE_INFINITY,
    late: 0,
    uncommitted: 0,
    written: new Set(),
    startedAt: undefined,
    outdated: false,
  };
}

/** The streams that a fuser reads: its curated datasets, and what steers it. */
export const fuserStreams = (fuser: Fuser): readonly string[] => [...fuser.index.streams, CONTROL, ...REMOVALS];

/** Folds a page of the log. What it makes necessary is queued; `drain` takes it. */
export function applyPage(fuser: Fuser, page: TailPage): void {
  for (const stored of page.rows) {
    fuser.uncommitted += stored.batch.length;
    if (stored.stream === CONTROL) {
      applyControl(fuser.feeds, stored);
      continue;
    }
    if (REMOVALS.includes(stored.stream)) {
      fuser.outdated ||= removedFrom(stored, fuser.index.streams);
      continue;
    }
    const table = fuser.index.tables.get(stored.stream.slice("curated/".length));
    // As it stood before this commit: rows of one commit are not late to each other.
    const mark = table ? watermarkOf(fuser.feeds, table) : Number.POSITIVE_INFINITY;
    const knownTime = stored.knownTimes[0] ?? 0;
    applyRows(fuser.index, stored, 0, stored.batch.length, (changed, removed, added) => {
      if (changed.eventTime && added >= 0 && changed.eventTime.values[added]! <= mark) fuser.late++;
      if (changed === fuser.view.spine) spineChanged(fuser, removed, added, knownTime);
      inputChanged(fuser, changed, removed, added);
    });
  }
  fuser.position = page.upTo;
}

function inputChanged(fuser: Fuser, table: Table, removed: number, added: number): void {
  const visit = (place: number) => {
    if (fuser.fused[place] === 1) enqueue(fuser, place);
  };
  visitAffected(fuser.view, table, removed, fuser.lastFused, visit);
  visitAffected(fuser.view, table, added, fuser.lastFused, visit);
}

function spineChanged(fuser: Fuser, removed: number, added: number, knownTime: Micros): void {
  growMarks(fuser);
  const times = fuser.view.asOf.values;
  const wasFused = removed >= 0 && fuser.fused[removed] === 1;
  const stays = added >= 0 && removed >= 0 && times[added] === times[removed];
  if (wasFused && !stays) {
    fuser.withdrawn.push({ keys: keysAt(fuser.view, removed), asOf: times[removed]!, fused: null });
  }
  if (added < 0 || Number.isNaN(times[added]!)) return;
  if (wasFused && stays) {
    fuser.fused[added] = 1;
    enqueue(fuser, added);
  } else if (fuser.written.size > 0 && fuser.written.delete(writtenKey(fuser, added))) {
    markFused(fuser, added);
  } else waitFor(fuser, added, knownTime);
}

/** Marks a place whose feature row is in the store already. */
export function markFused(fuser: Fuser, place: number): void {
  growMarks(fuser);
  fuser.fused[place] = 1;
  fuser.lastFused = Math.max(fuser.lastFused, fuser.view.asOf.values[place]!);
}

/** The record id and T of a place, as text. */
const writtenKey = (fuser: Fuser, place: number): string =>
  keyText([...keysAt(fuser.view, place), fuser.view.asOf.values[place]!]);

/** Lets a spine row wait until its T is passed. */
export function waitFor(fuser: Fuser, place: number, knownTime: Micros): void {
  growMarks(fuser);
  pushPending(fuser.pending, fuser.view.asOf.values, place);
  if (fuser.plan.maxWait !== undefined) fuser.arrivals.push({ place, knownTime });
}

function enqueue(fuser: Fuser, place: number): void {
  if (fuser.queued[place] === 1) return;
  fuser.queued[place] = 1;
  fuser.queue.push(place);
}

function growMarks(fuser: Fuser): void {
  const { capacity } = fuser.view.spine;
  if (fuser.fused.length >= capacity) return;
  for (const name of ["fused", "queued"] as const) {
    const grown = new Uint8Array(capacity);
    grown.set(fuser[name]);
    fuser[name] = grown;
  }
}

/** Watermarks of the datasets a view waits for: minus infinity while one holds everything back. */
export function watermarks(fuser: Fuser): ReadonlyMap<string, Micros> {
  return new Map(
    fuser.plan.waitsFor.map((dataset) => [dataset, watermarkOf(fuser.feeds, fuser.index.tables.get(dataset)!)]),
  );
}

/** Queues the spine rows whose T every watermark has passed, or that have waited for `max_wait`. */
export function promote(fuser: Fuser, now: Micros): void {
  const { pending, view, arrivals, plan } = fuser;
  const times = view.asOf.values;
  const mark = Math.min(Number.POSITIVE_INFINITY, ...watermarks(fuser).values());
  while (pending.length > 0 && times[pending.places[0]!]! < mark) ready(fuser, popPending(pending, times));
  if (plan.maxWait === undefined) return;
  let overdue = 0;
  while (overdue < arrivals.length && arrivals[overdue]!.knownTime + plan.maxWait <= now) {
    ready(fuser, arrivals[overdue++]!.place);
  }
  arrivals.splice(0, overdue);
}

function ready(fuser: Fuser, place: number): void {
  if (fuser.view.spine.alive[place] === 1 && fuser.fused[place] === 0) enqueue(fuser, place);
}

/** T of the earliest spine row that still waits; infinity when none does. */
export function earliestPending({ pending, view, fused }: Fuser): Micros {
  const times = view.asOf.values;
  const settled = (place: number) => view.spine.alive[place] === 0 || fused[place] === 1;
  while (pending.length > 0 && settled(pending.places[0]!)) popPending(pending, times);
  return pending.length === 0 ? Number.POSITIVE_INFINITY : times[pending.places[0]!]!;
}

/** Whether a fuser resumed now would be where this one is. */
export const isSettled = (fuser: Fuser): boolean => isDrained(fuser) && fuser.uncommitted === 0;

export const isDrained = (fuser: Fuser): boolean => fuser.taken === fuser.queue.length && fuser.withdrawn.length === 0;

/** Fuses at most `limit` of the queued rows; withdrawals come before the rows that replace them. */
export function drain(fuser: Fuser, limit: number): FeatureRow[] {
  const { queue, view } = fuser;
  const rows = fuser.withdrawn.splice(0, limit);
  const end = Math.min(queue.length, fuser.taken + limit - rows.length);
  while (fuser.taken < end) {
    const place = queue[fuser.taken++]!;
    fuser.queued[place] = 0;
    if (view.spine.alive[place] === 0) continue;
    rows.push(fusePlace(view, place));
    markFused(fuser, place);
  }
  if (fuser.taken === queue.length) {
    fuser.queue = [];
    fuser.taken = 0;
  }
  return rows;
}
