import type { Clock } from "../base/clock.ts";
import type { Random } from "../base/random.ts";
import type { Row } from "../base/row.ts";
import type { Micros } from "../base/time.ts";
import { batchOf, columnNamed, rowAt, valueAt } from "../contract/batch.ts";
import type { Contract } from "../contract/contract.ts";
import { featuresStream, scoresStream, VERDICTS, type ViewShape, verdictContract } from "../contract/streams.ts";
import type { Append, Store } from "../store/port.ts";
import type { Guardrails } from "./guardrails.ts";
import type { LoadedModel } from "./loaded.ts";
import { makeScoreRows, type ScoreRole } from "./score_rows.ts";
import { earlierScores, type FeatureAct, featureName, type Stale, scoredBefore, staleScores } from "./stale.ts";

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
 * A feature row that this package has scored before, in whatever period or job, keeps its score. One that was computed again
 * gives a new score, and the score it replaces is named `stale` in the verdict stream.
 * Answers `idle` where nothing was new. Throws `store.stale_writer` where another writer moved the reader.
 */
export async function stepScore(step: ScoreStep): Promise<"progress" | "idle"> {
  const { store, model, shape } = step;
  const reader = step.reader ?? scoreReader(model, step.role);
  const after = await store.position(reader);
  const page = await store.tail(after, [featuresStream(shape.view)], step.maxRows ?? 2048);
  const atEnd = page.upTo === page.head.commitNo;
  if (page.rows.length === 0 && atEnd && page.upTo - after < COMMITS_SKIPPED) return "idle";
  const read: { readonly row: Row; readonly withdrawn: boolean }[] = [];
  for (const { batch, tombstones } of page.rows) {
    if (batch.contract.generation !== step.generation) continue; // fused by another version of the view
    const times = columnNamed(batch, "as_of");
    for (let i = 0; i < batch.length; i++) {
      const at = valueAt(times, "timestamp", i) as number;
      const withdrawn = tombstones[i] === 1;
      if (!withdrawn && (at < (step.from ?? -Infinity) || at > (step.to ?? Infinity))) continue;
      read.push({ row: rowAt(batch, i), withdrawn });
    }
  }
  const earlier = await earlierScores(
    step,
    read.map(({ row }) => row),
  );
  const features: Row[] = [];
  /** Fusion that was killed in the middle of a page writes its rows again: they may be in one step. */
  const met = new Map<string, number>();
  const planned = read.map(({ row, withdrawn }) => {
    const before = withdrawn ? undefined : scoredBefore(step, earlier, row);
    if (withdrawn || before !== undefined) return { row, withdrawn, before, scored: -1, isFirst: false };
    const name = featureName(step, row);
    const isFirst = !met.has(name);
    if (isFirst) met.set(name, features.push(row) - 1);
    return { row, withdrawn, before, scored: met.get(name)!, isFirst };
  });
  const rows = makeScoreRows({ ...step, mode: "batch", hindsight: false }, features);
  const acts = planned.map(({ row, withdrawn, before, scored, isFirst }): FeatureAct => {
    if (withdrawn) return { row, kind: "withdrawn", scoreId: null };
    if (before !== undefined) return { row, kind: "kept", scoreId: before };
    return { row, kind: isFirst ? "scored" : "kept", scoreId: rows[scored]!.score_id as string };
  });
  const stale = await staleScores(step, acts, earlier);
  const appends: Append[] = [];
  if (rows.length > 0) appends.push({ stream: scoresStream(model.name), batch: batchOf(step.contract, rows) });
  if (stale.length > 0) appends.push(staleVerdict(step, stale));
  appends.push(...(step.extra?.({ reader, after, upTo: page.upTo, rows, stale: stale.length }) ?? []));
  const position = { [reader]: page.upTo };
  await store.commit({ appends, readers: position, expect: { readers: { [reader]: after } }, priority: "pipeline" });
  return "progress";
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
