import type { Micros } from "../base/time.ts";
import { MICROS_PER_DAY } from "../base/time.ts";
import { type Column, columnNamed } from "../contract/batch.ts";
import { labelsStream, scoresStream } from "../contract/streams.ts";
import type { Store, StoredRows } from "../store/port.ts";
import { type CalibrationBin, calibration, type Outcomes, type Realised, realised } from "./metrics.ts";

export interface PerformanceOptions {
  /** Bounds of T, inclusive. */
  readonly from?: Micros;
  readonly to?: Micros;
  /** Only scores of this package. Default: all. */
  readonly digest?: string;
  /** Only scores made in this role. Default: all. */
  readonly role?: string;
  /** The model's decision threshold; without it accuracy is null. */
  readonly threshold?: number;
  /** Only what was known by this commit. */
  readonly upTo?: number;
}

export interface Performance {
  readonly overall: Realised;
  /** By the UTC day of T, ascending. */
  readonly days: readonly (Realised & { readonly day: string })[];
  readonly calibration: readonly CalibrationBin[];
  /** Scores left out: asked in hindsight, or blocked by a guardrail. */
  readonly hindsight: number;
  readonly blocked: number;
}

/**
 * Realised performance: the scores of a model joined with the labels that have arrived. Of scores made in batch the latest
 * for the same keys, T and package counts; each online score counts. The latest label for a score id counts, else the latest
 * for its keys. A score without one stays unlabelled.
 */
export async function performanceOf(
  store: Store,
  model: string,
  options: PerformanceOptions = {},
): Promise<Performance> {
  const upTo = options.upTo ?? (await store.head()).commitNo;
  const labels = await readLabels(store, model, upTo);
  const scores = await readScores(store, model, labels, { ...options, upTo });
  const days = [...groupByDay(scores)].map(([day, outcomes]) => ({
    day: new Date((day * MICROS_PER_DAY) / 1000).toISOString().slice(0, 10),
    ...realised(outcomes, options.threshold),
  }));
  return {
    overall: realised(scores, options.threshold),
    days,
    calibration: calibration(scores),
    hindsight: scores.hindsight,
    blocked: scores.blocked,
  };
}

/** The joined outcomes, for gates that compare two packages on the same rows. */
export async function outcomesOf(store: Store, model: string, options: PerformanceOptions = {}): Promise<ScoredRows> {
  const upTo = options.upTo ?? (await store.head()).commitNo;
  return readScores(store, model, await readLabels(store, model, upTo), { ...options, upTo });
}

/** A column as it is compared: numbers and texts; null where null. */
type Read = (index: number) => number | string | bigint | null;

function reader(column: Column): Read {
  switch (column.kind) {
    case "text":
      return (index) => (column.codes[index]! < 0 ? null : column.dictionary[column.codes[index]!]!);
    case "bytes":
      return (index) => {
        const bytes = column.values[index];
        return bytes ? Buffer.from(bytes).toString("hex") : null;
      };
    default:
      return (index) => (column.valid && column.valid[index] === 0 ? null : column.values[index]!);
  }
}

const keyColumns = (rows: StoredRows): Read[] =>
  rows.batch.contract.fields
    .filter(({ name }) => name.startsWith("key_"))
    .map(({ name }) => reader(columnNamed(rows.batch, name)));

/** Text that is equal for equal keys; undefined where a key is null. */
function keyText(reads: readonly Read[], index: number): string | undefined {
  let text = "";
  for (const read of reads) {
    const value = read(index);
    if (value === null) return undefined;
    text += typeof value === "string" ? `${value.length}:${value}` : `${value},`;
  }
  return text;
}

interface Latest {
  readonly label: number;
  readonly sequence: number;
}

interface Labels {
  readonly byScore: ReadonlyMap<string, Latest>;
  readonly byKeys: ReadonlyMap<string, Latest>;
}

async function readLabels(store: Store, model: string, upTo: number): Promise<Labels> {
  const byScore = new Map<string, Latest>();
  const byKeys = new Map<string, Latest>();
  const keep = (map: Map<string, Latest>, key: string, latest: Latest) => {
    const known = map.get(key);
    if (!known || known.sequence < latest.sequence) map.set(key, latest);
  };
  for await (const rows of store.scan(labelsStream(model), { upTo })) {
    const keys = keyColumns(rows);
    const scoreId = reader(columnNamed(rows.batch, "score_id"));
    const label = reader(columnNamed(rows.batch, "label"));
    for (let i = 0; i < rows.batch.length; i++) {
      const value = label(i);
      const latest = { label: value === null ? Number.NaN : Number(value), sequence: rows.sequences[i]! };
      const id = scoreId(i) as string | null;
      const key = id === null ? keyText(keys, i) : undefined;
      if (id !== null) keep(byScore, id, latest);
      else if (key !== undefined) keep(byKeys, key, latest);
    }
  }
  return { byScore, byKeys };
}

export interface ScoredRows extends Outcomes {
  /** T of each. */
  readonly times: Float64Array;
  /** Its number in the stream scores/<model>. */
  readonly sequences: Float64Array;
  readonly hindsight: number;
  readonly blocked: number;
}

async function readScores(
  store: Store,
  model: string,
  labels: Labels,
  options: PerformanceOptions,
): Promise<ScoredRows> {
  const { from, to, upTo } = options;
  const fold = scoreFold(options);
  const bounds = { ...(from === undefined ? {} : { from }), ...(to === undefined ? {} : { to }) };
  const scan = { ...bounds, ...(upTo === undefined ? {} : { upTo }) };
  for await (const rows of store.scan(scoresStream(model), scan)) fold.add(rows, labels);
  return fold.finish();
}

/** Collects scores in the order they were made, so that sums do not depend on how the store is laid out. */
function scoreFold({ digest, role }: PerformanceOptions) {
  const slots = new Map<string, number>();
  const scores: number[] = [];
  const outcomes: number[] = [];
  const times: number[] = [];
  const sequences: number[] = [];
  let hindsight = 0;
  let blocked = 0;
  const add = (rows: StoredRows, labels: Labels): void => {
    const { batch } = rows;
    const keys = keyColumns(rows);
    const read = (name: string) => reader(columnNamed(batch, name));
    const [id, asOf, mode, score, packageOf, roleOf, late, stopped] = [
      read("score_id"),
      read("as_of"),
      read("mode"),
      read("score"),
      read("model"),
      read("role"),
      read("hindsight"),
      read("blocked"),
    ];
    for (let i = 0; i < batch.length; i++) {
      if (rows.tombstones[i] === 1) continue;
      if ((digest !== undefined && packageOf(i) !== digest) || (role !== undefined && roleOf(i) !== role)) continue;
      if (late(i)) {
        hindsight++;
        continue;
      }
      const value = score(i);
      if (stopped(i) || value === null) {
        blocked++;
        continue;
      }
      const keyed = keyText(keys, i);
      const latest =
        labels.byScore.get(id(i) as string) ?? (keyed === undefined ? undefined : labels.byKeys.get(keyed));
      const slot = slotOf(slots, mode(i) === "batch" ? keyed : undefined, `${asOf(i)} ${packageOf(i)}`, scores.length);
      if (slot < scores.length && sequences[slot]! >= rows.sequences[i]!) continue;
      scores[slot] = Number(value);
      outcomes[slot] = latest?.label ?? Number.NaN;
      times[slot] = Number(asOf(i));
      sequences[slot] = rows.sequences[i]!;
    }
  };
  return { add, finish: (): ScoredRows => inOrder(scores, outcomes, times, sequences, hindsight, blocked) };
}

/** The place of the row: an earlier one of the same batch-scored keys, T and package, or a new one. */
function slotOf(slots: Map<string, number>, keyed: string | undefined, rest: string, fresh: number): number {
  if (keyed === undefined) return fresh;
  const key = `${keyed} ${rest}`;
  const known = slots.get(key);
  if (known === undefined) slots.set(key, fresh);
  return known ?? fresh;
}

function inOrder(
  scores: readonly number[],
  outcomes: readonly number[],
  times: readonly number[],
  sequences: readonly number[],
  hindsight: number,
  blocked: number,
): ScoredRows {
  const count = scores.length;
  const order = new Uint32Array(count);
  let sorted = true;
  for (let i = 0; i < count; i++) {
    order[i] = i;
    if (i > 0 && sequences[i]! < sequences[i - 1]!) sorted = false;
  }
  if (!sorted) order.sort((a, b) => sequences[a]! - sequences[b]!);
  const pick = (values: readonly number[]) => Float64Array.from(order, (index) => values[index]!);
  const [scored, labels, asOf, numbers] = [pick(scores), pick(outcomes), pick(times), pick(sequences)];
  return { scores: scored, labels, times: asOf, sequences: numbers, hindsight, blocked };
}

function groupByDay({ scores, labels, times }: ScoredRows): Map<number, Outcomes> {
  const days = new Map<number, number[]>();
  for (let i = 0; i < times.length; i++) {
    const day = Math.floor(times[i]! / MICROS_PER_DAY);
    const list = days.get(day);
    if (list) list.push(i);
    else days.set(day, [i]);
  }
  const ordered = [...days].sort(([a], [b]) => a - b);
  const take = (values: Float64Array, list: readonly number[]) => Float64Array.from(list, (index) => values[index]!);
  return new Map(ordered.map(([day, list]) => [day, { scores: take(scores, list), labels: take(labels, list) }]));
}
