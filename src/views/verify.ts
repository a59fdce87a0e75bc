import type { Random } from "../base/random.ts";
import { keyText, type Row, type Value } from "../base/row.ts";
import type { Micros } from "../base/time.ts";
import { columnNamed, rowAt, valueAt } from "../contract/batch.ts";
import { featuresStream } from "../contract/streams.ts";
import type { BoundView } from "../fusion/bind.ts";
import { numberAt } from "../fusion/chunked.ts";
import { evaluate, spineAt } from "../fusion/evaluate.ts";
import { applyRows, boundView, createIndex, type LiveIndex } from "../fusion/index.ts";
import { entryOf } from "../fusion/keys.ts";
import { sliceIndex } from "../fusion/slice.ts";
import type { ViewPlan } from "../fusion/types.ts";
import type { Store, StoredRows } from "../store/port.ts";
import { viewErrors } from "./errors.ts";

/** A stored feature row to be computed again: the whole spine row, and its T. */
export interface VerifyRequest {
  readonly spine: Row;
  readonly asOf: Micros;
  /** The commit number that fusion had read. */
  readonly position: number;
}

export interface VerifyOptions {
  readonly store: Store;
  readonly plan: ViewPlan;
  /** Chooses the sample: the same seed, the same rows. */
  readonly random: Random;
  /** Rows of the sample; default 100. */
  readonly rows?: number;
  /** Asks the serving path, best in a fresh process: the feature values of each row in the order of the view. Left out: not compared. */
  readonly request?: (rows: readonly VerifyRequest[]) => Promise<readonly (readonly Value[])[]>;
  /** The plan that history uses, where a test sabotages one path. */
  readonly historyPlan?: ViewPlan;
  /** Changes an index before history evaluates on it: for tests that alter what must not matter. */
  readonly tamper?: (index: LiveIndex, asOf: Micros) => void;
}

export interface Difference {
  readonly path: "history" | "request";
  readonly feature: string;
  readonly keys: Row;
  readonly asOf: Micros;
  readonly stored: Value;
  readonly computed: Value;
}

export interface Verification {
  readonly view: string;
  readonly fused: number;
  readonly sampled: number;
  /** Values compared, over all paths. */
  readonly compared: number;
  readonly equal: boolean;
  readonly differences: readonly Difference[];
}

/**
 * Computes a random sample of the fused rows again, on two other paths, and compares bits: history, from an index that
 * holds nothing but rows available at T and known by the position that fusion recorded; and a request at T.
 */
export async function verifyView(options: VerifyOptions): Promise<Verification> {
  const { store, plan } = options;
  const fused = await latestRows(store, plan);
  if (fused.length === 0) throw viewErrors.error("nothing_fused", `features/${plan.name} has no rows`);
  const sample = await fetchRows(store, plan, choose(fused, options.rows ?? 100, options.random));
  const history = await recompute(options, sample);
  const differences = sample.flatMap((row, i) => compare(plan, row, "history", history[i]!.values));
  let compared = sample.length * plan.shape.features.length;
  if (options.request) {
    const requests = sample.map((row, i) => ({
      spine: history[i]!.spine,
      asOf: timeOf(row),
      position: Number(row.position),
    }));
    const answers = await options.request(requests);
    differences.push(...sample.flatMap((row, i) => compare(plan, row, "request", answers[i] ?? [])));
    compared *= 2;
  }
  const equal = differences.length === 0;
  return { view: plan.name, fused: fused.length, sampled: sample.length, compared, equal, differences };
}

const timeOf = (row: Row): Micros => row.as_of as number;

interface Fused {
  readonly id: string;
  readonly asOf: Micros;
  readonly sequence: number;
}

/** The latest version of each feature row, in the order of (T, keys). */
async function latestRows(store: Store, plan: ViewPlan): Promise<Fused[]> {
  const latest = new Map<string, Fused & { readonly live: boolean }>();
  const columns = [...plan.shape.keys.map((key) => `key_${key.name}`), "as_of"];
  for await (const stored of store.scan(featuresStream(plan.name), { columns })) {
    // Fused by an earlier version of the view, and not yet again: there is nothing to hold them against.
    if (stored.batch.contract.generation !== plan.contract.generation) continue;
    const keys = plan.shape.keys.map(({ name, type }) => ({ type, column: columnNamed(stored.batch, `key_${name}`) }));
    const asOf = columnNamed(stored.batch, "as_of");
    for (let i = 0; i < stored.batch.length; i++) {
      const id = keyText(keys.map(({ column, type }) => valueAt(column, type, i)));
      const sequence = stored.sequences[i]!;
      if ((latest.get(id)?.sequence ?? -1) > sequence) continue;
      const at = valueAt(asOf, "timestamp", i) as Micros;
      latest.set(id, { id, sequence, asOf: at, live: stored.tombstones[i] === 0 });
    }
  }
  return [...latest.values()].filter(({ live }) => live).sort((a, b) => a.asOf - b.asOf || (a.id < b.id ? -1 : 1));
}

/** The whole rows of the chosen versions. */
async function fetchRows(store: Store, plan: ViewPlan, chosen: readonly Fused[]): Promise<Row[]> {
  const bySequence = new Map(chosen.map(({ sequence }, i) => [sequence, i]));
  const rows: Row[] = new Array(chosen.length);
  for await (const stored of store.scan(featuresStream(plan.name))) {
    stored.sequences.forEach((sequence, i) => {
      const at = bySequence.get(sequence);
      if (at !== undefined) rows[at] = rowAt(stored.batch, i);
    });
  }
  return rows;
}

const keysOf = (plan: ViewPlan, row: Row): Value[] => plan.shape.keys.map((key) => row[`key_${key.name}`]!);

function choose<T>(rows: readonly T[], count: number, random: Random): T[] {
  const pool = [...rows];
  const chosen = Math.min(count, pool.length);
  for (let i = 0; i < chosen; i++) {
    const bytes = random.bytes(4);
    const drawn = (bytes[0]! + bytes[1]! * 256 + bytes[2]! * 65_536 + bytes[3]! * 16_777_216) % (pool.length - i);
    [pool[i], pool[i + drawn]] = [pool[i + drawn]!, pool[i]!];
  }
  return pool.slice(0, chosen);
}

interface Recomputed {
  readonly values: readonly Value[];
  readonly spine: Row;
}

/** One pass over the log, stopping at each position that a sampled row was fused at. */
async function recompute(options: VerifyOptions, sample: readonly Row[]): Promise<Recomputed[]> {
  const { store, plan } = options;
  const order = sample.map((_, i) => i).sort((a, b) => Number(sample[a]!.position) - Number(sample[b]!.position));
  const index = createIndex([plan]);
  const results: Recomputed[] = new Array(sample.length);
  const log: LogCursor = { read: 0, rows: [] };
  for (const at of order) {
    await foldTo(store, index, log, Number(sample[at]!.position));
    results[at] = recomputeRow(options, index, sample[at]!);
  }
  return results;
}

/** How far a fold over the log has come. */
export interface LogCursor {
  /** Commits fetched. */
  read: number;
  /** Rows fetched and not folded yet, in the order of commits. */
  rows: { readonly stored: StoredRows; from: number }[];
}

/** Folds the commits up to `upTo` into the index, from where `log` stands. Positions may only grow. */
export async function foldTo(store: Store, index: LiveIndex, log: LogCursor, upTo: number): Promise<void> {
  for (;;) {
    while (log.rows.length > 0) {
      const next = log.rows[0]!;
      const { stored } = next;
      let to = next.from;
      while (to < stored.batch.length && stored.commitNos[to]! <= upTo) to++;
      applyRows(index, stored, next.from, to);
      next.from = to;
      if (to < stored.batch.length) return;
      log.rows.shift();
    }
    if (log.read >= upTo) return;
    const page = await store.tail(log.read, index.streams);
    if (page.upTo === log.read) return;
    log.rows = page.rows.map((stored) => ({ stored, from: 0 }));
    log.read = page.upTo;
  }
}

function recomputeRow(options: VerifyOptions, index: LiveIndex, row: Row): Recomputed {
  const { plan } = options;
  const whole = boundView(index, plan);
  const place = spinePlace(whole, keysOf(plan, row));
  if (place === undefined) return { values: [], spine: {} };
  const spine = spineAt(whole, place);
  const only = sliceIndex(index, options.historyPlan ?? plan, whole, spine, timeOf(row));
  options.tamper?.(only, timeOf(row));
  const view = boundView(only, options.historyPlan ?? plan);
  const fields = plan.spineFields.map((field, i) => [field.name, spine[i]!]);
  return { values: evaluate(view, spine, timeOf(row)).values, spine: Object.fromEntries(fields) };
}

function spinePlace(view: BoundView, keys: readonly Value[]): number | undefined {
  const entry = entryOf(view.spine.ids!, keys);
  const place = entry < 0 ? -1 : numberAt(view.spine.current, entry);
  return place >= 0 && view.spine.alive[place] === 1 ? place : undefined;
}

function compare(plan: ViewPlan, row: Row, path: Difference["path"], values: readonly Value[]): Difference[] {
  const keys = Object.fromEntries(plan.shape.keys.map((key) => [key.name, row[`key_${key.name}`]!]));
  return plan.shape.features.flatMap(({ name }, i): Difference[] => {
    const stored = row[name]!;
    const computed = values[i] ?? null;
    const same =
      stored === computed ||
      (stored instanceof Uint8Array && computed instanceof Uint8Array && Buffer.compare(stored, computed) === 0);
    return same ? [] : [{ path, feature: name, keys, asOf: timeOf(row), stored, computed }];
  });
}
