import type { Clock } from "../base/clock.ts";
import type { Row } from "../base/row.ts";
import type { GoldenResult, GoldenRow, Manifest } from "../contract/model_package.ts";
import { BLOCK_ROWS, blockChangesNothing, PADDED_ROWS } from "./blocks.ts";
import { scoringErrors } from "./errors.ts";
import type { ModelPackage } from "./package.ts";
import type { Engine, Session } from "./tensor.ts";
import { fillRow, type Scorable, scoreRows } from "./tensors.ts";

/** A package with its session, ready to score. */
export interface LoadedModel {
  /** The name it is served under, which is the config's. */
  readonly name: string;
  /** The package's digest. */
  readonly digest: string;
  readonly manifest: Manifest;
  readonly session: Session;
  readonly engine: Engine;
  /** Rows of one run: more than 1 only where that was found not to change a bit. */
  readonly blockRows: number;
  /** Whether every run has exactly that many rows, filled up with copies. */
  readonly padded: boolean;
  /** What one row costs when warm, in microseconds: the median of the warm-up runs. */
  readonly rowMicros: number;
}

const WARM_UP_RUNS = 32;

/**
 * Opens a session on the package and scores its golden rows: a model is ready only if they match. Throws
 * `scoring.golden_mismatch` with the rows that differ, or what the engine says of the model; the session is then closed.
 */
export function loadModel(name: string, pack: ModelPackage, engine: Engine, clock: Clock): LoadedModel {
  const session = engine.open(pack.model);
  try {
    const scorable = { manifest: pack.manifest, session };
    checkGolden(pack.manifest, goldenResults(scorable, pack.golden), pack.golden);
    const block = verifiedBlock(scorable, pack.golden);
    const blocked = { ...scorable, ...block };
    if (block.padded) checkGolden(pack.manifest, goldenResults(blocked, pack.golden), pack.golden);
    const rowMicros = measure(blocked, pack.golden, clock);
    return { name, digest: pack.digest, manifest: pack.manifest, session, engine, ...block, rowMicros };
  } catch (error) {
    session.dispose();
    throw error;
  }
}

/** What the model gives for the golden rows, in order: the smoke gate compares them too. */
export function goldenResults(model: Scorable, golden: readonly GoldenRow[]): readonly GoldenResult[] {
  const { scores, rejects } = scoreRows(
    model,
    golden.map(({ features }) => features as Row),
  );
  const errors = new Map(rejects.map(({ row, problem }) => [row, problem.message]));
  return golden.map(({ score }, i) => {
    const error = errors.get(i);
    return { line: i + 1, expected: score, actual: scores[i] ?? null, ...(error === undefined ? {} : { error }) };
  });
}

/** How rows may run together: as far as the golden rows have the same bits in a block, in any place of it, as alone. */
function verifiedBlock(model: Scorable, golden: readonly GoldenRow[]): { blockRows: number; padded: boolean } {
  const feeds = golden.flatMap(({ features }) => {
    const filled = fillRow(model.manifest, features as Row);
    return "feeds" in filled ? [filled.feeds] : [];
  });
  if (blockChangesNothing(model.session, feeds)) return { blockRows: BLOCK_ROWS, padded: false };
  if (blockChangesNothing(model.session, feeds, PADDED_ROWS, true)) return { blockRows: PADDED_ROWS, padded: true };
  return { blockRows: 1, padded: false };
}

const MAX_SHOWN = 5;

function checkGolden(manifest: Manifest, results: readonly GoldenResult[], golden: readonly GoldenRow[]): void {
  const { atol, rtol } = manifest.golden ?? { atol: 0, rtol: 0 };
  const place = manifest.golden?.file ?? "golden.jsonl";
  const problems = results.flatMap(({ line, expected, actual, error }) => {
    if (actual !== null && Math.abs(actual - expected) <= atol + rtol * Math.abs(expected)) return [];
    const given = actual === null ? `no score (${error})` : String(actual);
    const message = `golden row ${line} gives ${given} where ${expected} is promised`;
    return [scoringErrors.problem("golden_mismatch", message, { place: `${place}, line ${line}` })];
  });
  const first = problems[0];
  if (!first) return;
  const message = `${problems.length} of ${golden.length} golden rows differ; ${first.message}`;
  throw scoringErrors.error("golden_mismatch", message, { place: first.place, problems: problems.slice(0, MAX_SHOWN) });
}

/** Without golden rows nothing is known to be a valid row, so nothing is measured. */
function measure(model: Scorable, golden: readonly GoldenRow[], clock: Clock): number {
  if (golden.length === 0) return 0;
  const times = Array.from({ length: WARM_UP_RUNS }, (_, i) => {
    const started = clock.now();
    scoreRows(model, [golden[i % golden.length]!.features as Row]);
    return clock.now() - started;
  });
  return times.sort((a, b) => a - b)[WARM_UP_RUNS / 2]!;
}
