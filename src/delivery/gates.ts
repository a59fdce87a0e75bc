import { toBase64 } from "../base/bytes.ts";
import { canonicalJson } from "../base/digest.ts";
import { invariant } from "../base/errors.ts";
import type { Row } from "../base/row.ts";
import { auc, brier } from "../base/statistics.ts";
import type { Micros } from "../base/time.ts";
import type { GoldenResult, Manifest } from "../contract/model_package.ts";
import { type Statement, statementAbout } from "./sign.ts";

/** The gates before a promotion. Pure: they are handed what happened and say what it means. */

export type GateOutcome = "pass" | "warn" | "fail" | "inconclusive" | "skipped";
export type Gate = NonNullable<Manifest["gate"]>;

export interface GateVerdict {
  readonly gate: "smoke" | "regression";
  readonly outcome: GateOutcome;
  /** One sentence with the figures, for a person. */
  readonly reason: string;
  readonly figures: Readonly<Record<string, number | string | null>>;
}

/** A stored live score whose outcome is known. */
export interface LabelledScore {
  readonly features: Row;
  /** 1 or 0. */
  readonly label: number;
  readonly liveScore: number;
}

/** Where a manifest says nothing of its own. */
export const DEFAULT_GATE: Gate = { metric: "auc", margin: 0.01, min_labelled: 2000 };
/** Most stored requests that one regression replays: the newest count. */
export const REGRESSION_ROWS_MAX = 200_000;

/** Every golden row gives its score: |actual - expected| <= atol + rtol * |expected|. No golden rows is a warning. */
export function smoke(results: readonly GoldenResult[], tolerance: { atol: number; rtol: number }): GateVerdict {
  let worst = 0;
  const failed: GoldenResult[] = [];
  for (const result of results) {
    const difference = result.actual === null ? Number.NaN : Math.abs(result.actual - result.expected);
    // A NaN difference is not within anything, so it fails.
    if (!(difference <= tolerance.atol + tolerance.rtol * Math.abs(result.expected))) failed.push(result);
    if (difference > worst) worst = difference;
  }
  const figures = { rows: results.length, failed: failed.length, worst_difference: worst, ...tolerance };
  if (results.length === 0) {
    const reason = "the package loads, but has no golden rows to compare with";
    return { gate: "smoke", outcome: "warn", reason, figures };
  }
  if (failed.length === 0) {
    const reason = `${results.length} golden rows give their scores, the furthest off by ${worst}`;
    return { gate: "smoke", outcome: "pass", reason, figures };
  }
  const { line, expected, actual, error } = failed[0]!;
  const first = error ?? `gives ${actual} instead of ${expected}`;
  const reason = `${failed.length} of ${results.length} golden rows differ; line ${line}: ${first}`;
  return { gate: "smoke", outcome: "fail", reason, figures };
}

/** The verdict where the candidate could not even be loaded. */
export function smokeNotLoaded(code: string, message: string): GateVerdict {
  const reason = `the candidate does not load: ${message}`;
  return { gate: "smoke", outcome: "fail", reason, figures: { rows: 0, error: code } };
}

export interface RegressionInput {
  readonly stored: readonly LabelledScore[];
  /** The candidate's scores of the same rows in the same order; null where it gave none. */
  readonly candidateScores: readonly (number | null)[];
  readonly gate: Gate;
}

/**
 * The candidate against the live model on the same stored rows with the same labels. It passes if it is not worse by
 * more than the margin: auc >= live - margin, or brier <= live + margin. Inconclusive below `min_labelled` rows, or
 * where only one class was seen. A row that the candidate can't score is a failure, not a row less.
 */
export function regression({ stored, candidateScores, gate }: RegressionInput): GateVerdict {
  invariant(stored.length === candidateScores.length, "one candidate score for each stored row");
  const labels: number[] = [];
  const live: number[] = [];
  const candidate: number[] = [];
  let unscored = 0;
  stored.forEach((row, index) => {
    invariant(row.label === 0 || row.label === 1, `a label is 0 or 1, not ${row.label}`);
    invariant(Number.isFinite(row.liveScore), "a stored score is a finite number");
    const score = candidateScores[index] ?? null;
    if (score === null || !Number.isFinite(score)) {
      unscored++;
      return;
    }
    labels.push(row.label);
    live.push(row.liveScore);
    candidate.push(score);
  });
  const metric = gate.metric === "auc" ? auc : brier;
  const [liveValue, candidateValue] = [metric(live, labels), metric(candidate, labels)];
  const figures = {
    metric: gate.metric,
    live: liveValue,
    candidate: candidateValue,
    difference: liveValue === null || candidateValue === null ? null : candidateValue - liveValue,
    margin: gate.margin,
    labelled: labels.length,
    positives: labels.reduce((sum, label) => sum + label, 0),
    min_labelled: gate.min_labelled,
    unscored,
  };
  return { gate: "regression", ...judge(gate, figures), figures };
}

interface RegressionFigures {
  readonly live: number | null;
  readonly candidate: number | null;
  readonly labelled: number;
  readonly unscored: number;
}

function judge(gate: Gate, figures: RegressionFigures): Pick<GateVerdict, "outcome" | "reason"> {
  const { live, candidate, labelled, unscored } = figures;
  if (unscored > 0) {
    return { outcome: "fail", reason: `the candidate gives no score for ${unscored} stored requests` };
  }
  if (labelled < gate.min_labelled) {
    const reason = `${labelled} stored requests have known outcomes; ${gate.min_labelled} are needed`;
    return { outcome: "inconclusive", reason };
  }
  if (live === null || candidate === null) {
    return {
      outcome: "inconclusive",
      reason: `all ${labelled} known outcomes are the same, so ${gate.metric} says nothing`,
    };
  }
  const worseBy = gate.metric === "auc" ? live - candidate : candidate - live;
  const shown = `${gate.metric} ${candidate.toFixed(4)} against ${live.toFixed(4)} of the live model on the same ${labelled} requests`;
  if (worseBy <= gate.margin) return { outcome: "pass", reason: `${shown} (margin ${gate.margin})` };
  return { outcome: "fail", reason: `${shown}: worse by ${worseBy.toFixed(4)}, more than the margin ${gate.margin}` };
}

/** The verdict of a first deployment. */
export function regressionSkipped(model: string): GateVerdict {
  const reason = `no package of ${model} is live yet, so there is nothing to compare with`;
  return { gate: "regression", outcome: "skipped", reason, figures: {} };
}

export interface Subject {
  readonly model: string;
  /** `sha256:<hex>` of the package. */
  readonly digest: string;
  readonly version: string;
}

/** A row of the verdict stream for the gate; its detail holds the figures and the attestation. */
export function gateVerdictRow(verdict: GateVerdict, subject: Subject, gate: Gate, at: Micros): Row {
  const { figures, reason } = verdict;
  const value = verdict.gate === "smoke" ? figures.worst_difference : figures.candidate;
  return {
    kind: verdict.gate,
    subject: subject.model,
    name: subject.digest,
    outcome: verdict.outcome,
    severity: "block",
    value: typeof value === "number" && Number.isFinite(value) ? value : null,
    detail: canonicalJson({
      version: subject.version,
      digest: subject.digest,
      reason,
      figures,
      attestation: attestation(verdict, subject, gate),
    }),
    at,
  };
}

const RESULTS: Readonly<Record<GateOutcome, "PASSED" | "WARNED" | "FAILED">> = {
  pass: "PASSED",
  warn: "WARNED",
  skipped: "WARNED",
  inconclusive: "WARNED",
  fail: "FAILED",
};

/** The verdict as an in-toto Statement with a test-result/v0.1 predicate about the package's digest. */
export function attestation(verdict: GateVerdict, subject: Subject, gate: Gate): Statement {
  const result = RESULTS[verdict.outcome];
  const listed = (wanted: string) => (result === wanted ? [verdict.gate] : []);
  const content = toBase64(new TextEncoder().encode(canonicalJson(gate)));
  return statementAbout(subject.digest, subject.model, "https://in-toto.io/attestation/test-result/v0.1", {
    result,
    configuration: [{ name: "gate", mediaType: "application/json", content }],
    passedTests: listed("PASSED"),
    warnedTests: listed("WARNED"),
    failedTests: listed("FAILED"),
  });
}
