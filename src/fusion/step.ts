import type { Clock } from "../base/clock.ts";
import { keyText, type Value } from "../base/row.ts";
import type { Micros } from "../base/time.ts";
import { type Batch, columnNamed, valueAt } from "../contract/batch.ts";
import { fieldOf } from "../contract/contract.ts";
import { CONTROL, featuresStream, RETENTION } from "../contract/streams.ts";
import type { Append, Store } from "../store/port.ts";
import { numberAt } from "./chunked.ts";
import { featureBatch, keysAt } from "./feature_rows.ts";
import {
  applyPage,
  createFuser,
  drain,
  earliestPending,
  type Fuser,
  fuserStreams,
  isDrained,
  markFused,
  promote,
  waitFor,
  watermarks,
} from "./increment.ts";
import { buildIndex } from "./index.ts";
import { entryOf } from "./keys.ts";
import type { ViewPlan } from "./types.ts";
import { applyControl, type Feed, idleRows, silentFeeds } from "./watermark.ts";

/** Rows of one commit, and of one page of the log. */
const ROWS_A_COMMIT = 16_384;
const ROWS_A_PAGE = 65_536;

export const fuseReader = (view: string): string => `fuse/${view}`;

/** What one commit of fusion wrote: for lineage, checks and figures. */
export interface FuseResult {
  readonly plan: ViewPlan;
  /** Rows of features/<view>, withdrawals among them. */
  readonly batch: Batch;
  readonly tombstones: Uint8Array;
  /** The commits read: after `from`, up to `position`. */
  readonly from: number;
  readonly position: number;
  /** Rows that came behind their dataset's watermark. */
  readonly late: number;
  readonly watermarks: ReadonlyMap<string, Micros>;
}

export interface FuseOptions {
  readonly store: Store;
  readonly fuser: Fuser;
  readonly clock: Clock;
  /** More rows for the same commit (lineage, verdicts, profiles). Not called for commits without feature rows. */
  readonly extra?: (result: FuseResult) => readonly Append[];
  /** Smaller bounds, for tests: results do not depend on them. */
  readonly rowsPerCommit?: number;
  readonly rowsPerPage?: number;
}

/**
 * One turn of fusion: reads a page of the log if nothing is queued, fuses what became ready or changed, and commits
 * feature rows, reader position and extra rows together. At most one commit a turn. After an error the fuser is ahead
 * of the store: make it again with `resumeFuser`.
 */
export async function stepFuse(options: FuseOptions): Promise<"progress" | "idle"> {
  const { store, fuser, clock } = options;
  fuser.startedAt ??= clock.now();
  let moved = false;
  if (isDrained(fuser)) {
    const page = await store.tail(fuser.position, fuserStreams(fuser), options.rowsPerPage ?? ROWS_A_PAGE);
    moved = page.upTo > fuser.position;
    applyPage(fuser, page);
  }
  promote(fuser, clock.now());
  const rows = drain(fuser, options.rowsPerCommit ?? ROWS_A_COMMIT);
  const appends: Append[] = [];
  if (rows.length > 0) {
    const { batch, tombstones } = featureBatch(fuser.plan, rows, fuser.position);
    const result = { plan: fuser.plan, batch, tombstones, late: fuser.late, watermarks: watermarks(fuser) };
    appends.push({ stream: featuresStream(fuser.plan.name), batch, tombstones });
    appends.push(...(options.extra?.({ ...result, from: fuser.committed, position: fuser.position }) ?? []));
    fuser.late = 0;
  } else if (!moved) {
    const silent = silentOf(fuser, clock.now());
    if (silent.length > 0) appends.push(idleRows(silent, clock.now()));
  }
  // A commit that only moves the position over other people's commits would be read as one more of them, for ever.
  if (appends.length === 0 && fuser.uncommitted === 0) return moved ? "progress" : "idle";
  await commit(store, fuser, appends);
  return "progress";
}

async function commit(store: Store, fuser: Fuser, appends: readonly Append[]): Promise<void> {
  const reader = fuseReader(fuser.plan.name);
  // Part of a page's rows: the position stays, so that a restart reads the page again and goes on.
  const position = isDrained(fuser) ? fuser.position : fuser.committed;
  await store.commit({
    appends,
    readers: { [reader]: position },
    ...(isDrained(fuser) ? { cursors: { [reader]: settledText(fuser) } } : {}),
    expect: { readers: { [reader]: fuser.committed } },
    priority: "pipeline",
  });
  if (isDrained(fuser)) fuser.uncommitted = 0;
  fuser.committed = position;
}

function silentOf(fuser: Fuser, now: Micros): string[] {
  const tables = fuser.plan.waitsFor.map((dataset) => fuser.index.tables.get(dataset)!);
  return silentFeeds(fuser.feeds, tables, earliestPending(fuser), fuser.startedAt ?? now, now);
}

/**
 * What is fused once nothing is queued, as the cursor of the reader's name says it: at which position, which view, and the
 * instant before which every spine row is. Without it, rows whose features retention dropped would be fused again.
 */
const settledText = (fuser: Fuser): string =>
  JSON.stringify({ position: fuser.position, view: fuser.plan.digest, before: String(settledBefore(fuser)) });

const settledBefore = (fuser: Fuser): Micros => Math.min(Number.POSITIVE_INFINITY, ...watermarks(fuser).values());

/**
 * The instant before which spine rows are fused, whatever feature rows are left: minus infinity where retention dropped none
 * of this view, or the view is another by now. (It is kept, not made again: the config's sources may be others too.)
 */
async function settledOf(store: Store, { plan, committed }: Fuser): Promise<Micros> {
  const said = await store.cursor(fuseReader(plan.name));
  const { position, view, before } = JSON.parse(said || "{}") as { position?: number; view?: string; before?: string };
  if (position !== committed || view !== plan.digest) return Number.NEGATIVE_INFINITY;
  for await (const { batch } of store.scan(RETENTION, { columns: ["stream"] })) {
    const streams = columnNamed(batch, "stream");
    for (let i = 0; i < batch.length; i++) {
      if (valueAt(streams, "string", i) === featuresStream(plan.name)) return Number(before);
    }
  }
  return Number.NEGATIVE_INFINITY;
}

/** The fuser as it stood at the reader's position: the log up to there, folded, and the feature rows in the store marked. */
export async function resumeFuser(store: Store, plan: ViewPlan, feeds: readonly Feed[]): Promise<Fuser> {
  const position = await store.position(fuseReader(plan.name));
  const fuser = createFuser(plan, feeds, await buildIndex(store, [plan], position, { increments: true }));
  fuser.position = fuser.committed = position;
  for await (const stored of store.scan(CONTROL, { upTo: position })) applyControl(fuser.feeds, stored);
  await markWritten(store, fuser);
  const settled = await settledOf(store, fuser);
  const { spine, asOf } = fuser.view;
  for (let place = 0; place < spine.length; place++) {
    if (spine.alive[place] !== 1 || Number.isNaN(asOf.values[place]!) || fuser.fused[place] === 1) continue;
    if (asOf.values[place]! < settled) markFused(fuser, place);
    else waitFor(fuser, place, spine.lastKnown); // `max_wait` starts anew: by when they came at the latest
  }
  return fuser;
}

/**
 * Marks the spine rows whose latest feature row this very view fused: where the view has changed since, rows of the
 * earlier one do not count, and their spine rows are fused again. A feature row may be newer than the position, where a restart fell
 * between the commits of one page: its spine row may then be one that is still to be read.
 */
async function markWritten(store: Store, fuser: Fuser): Promise<void> {
  const latest = new Map<string, { sequence: number; keys: readonly Value[]; asOf: number; live: boolean }>();
  const { plan, view } = fuser;
  const names = plan.shape.keys.map((key) => `key_${key.name}`);
  const columns = [...names, "as_of"];
  const ids = view.spine.ids!;
  const sequences = new Float64Array(ids.count).fill(-1);
  const live = new Uint8Array(ids.count);
  const times = new Float64Array(ids.count);
  for await (const stored of store.scan(featuresStream(plan.name), { columns })) {
    const { contract } = stored.batch;
    if (columns.some((name) => !fieldOf(contract, name))) continue; // of a view with other keys
    const own = contract.generation === plan.contract.generation;
    const keyColumns = names.map((name, i) => ({
      column: columnNamed(stored.batch, name),
      type: plan.shape.keys[i]!.type,
    }));
    const asOf = columnNamed(stored.batch, "as_of");
    for (let i = 0; i < stored.batch.length; i++) {
      const sequence = stored.sequences[i]!;
      const keys = keyColumns.map(({ column, type }) => valueAt(column, type, i));
      const at = valueAt(asOf, "timestamp", i) as number;
      const alive = own && stored.tombstones[i] === 0;
      const entry = entryOf(ids, keys);
      if (entry < 0) {
        const text = keyText(keys);
        if ((latest.get(text)?.sequence ?? -1) < sequence) latest.set(text, { sequence, keys, asOf: at, live: alive });
      } else if (sequences[entry]! < sequence) {
        sequences[entry] = sequence;
        live[entry] = alive ? 1 : 0;
        times[entry] = at;
      }
    }
  }
  for (let entry = 0; entry < ids.count; entry++) {
    const place = numberAt(view.spine.current, entry);
    if (live[entry] !== 1) continue;
    if (view.spine.alive[place] === 1 && view.asOf.values[place] === times[entry]) markFused(fuser, place);
    else fuser.written.add(keyText([...keysAt(view, place), times[entry]!]));
  }
  for (const { keys, asOf, live: alive } of latest.values()) if (alive) fuser.written.add(keyText([...keys, asOf]));
}
