import type { Clock } from "../base/clock.ts";
import { uuid7 } from "../base/ids.ts";
import type { Random } from "../base/random.ts";
import type { Row, Value } from "../base/row.ts";
import type { Micros } from "../base/time.ts";
import type { ViewShape } from "../contract/streams.ts";
import { type Guardrails, judge } from "./guardrails.ts";
import type { LoadedModel } from "./loaded.ts";
import { scoreRows } from "./tensors.ts";

export type ScoreMode = "batch" | "entity" | "rows";
export type ScoreRole = "live" | "shadow" | "candidate";

/** What is the same for every row of one scoring. */
export interface ScoreContext {
  readonly model: LoadedModel;
  readonly shape: ViewShape;
  readonly guardrails: Guardrails;
  readonly mode: ScoreMode;
  readonly role: ScoreRole;
  /** True where T was in the past of the request: such scores stay out of drift and performance. */
  readonly hindsight: boolean;
  readonly request?: { readonly id: string; readonly digest: string };
  readonly clock: Clock;
  readonly random: Random;
}

/** One score as an answer shows it. */
export interface ScoreResult {
  readonly score_id: string;
  readonly model: string;
  /** Null where it was blocked or could not be made: `flags` say why. */
  readonly score: number | null;
  /** All outputs of the model; null where the score is. */
  readonly outputs: Readonly<Record<string, unknown>> | null;
  readonly flags: readonly string[];
  readonly blocked: boolean;
  readonly as_of: Micros;
  readonly made_at: Micros;
  readonly hindsight: boolean;
  readonly role: string;
  readonly keys: Row;
  readonly features: Row;
  /** Join alias -> event time of the row used, null where none was. */
  readonly times: Row;
  readonly position: number;
}

/** How a rejected row is written in `flags`. */
const REJECTED = "rejected";

/**
 * Rows for scores/<model>, one for each feature row (as in features/<view>; keys may be null), in order. A row that the
 * model refuses becomes a score row too, with a null score and the reason among its flags: nothing asked for is lost.
 */
export function makeScoreRows(context: ScoreContext, features: readonly Row[]): Row[] {
  const { model, guardrails, request } = context;
  const { scores, outputs, rejects } = scoreRows(model, features);
  const problems = new Map(rejects.map(({ row, problem }) => [row, problem]));
  const engine = engineText(model);
  const names = viewFieldNames(context.shape);
  return features.map((row, i) => {
    const score = scores[i] ?? null;
    const problem = problems.get(i);
    const judged =
      score === null
        ? { flags: [`${REJECTED}: ${problem!.code}: ${problem!.message}`], blocked: true }
        : judge(guardrails, row, score);
    const made: Record<string, Value> = {};
    for (const name of names) made[name] = row[name] ?? null;
    made.score_id = uuid7(context.clock, context.random);
    made.made_at = context.clock.now();
    made.mode = context.mode;
    made.hindsight = context.hindsight;
    made.model = model.digest;
    made.role = context.role;
    made.score = judged.blocked ? null : score;
    made.outputs = JSON.stringify(outputs[i] ?? null);
    made.flags = JSON.stringify(judged.flags);
    made.blocked = judged.blocked;
    made.request_id = request?.id ?? null;
    made.request_digest = request?.digest ?? null;
    made.engine = engine;
    return made;
  });
}

/** What decides the bits of a score besides model and features: recorded with each score, compared by replay. */
export function engineText({
  engine,
  blockRows,
  padded,
}: Pick<LoadedModel, "engine" | "blockRows" | "padded">): string {
  const { version, cpu, threads } = engine;
  return JSON.stringify({ version, cpu, threads, batch: blockRows, ...(padded ? { padded } : {}) });
}

/** The fields that a score row takes over from its feature row. */
function viewFieldNames(shape: ViewShape): string[] {
  return [
    ...shape.keys.map(({ name }) => `key_${name}`),
    "as_of",
    ...shape.features.map(({ name }) => name),
    ...shape.inputs.map((name) => `time_${name}`),
    "position",
  ];
}

/** A row of scores/<model> as an answer. The same row gives the same answer, also after a restart. */
export function resultOf(shape: ViewShape, row: Row): ScoreResult {
  const blocked = row.blocked as boolean;
  const pick = (names: readonly string[], prefix: string): Row =>
    Object.fromEntries(names.map((name) => [name, row[`${prefix}${name}`] ?? null]));
  return {
    score_id: row.score_id as string,
    model: row.model as string,
    score: row.score as number | null,
    outputs: blocked ? null : JSON.parse(row.outputs as string),
    flags: JSON.parse(row.flags as string),
    blocked,
    as_of: row.as_of as Micros,
    made_at: row.made_at as Micros,
    hindsight: row.hindsight as boolean,
    role: row.role as string,
    keys: pick(
      shape.keys.map(({ name }) => name),
      "key_",
    ),
    features: pick(
      shape.features.map(({ name }) => name),
      "",
    ),
    times: pick(shape.inputs, "time_"),
    position: row.position as number,
  };
}
