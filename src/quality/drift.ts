import { canonicalJson } from "../base/digest.ts";
import type { Row } from "../base/row.ts";
import type { Micros } from "../base/time.ts";
import type { DriftConfig } from "../config/schema.ts";
import type { Profile, Reference } from "../contract/model_package.ts";
import { chiSquaredTail, kolmogorovTail } from "./distributions.ts";
import { binCounts, type ColumnValues, categoryCounts, sortedNumbers } from "./profile.ts";

/** The outcome of one comparison with a frozen profile. `inconclusive`: too few rows, on either side, to tell. */
export type DriftAnswer = "ok" | "drift" | "inconclusive";

export interface DriftResult {
  readonly metric: "psi" | "ks";
  readonly answer: DriftAnswer;
  /** PSI, or the KS statistic D. Null where there was nothing to compare. */
  readonly statistic: number | null;
  readonly p_value: number | null;
  /** What is held against the threshold: PSI itself, or D. */
  readonly effect: number | null;
  /** Rows judged: all for PSI (nulls are a bin), those with a value for KS. */
  readonly n: number;
  readonly reference_n: number;
}

/** Added to every bin of both sides before shares are taken (Jeffreys' prior), so that an empty bin has a finite PSI. */
const PSEUDO_COUNT = 0.5;

/**
 * Population stability index, sum (c - r) ln(c / r) over bins (Siddiqi 2006), with (count + 1/2) / (n + bins / 2) for each
 * share. Bins are the profile's frozen ones plus one for nulls, and for categories one for values not in the profile.
 * Without drift PSI / (1/n + 1/m) is about chi-squared with bins - 1 degrees (Yurdakul and Naranjo 2020): the p-value.
 */
export function psi(profile: Profile, values: ColumnValues): Omit<DriftResult, "answer"> {
  const [reference, current] = alignedBins(profile, values);
  const n = values.length;
  const base = { metric: "psi" as const, n, reference_n: profile.rows };
  if (n === 0 || profile.rows === 0) return { ...base, statistic: null, p_value: null, effect: null };
  const bins = reference.length;
  const shareOf = (count: number, total: number) => (count + PSEUDO_COUNT) / (total + PSEUDO_COUNT * bins);
  let sum = 0;
  for (let i = 0; i < bins; i++) {
    const r = shareOf(reference[i]!, profile.rows);
    const c = shareOf(current[i]!, n);
    sum += (c - r) * Math.log(c / r);
  }
  return { ...base, statistic: sum, p_value: chiSquaredTail(sum / (1 / n + 1 / profile.rows), bins - 1), effect: sum };
}

function alignedBins(profile: Profile, values: ColumnValues): readonly [readonly number[], readonly number[]] {
  if (profile.kind === "numeric") {
    const sorted = sortedNumbers(values);
    const nulls = values.length - sorted.length;
    return [
      [...profile.counts, profile.nulls],
      [...binCounts(profile.edges, sorted), nulls],
    ];
  }
  const { counts, nulls } = categoryCounts(values);
  const names = Object.keys(profile.counts);
  const known = names.map((name) => counts.get(name) ?? 0);
  const knownBefore = names.map((name) => profile.counts[name]!);
  const rest = (total: number, gone: number, list: readonly number[]) =>
    list.reduce((left, c) => left - c, total - gone);
  return [
    [...knownBefore, rest(profile.rows, profile.nulls, knownBefore), profile.nulls],
    [...known, rest(values.length, nulls, known), nulls],
  ];
}

/**
 * Two-sample Kolmogorov-Smirnov against the frozen quantiles: D is the greatest distance between the current step function
 * and the reference's, which is linear between quantiles and jumps where they repeat. p from Kolmogorov's limit at
 * sqrt(n m / (n + m)) D (Smirnov 1939). D is exact to one step of the quantiles (0.005 by default).
 */
export function ks(profile: Extract<Profile, { kind: "numeric" }>, values: ColumnValues): Omit<DriftResult, "answer"> {
  const sorted = sortedNumbers(values);
  const n = sorted.length;
  const m = profile.rows - profile.nulls;
  const base = { metric: "ks" as const, n, reference_n: m };
  if (n === 0 || m === 0 || profile.quantiles.length < 2)
    return { ...base, statistic: null, p_value: null, effect: null };
  let distance = 0;
  // The difference is greatest at, or just below, a value of either side.
  const compare = (x: number, below: number, upTo: number) => {
    const left = Math.abs(below / n - referenceBelow(profile.quantiles, x));
    const right = Math.abs(upTo / n - referenceUpTo(profile.quantiles, x));
    distance = Math.max(distance, left, right);
  };
  for (let start = 0; start < n; ) {
    let end = start;
    while (end < n && sorted[end] === sorted[start]) end++;
    compare(sorted[start]!, start, end);
    start = end;
  }
  let below = 0;
  let upTo = 0;
  for (const x of profile.quantiles) {
    while (below < n && sorted[below]! < x) below++;
    while (upTo < n && sorted[upTo]! <= x) upTo++;
    compare(x, below, upTo);
  }
  const p = kolmogorovTail(Math.sqrt((n * m) / (n + m)) * distance);
  return { ...base, statistic: distance, p_value: p, effect: distance };
}

/** The share of the reference below x, and up to and with x. */
const referenceBelow = (quantiles: readonly number[], x: number) => shareAt(quantiles, x, (value) => value < x);
const referenceUpTo = (quantiles: readonly number[], x: number) => shareAt(quantiles, x, (value) => value <= x);

function shareAt(quantiles: readonly number[], x: number, before: (value: number) => boolean): number {
  let low = 0;
  let high = quantiles.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (before(quantiles[middle]!)) low = middle + 1;
    else high = middle;
  }
  const steps = quantiles.length - 1;
  if (low === 0) return 0; // before the first quantile
  if (low > steps) return 1; // after the last
  const [a, b] = [quantiles[low - 1]!, quantiles[low]!];
  const inside = b > a ? (x - a) / (b - a) : 0;
  return (low - 1 + Math.min(1, Math.max(0, inside))) / steps;
}

export interface DriftInput {
  readonly model: string;
  readonly config: DriftConfig;
  readonly reference: Reference;
  readonly features: Readonly<Record<string, ColumnValues>>;
  readonly scores: ColumnValues;
  readonly at: Micros;
}

/** Judges one column by the configured metrics; KS only where the profile is numeric. */
export function judgeColumn(config: DriftConfig, profile: Profile, values: ColumnValues): DriftResult[] {
  const results: DriftResult[] = [];
  for (const metric of config.metrics) {
    if (metric === "ks" && profile.kind !== "numeric") continue;
    const found =
      metric === "psi" ? psi(profile, values) : ks(profile as Extract<Profile, { kind: "numeric" }>, values);
    results.push({ ...found, answer: answerOf(config, found) });
  }
  return results;
}

function answerOf(config: DriftConfig, found: Omit<DriftResult, "answer">): DriftAnswer {
  const enough = found.n >= config.min_rows && found.reference_n >= config.min_rows;
  if (!enough || found.effect === null || found.p_value === null) return "inconclusive";
  const threshold = found.metric === "psi" ? config.psi : config.effect;
  if (found.effect < threshold) return "ok";
  // A great effect that chance could make in so few rows tells nothing yet.
  return found.p_value < config.p_value ? "drift" : "inconclusive";
}

/**
 * Compares live features and scores with the package's frozen reference. Verdict rows (kind `drift`, subject the model):
 * one for each column and metric, named `<column>.<metric>`, then one named `drift` for all: `drift` if any is,
 * `inconclusive` if none could be told, else `ok`. Features without a profile, or profiles without a column, are not judged.
 */
export function judgeDrift({ model, config, reference, features, scores, at }: DriftInput): readonly Row[] {
  const judged: { name: string; result: DriftResult }[] = [];
  const judge = (name: string, profile: Profile | undefined, values: ColumnValues) => {
    if (!profile) return;
    for (const result of judgeColumn(config, profile, values))
      judged.push({ name: `${name}.${result.metric}`, result });
  };
  for (const [name, values] of Object.entries(features)) {
    if (Object.hasOwn(reference.features, name)) judge(name, reference.features[name], values);
  }
  judge("score", reference.score, scores);
  const rows = judged.map(({ name, result }) =>
    verdict(model, name, result.answer, result.statistic, { ...result, variant: "mlpe" }, at),
  );
  const drifted = judged.filter(({ result }) => result.answer === "drift");
  const told = judged.some(({ result }) => result.answer !== "inconclusive");
  const outcome: DriftAnswer = drifted.length > 0 ? "drift" : told ? "ok" : "inconclusive";
  const detail = { drifted: drifted.map(({ name }) => name), judged: judged.length, n: scores.length };
  return [...rows, verdict(model, "drift", outcome, drifted.length, detail, at)];
}

function verdict(
  subject: string,
  name: string,
  outcome: DriftAnswer,
  value: number | null,
  detail: unknown,
  at: Micros,
): Row {
  return { kind: "drift", subject, name, outcome, severity: "warn", value, detail: canonicalJson(detail), at };
}
