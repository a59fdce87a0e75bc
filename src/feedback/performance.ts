import type { Micros } from "../base/time.ts";
import { MICROS_PER_DAY } from "../base/time.ts";
import { othersTurn } from "../base/turn.ts";
import { type Column, columnNamed } from "../contract/batch.ts";
import { labelsStream, scoresStream } from "../contract/streams.ts";
import type { Store, StoredRows } from "../store/port.ts";
import { numberColumn, numberKeys, numberPairs, type RowKeys } from "./keys.ts";
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
  readonly threshold?: number | undefined;
  /** Only what was known by this commit. */
  readonly upTo?: number;
}

/** Rows folded before others have a turn: performance may be asked of the thread that serves. */
const SLICE_ROWS = 1_024;

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
  await othersTurn();
  const days: Performance["days"][number][] = [];
  for (const [day, outcomes] of groupByDay(scores)) {
    await othersTurn();
    const date = new Date((day * MICROS_PER_DAY) / 1000).toISOString().slice(0, 10);
    days.push({ day: date, ...realised(outcomes, options.threshold) });
  }
  await othersTurn();
  const overall = realised(scores, options.threshold);
  await othersTurn();
  return {
    overall,
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

/** The scores that count, without outcomes, in the order they were made. */
export async function countedScores(store: Store, model: string, options: PerformanceOptions): Promise<ScoredRows> {
  return readScores(store, model, { byScore: new Map(), byKeys: [], keyed: numberKeys() }, options);
}

/** A column as it is compared: numbers and texts; null where null. */
type Read = (index: number) => number | string | bigint | null;

function reader(column: Column): Read {
  switch (column.kind) {
    case "text":
      return (index) => (column.codes[index]! < 0 ? null : column.dictionary[column.codes[index]!]!);
    case "bytes":
      return () => null; // no field read here is of bytes
    default:
      return (index) => (column.valid && column.valid[index] === 0 ? null : column.values[index]!);
  }
}

interface Latest {
  readonly label: number;
  readonly sequence: number;
}

interface Labels {
  readonly byScore: ReadonlyMap<string, Latest>;
  /** By the number of the keys: label (NaN where withdrawn) and sequence. */
  readonly byKeys: readonly number[];
  readonly keyed: RowKeys;
}

async function readLabels(store: Store, model: string, upTo: number): Promise<Labels> {
  const byScore = new Map<string, Latest>();
  const byKeys: number[] = [];
  const sequences: number[] = [];
  const keyed = numberKeys();
  const columns = [...(await keyFields(store, labelsStream(model), upTo)), "score_id", "label"];
  for await (const rows of store.scan(labelsStream(model), { upTo, columns })) {
    const keys = keyed(rows);
    const scoreId = reader(columnNamed(rows.batch, "score_id"));
    const label = reader(columnNamed(rows.batch, "label"));
    for (let i = 0; i < rows.batch.length; i++) {
      if (i % SLICE_ROWS === 0) await othersTurn();
      const value = Number(label(i) ?? Number.NaN);
      const sequence = rows.sequences[i]!;
      const id = scoreId(i) as string | null;
      if (id !== null) {
        const known = byScore.get(id);
        if (!known || known.sequence < sequence) byScore.set(id, { label: value, sequence });
        continue;
      }
      const key = keys(i);
      if (key < 0 || (sequences[key] ?? -1) > sequence) continue;
      sequences[key] = sequence;
      byKeys[key] = value;
    }
  }
  return { byScore, byKeys, keyed };
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
  const fold = scoreFold(options, labels);
  const bounds = { ...(from === undefined ? {} : { from }), ...(to === undefined ? {} : { to }) };
  const columns = [...(await keyFields(store, scoresStream(model), upTo)), ...SCORE_FIELDS];
  const scan = { ...bounds, columns, ...(upTo === undefined ? {} : { upTo }) };
  for await (const rows of store.scan(scoresStream(model), scan)) {
    const add = fold.open(rows);
    for (let at = 0; at < rows.batch.length; at += SLICE_ROWS) {
      if (at > 0) await othersTurn();
      add(at, Math.min(at + SLICE_ROWS, rows.batch.length));
    }
  }
  await othersTurn();
  return fold.finish();
}

/** The `key_` fields of every contract that the stream was written under. */
async function keyFields(store: Store, stream: string, upTo: number | undefined): Promise<Set<string>> {
  const names = new Set<string>();
  for await (const { batch } of store.scan(stream, { columns: [], ...(upTo === undefined ? {} : { upTo }) })) {
    for (const { name } of batch.contract.fields) if (name.startsWith("key_")) names.add(name);
  }
  return names;
}

const SCORE_FIELDS = ["score_id", "as_of", "mode", "score", "model", "role", "hindsight", "blocked"] as const;

/** The columns of a batch of scores that the fold reads. */
function scoreReader({ batch }: StoredRows) {
  const read = (name: string) => reader(columnNamed(batch, name));
  return {
    id: read("score_id"),
    asOf: read("as_of"),
    mode: read("mode"),
    score: read("score"),
    digest: read("model"),
    role: read("role"),
    hindsight: read("hindsight"),
    blocked: read("blocked"),
  };
}

/** Collects scores in the order they were made, so that sums do not depend on how the store is laid out. */
function scoreFold({ digest, role }: PerformanceOptions, labels: Labels) {
  const slot = slots();
  const scores: number[] = [];
  const outcomes: number[] = [];
  const times: number[] = [];
  const sequences: number[] = [];
  let hindsight = 0;
  let blocked = 0;
  const byScore = labels.byScore.size > 0;
  const labelOf = (id: Read, index: number, key: number) =>
    (byScore ? labels.byScore.get(id(index) as string)?.label : undefined) ?? labels.byKeys[key] ?? Number.NaN;
  const open = (rows: StoredRows) => {
    const read = scoreReader(rows);
    const keys = labels.keyed(rows);
    const place = slot(rows);
    return (from: number, to: number): void => {
      for (let i = from; i < to; i++) {
        if (rows.tombstones[i] === 1) continue;
        if (digest !== undefined && read.digest(i) !== digest) continue;
        if (role !== undefined && read.role(i) !== role) continue;
        if (read.hindsight(i)) {
          hindsight++;
          continue;
        }
        const value = read.score(i);
        if (read.blocked(i) || value === null) {
          blocked++;
          continue;
        }
        const key = keys(i);
        const at = read.mode(i) === "batch" && key >= 0 ? place(i, key, scores.length) : scores.length;
        if (at < scores.length && sequences[at]! >= rows.sequences[i]!) continue;
        scores[at] = Number(value);
        outcomes[at] = labelOf(read.id, i, key);
        times[at] = Number(read.asOf(i));
        sequences[at] = rows.sequences[i]!;
      }
    };
  };
  return { open, finish: (): ScoredRows => inOrder(scores, outcomes, times, sequences, hindsight, blocked) };
}

/** Finds the place of an earlier batch score of the same keys, T and package, or gives the fresh one. */
function slots() {
  const times = numberColumn();
  const digests = numberColumn();
  const [moments, keyed] = [numberPairs(), numberPairs()];
  const places: number[] = [];
  return (rows: StoredRows) => {
    const time = times(columnNamed(rows.batch, "as_of"));
    const digest = digests(columnNamed(rows.batch, "model"));
    return (index: number, key: number, fresh: number): number => {
      const id = keyed(key, moments(time(index), digest(index)));
      places[id] ??= fresh;
      return places[id];
    };
  };
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
  const order = orderOf(sequences);
  const pick = (values: readonly number[]) => {
    const picked = new Float64Array(count);
    for (let i = 0; i < count; i++) picked[i] = values[order[i]!]!;
    return picked;
  };
  const [scored, labels, asOf, numbers] = [pick(scores), pick(outcomes), pick(times), pick(sequences)];
  return { scores: scored, labels, times: asOf, sequences: numbers, hindsight, blocked };
}

/** The indexes in order of those numbers, of which no two are equal; by counting, where a sort would hold up others. */
function orderOf(numbers: readonly number[]): Uint32Array {
  const order = new Uint32Array(numbers.length);
  let least = Number.POSITIVE_INFINITY;
  let greatest = Number.NEGATIVE_INFINITY;
  for (const number of numbers) {
    if (number < least) least = number;
    if (number > greatest) greatest = number;
  }
  if (numbers.length === 0) return order;
  const places = new Int32Array(greatest - least + 1).fill(-1);
  for (let i = 0; i < numbers.length; i++) places[numbers[i]! - least] = i;
  let at = 0;
  for (const place of places) if (place >= 0) order[at++] = place;
  return order;
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
