import type { Clock } from "../base/clock.ts";
import type { Random } from "../base/random.ts";
import { keyText, type Row } from "../base/row.ts";
import type { Micros } from "../base/time.ts";
import { batchOf, columnNamed, rowAt, valueAt } from "../contract/batch.ts";
import type { Contract } from "../contract/contract.ts";
import { featuresStream, scoresStream, VERDICTS, type ViewShape, verdictContract } from "../contract/streams.ts";
import type { Append, Store } from "../store/port.ts";
import type { Guardrails } from "./guardrails.ts";
import type { LoadedModel } from "./loaded.ts";
import { makeScoreRows, type ScoreRole } from "./score_rows.ts";

export interface ScoreStep {
  readonly store: Store;
  readonly clock: Clock;
  readonly random: Random;
  readonly model: LoadedModel;
  readonly shape: ViewShape;
  /** The contract of scores/<model>, made once by `scoresContract(model, shape)`. */
  readonly contract: Contract;
  /** Of the contract of the feature rows to score: the digest of the view. Rows of another one are passed over. */
  readonly generation?: string | undefined;
  readonly guardrails: Guardrails;
  readonly role: ScoreRole;
  /** Only rows with T in [from, to] are scored; the others are passed over. */
  readonly from?: Micros;
  readonly to?: Micros;
  /** About how many feature rows one step reads; at least one commit. Default 2,048. */
  readonly maxRows?: number;
  /** Default `scoreReader(model, role)`. */
  readonly reader?: string;
  /** What else belongs into the same commit: lineage of the act. Called also where no row was scored. */
  readonly extra?: (act: ScoreAct) => readonly Append[];
}

/**
 * A step that finds no feature row moves its position only after so many commits: to move it is a commit too, and two
 * readers that answer each other's would never rest.
 */
const COMMITS_SKIPPED = 256;

/** What one step did. */
export interface ScoreAct {
  readonly reader: string;
  /** Commits read: after `from`, up to `upTo`. */
  readonly after: number;
  readonly upTo: number;
  readonly rows: readonly Row[];
  readonly stale: number;
}

/** The live job of a model goes on with whatever is live. */
export const scoreReaderOf = (model: string): string => `score/${model}`;

/** Any other package than the live one starts from the beginning, by its digest. */
export function scoreReader(model: LoadedModel, role: ScoreRole): string {
  return role === "live" ? scoreReaderOf(model.name) : `score/${model.name}/${role}/${model.digest}`;
}

/**
 * One step of the batch job: reads the next feature rows, scores them, and commits scores and reader position together.
 * A feature row computed again gives a new score, and the score it replaces is named `stale` in the verdict stream.
 * Answers `idle` where nothing was new. Throws `store.stale_writer` where another writer moved the reader.
 */
export async function stepScore(step: ScoreStep): Promise<"progress" | "idle"> {
  const { store, model, shape } = step;
  const reader = step.reader ?? scoreReader(model, step.role);
  const after = await store.position(reader);
  const page = await store.tail(after, [featuresStream(shape.view)], step.maxRows ?? 2048);
  const atEnd = page.upTo === page.head.commitNo;
  if (page.rows.length === 0 && atEnd && page.upTo - after < COMMITS_SKIPPED) return "idle";
  const features: Row[] = [];
  const acts: FeatureAct[] = [];
  for (const { batch, tombstones } of page.rows) {
    if (batch.contract.generation !== step.generation) continue; // fused by another version of the view
    const times = columnNamed(batch, "as_of");
    for (let i = 0; i < batch.length; i++) {
      const at = valueAt(times, "timestamp", i) as number;
      const withdrawn = tombstones[i] === 1;
      if (!withdrawn && (at < (step.from ?? -Infinity) || at > (step.to ?? Infinity))) continue;
      const row = rowAt(batch, i);
      acts.push(withdrawn ? { withdrawn: row } : { scored: features.length });
      if (!withdrawn) features.push(row);
    }
  }
  const rows = makeScoreRows({ ...step, mode: "batch", hindsight: false }, features);
  const stale = await staleScores(step, rows, acts);
  const appends: Append[] = [];
  if (rows.length > 0) appends.push({ stream: scoresStream(model.name), batch: batchOf(step.contract, rows) });
  if (stale.length > 0) appends.push(staleVerdict(step, stale));
  appends.push(...(step.extra?.({ reader, after, upTo: page.upTo, rows, stale: stale.length }) ?? []));
  const position = { [reader]: page.upTo };
  await store.commit({ appends, readers: position, expect: { readers: { [reader]: after } }, priority: "pipeline" });
  return "progress";
}

/** What the feature stream said, in its order: a row that is scored now, by its index, or one that was withdrawn. */
type FeatureAct = { readonly scored: number } | { readonly withdrawn: Row };

interface Stale {
  readonly score_id: string;
  /** Null where the feature row was withdrawn. */
  replaced_by: string | null;
}

/**
 * Batch scores, of the same role and records, that new or withdrawn rows make stale: one scan over the span of T of those
 * rows. (A record that moves to another T leaves a withdrawn row at the old one.) A row may be withdrawn in the very step
 * that scores it, so the acts are followed one by one.
 */
async function staleScores(step: ScoreStep, rows: readonly Row[], acts: readonly FeatureAct[]): Promise<Stale[]> {
  if (acts.length === 0) return [];
  const keys = step.shape.keys.map(({ name }) => `key_${name}`);
  const idOf = (row: Row) => keyText(keys.map((name) => row[name] ?? null));
  const rowOf = (act: FeatureAct) => ("scored" in act ? rows[act.scored]! : act.withdrawn);
  const latest = await latestScores(step, acts.map(rowOf), keys, idOf);
  const stale: Stale[] = [];
  /** Withdrawn in this step, until the record has a row again. */
  const gone = new Map<string, Stale>();
  for (const act of acts) {
    const row = rowOf(act);
    const id = idOf(row);
    const before = latest.get(id);
    const scoreId = "scored" in act ? (row.score_id as string) : null;
    if (before !== undefined) {
      const entry: Stale = { score_id: before, replaced_by: scoreId };
      stale.push(entry);
      if (scoreId === null) gone.set(id, entry);
    } else if (scoreId !== null && gone.has(id)) gone.get(id)!.replaced_by = scoreId;
    if (scoreId === null) latest.delete(id);
    else {
      latest.set(id, scoreId);
      gone.delete(id);
    }
  }
  return stale;
}

/** Record -> the id of its last batch score of this role, where T lies in the span of the given rows. */
async function latestScores(
  step: ScoreStep,
  rows: readonly Row[],
  keys: readonly string[],
  idOf: (row: Row) => string,
): Promise<Map<string, string>> {
  const wanted = new Set(rows.map(idOf));
  const times = rows.map((row) => row.as_of as number);
  const from = times.reduce((a, b) => Math.min(a, b));
  const to = times.reduce((a, b) => Math.max(a, b));
  const columns = [...keys, "score_id", "as_of", "mode", "role"];
  const latest = new Map<string, { readonly sequence: number; readonly scoreId: string }>();
  for await (const stored of step.store.scan(scoresStream(step.model.name), { columns, from, to })) {
    for (let i = 0; i < stored.batch.length; i++) {
      const row = rowAt(stored.batch, i);
      const id = idOf(row);
      if (stored.tombstones[i] === 1 || row.mode !== "batch" || row.role !== step.role || !wanted.has(id)) continue;
      const sequence = stored.sequences[i]!;
      if (sequence >= (latest.get(id)?.sequence ?? -1)) latest.set(id, { sequence, scoreId: row.score_id as string });
    }
  }
  return new Map([...latest].map(([id, { scoreId }]) => [id, scoreId]));
}

function staleVerdict({ model, clock }: ScoreStep, stale: readonly Stale[]): Append {
  const verdict: Row = {
    kind: "stale",
    subject: model.name,
    name: "recomputed",
    outcome: "stale",
    severity: "info",
    value: stale.length,
    detail: JSON.stringify({ scores: stale }),
    at: clock.now(),
  };
  return { stream: VERDICTS, batch: batchOf(verdictContract, [verdict]) };
}
