import { keyText, type Row } from "../base/row.ts";
import { MICROS_PER_SECOND, type Micros } from "../base/time.ts";
import { rowAt } from "../contract/batch.ts";
import { scoresStream, VERDICTS, type ViewShape } from "../contract/streams.ts";
import type { Store } from "../store/port.ts";

/** Whose scores are looked for. */
export interface Scoring {
  readonly store: Store;
  readonly model: { readonly name: string; readonly digest: string };
  readonly shape: ViewShape;
  readonly role: string;
}

/**
 * What the feature stream said of one record, in its order: a row that is scored now, one that this package has scored
 * before, or one that was withdrawn. `row` has at least the fields of the feature row.
 */
export interface FeatureAct {
  readonly row: Row;
  readonly kind: "scored" | "kept" | "withdrawn";
  /** Null where the row was withdrawn. */
  readonly scoreId: string | null;
}

export interface Stale {
  readonly score_id: string;
  /** Null where the feature row was withdrawn. */
  replaced_by: string | null;
}

/** A batch score that is stored. */
interface Earlier {
  readonly scoreId: string;
  readonly asOf: Micros;
  /** Of the feature row: the commit that fusion had read. */
  readonly position: number;
  readonly sequence: number;
  readonly madeAt: Micros;
  /** By this very package. */
  readonly own: boolean;
}

/** Batch scores of one role, by record. */
export type EarlierScores = ReadonlyMap<string, readonly Earlier[]>;

const keysOf = ({ shape }: Scoring): string[] => shape.keys.map(({ name }) => `key_${name}`);
const recordOf = (keys: readonly string[], row: Row): string => keyText(keys.map((name) => row[name] ?? null));

/**
 * The batch scores of the same role and records as the feature rows: one scan over the span of T of those rows. (A record
 * that moves to another T leaves a withdrawn row at the old one.)
 */
export async function earlierScores(scoring: Scoring, features: readonly Row[]): Promise<EarlierScores> {
  const found = new Map<string, Earlier[]>();
  if (features.length === 0) return found;
  const keys = keysOf(scoring);
  const wanted = new Set(features.map((row) => recordOf(keys, row)));
  const times = features.map((row) => row.as_of as number);
  const from = times.reduce((a, b) => Math.min(a, b));
  const to = times.reduce((a, b) => Math.max(a, b));
  const columns = [...keys, "score_id", "as_of", "position", "made_at", "model", "mode", "role"];
  for await (const stored of scoring.store.scan(scoresStream(scoring.model.name), { columns, from, to })) {
    for (let i = 0; i < stored.batch.length; i++) {
      const row = rowAt(stored.batch, i);
      const record = recordOf(keys, row);
      if (stored.tombstones[i] === 1 || row.mode !== "batch" || row.role !== scoring.role || !wanted.has(record))
        continue;
      const score: Earlier = {
        scoreId: row.score_id as string,
        asOf: row.as_of as number,
        position: row.position as number,
        sequence: stored.sequences[i]!,
        madeAt: row.made_at as number,
        own: row.model === scoring.model.digest,
      };
      found.set(record, [...(found.get(record) ?? []), score]);
    }
  }
  return found;
}

/** Fusion makes one row of a record at each T and position, though it may write that more than once. */
export const featureName = (scoring: Scoring, row: Row): string =>
  keyText([recordOf(keysOf(scoring), row), row.as_of ?? null, row.position ?? null]);

/**
 * The id of the score that this package gave this very feature row before, whichever period or job asked for it; the newest
 * where earlier versions of this program scored it again.
 */
export function scoredBefore(scoring: Scoring, earlier: EarlierScores, row: Row): string | undefined {
  const scores = earlier.get(recordOf(keysOf(scoring), row)) ?? [];
  return scores
    .filter(({ own, asOf, position }) => own && asOf === row.as_of && position === row.position)
    .reduce<Earlier | undefined>((last, score) => (last && last.sequence > score.sequence ? last : score), undefined)
    ?.scoreId;
}

/**
 * Batch scores that new or withdrawn rows make stale, and that no verdict says so of yet. A row may be withdrawn in the very
 * step that scores it, so the acts are followed one by one.
 */
export async function staleScores(
  scoring: Scoring,
  acts: readonly FeatureAct[],
  earlier: EarlierScores,
): Promise<Stale[]> {
  const keys = keysOf(scoring);
  const kept = new Set(acts.flatMap(({ kind, scoreId }) => (kind === "kept" ? [scoreId] : [])));
  const latest = new Map<string, Pick<Earlier, "scoreId" | "position"> | undefined>();
  const stale: Stale[] = [];
  /** Withdrawn in this step, until the record has a row again. */
  const gone = new Map<string, Stale>();
  for (const { row, kind, scoreId } of acts) {
    const record = recordOf(keys, row);
    const position = row.position as number;
    if (!latest.has(record)) latest.set(record, newest(earlier.get(record) ?? [], position, kept));
    const before = latest.get(record);
    // Written again: of one position fusion writes the withdrawal first, and the row that stands there behind it.
    if (kind === "withdrawn" && before !== undefined && before.position >= position) continue;
    if (before !== undefined && (kind !== "kept" || before.position < position)) {
      const entry: Stale = { score_id: before.scoreId, replaced_by: scoreId };
      stale.push(entry);
      if (scoreId === null) gone.set(record, entry);
    } else if (scoreId !== null && gone.has(record)) gone.get(record)!.replaced_by = scoreId;
    latest.set(record, scoreId === null ? undefined : { scoreId, position });
    if (scoreId !== null) gone.delete(record);
  }
  // Another job may have met the same rows. One that is scored now for the first time makes nothing stale twice.
  const again = acts.some(({ kind }) => kind !== "scored");
  return again && stale.length > 0 ? untold(scoring, stale, earlier) : stale;
}

/** The score made last of a row of that position or an older one; not one that is met again among the acts. */
function newest(scores: readonly Earlier[], position: number, kept: ReadonlySet<string | null>): Earlier | undefined {
  return scores
    .filter((score) => score.position <= position && !kept.has(score.scoreId))
    .reduce<Earlier | undefined>((last, score) => (last && last.sequence > score.sequence ? last : score), undefined);
}

/** How far a clock may have gone back between a score and the word that it is stale. */
const CLOCK_SLACK = 3_600 * MICROS_PER_SECOND;

async function untold({ store, model }: Scoring, stale: readonly Stale[], earlier: EarlierScores): Promise<Stale[]> {
  const wanted = new Set(stale.map(({ score_id }) => score_id));
  const made = [...earlier.values()].flat().filter(({ scoreId }) => wanted.has(scoreId));
  if (made.length === 0) return [...stale];
  const from = made.reduce((least, { madeAt }) => Math.min(least, madeAt), Number.POSITIVE_INFINITY) - CLOCK_SLACK;
  const columns = ["kind", "subject", "detail", "at"];
  const told = new Set<string>();
  for await (const { batch } of store.scan(VERDICTS, { columns, from })) {
    for (let i = 0; i < batch.length; i++) {
      const { kind, subject, detail } = rowAt(batch, i);
      if (kind !== "stale" || subject !== model.name) continue;
      const { scores } = JSON.parse(detail as string) as { scores: readonly Stale[] };
      for (const { score_id } of scores) if (wanted.has(score_id)) told.add(score_id);
    }
  }
  return stale.filter(({ score_id }) => !told.has(score_id));
}
