import { MlpeError } from "../base/errors.ts";
import type { Row } from "../base/row.ts";
import { othersTurn } from "../base/turn.ts";
import { batchOf } from "../contract/batch.ts";
import type { Contract } from "../contract/contract.ts";
import { scoresStream } from "../contract/streams.ts";
import type { Append, Store } from "../store/port.ts";
import { type RequestMemory, recall, remember, type Scored } from "./requests.ts";
import { makeScoreRows, resultOf, type ScoreContext, type ScoreResult } from "./score_rows.ts";

export interface ScoreRequest extends ScoreContext {
  readonly store: Store;
  /** The contract of scores/<model>, made once by `scoresContract(model, shape)`. */
  readonly contract: Contract;
  readonly memory: RequestMemory;
  /** Whether the outcome of a feature row was known when it was asked: its score is hindsight too. Default: of none. */
  readonly outcomeKnown?: (index: number) => boolean;
  /** Feature rows as in features/<view>; asked for only if the request is new. */
  readonly features: () => readonly Row[] | Promise<readonly Row[]>;
  /** What else belongs into the same commit: lineage of the act. */
  readonly extra?: (rows: readonly Row[]) => readonly Append[];
  /** Told of rows that a full disk did not take: they are answered though they are not stored. Absent: that is refused. */
  readonly notStored?: ((rows: readonly Row[]) => void) | undefined;
}

export interface ScoreAnswer {
  readonly results: readonly ScoreResult[];
  /** True where the answer was stored by an earlier request with the same id and body. */
  readonly repeated: boolean;
  /** False where the disk was full: the scores are answered, and nowhere else. */
  readonly durable: boolean;
}

/**
 * Scores feature rows and commits the scores before it answers. With a request id the same body gives the stored answer,
 * also after a restart, and another body is `scoring.request_conflict`. Throws what the store throws: then nothing is
 * answered, and the id may be used again. So it may after an answer that is not durable, which is scored anew.
 */
export async function scoreAndCommit(request: ScoreRequest): Promise<ScoreAnswer> {
  const { memory, shape } = request;
  if (!request.request) return answer(shape, await commitScores(request), false);
  const { id, digest } = request.request;
  const stored = await recall(memory, id, digest);
  if (stored) return answer(shape, stored, true);
  // Between recall and here nothing else ran unless it had to wait; then look again.
  if (memory.running.has(id) || memory.requests.has(id)) return scoreAndCommit(request);
  const scored = commitScores(request);
  memory.running.set(id, { digest, scored });
  try {
    return answer(shape, await scored, false);
  } finally {
    memory.running.delete(id);
  }
}

async function commitScores(request: ScoreRequest): Promise<Scored> {
  const rows = await scoreInSlices(request, await request.features());
  if (rows.length === 0) return { rows, durable: true };
  const stream = scoresStream(request.model.name);
  try {
    await request.store.commit({
      appends: [{ stream, batch: batchOf(request.contract, rows) }, ...(request.extra?.(rows) ?? [])],
      priority: "score",
    });
  } catch (cause) {
    if (!request.notStored || !(cause instanceof MlpeError) || cause.code !== "store.full") throw cause;
    request.notStored(rows);
    return { rows, durable: false };
  }
  for (const row of rows) remember(request.memory, row);
  return { rows, durable: true };
}

/** So many rows are scored before others have a turn: a large request must not hold up the thread that serves. */
const SLICE_ROWS = 64;

async function scoreInSlices(request: ScoreRequest, features: readonly Row[]): Promise<Row[]> {
  const rows: Row[] = [];
  for (let at = 0; at < features.length; at += SLICE_ROWS) {
    if (at > 0) await othersTurn();
    for (const row of makeScoreRows(request, features.slice(at, at + SLICE_ROWS))) {
      rows.push(request.outcomeKnown?.(rows.length) ? { ...row, hindsight: true } : row);
    }
  }
  return rows;
}

function answer(shape: ScoreContext["shape"], { rows, durable }: Scored, repeated: boolean): ScoreAnswer {
  return { results: rows.map((row) => resultOf(shape, row)), repeated, durable };
}
