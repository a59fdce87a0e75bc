import { auc, brier } from "../base/statistics.ts";

/** One bin of a reliability diagram: scores in `[from, to)`, the last one closed. */
export interface CalibrationBin {
  readonly from: number;
  readonly to: number;
  readonly n: number;
  readonly mean_score: number | null;
  /** The share of positives among them. */
  readonly observed: number | null;
}

export interface Realised {
  /** Scores, with and without an outcome. */
  readonly n: number;
  readonly labelled: number;
  readonly unlabelled: number;
  /** Null where there is no label, or for AUC only one class. */
  readonly auc: number | null;
  readonly brier: number | null;
  readonly log_loss: number | null;
  /** Share of right decisions at the threshold; null without one. */
  readonly accuracy: number | null;
  /** The share of positives among the labelled. */
  readonly base_rate: number | null;
  readonly mean_score: number | null;
}

/** Scores and outcomes of the same rows; `labels[i]` is 1 or 0, and NaN where there is none (yet). */
export interface Outcomes {
  readonly scores: Float64Array;
  readonly labels: Float64Array;
}

/** Keeps ln finite where a model said 0 or 1 and was wrong. */
const CLIP = 1e-15;

/** The metrics of a binary model over rows that have an outcome. Rows without one are counted and otherwise left out. */
export function realised({ scores, labels }: Outcomes, threshold: number | undefined): Realised {
  const kept = labelledOnly({ scores, labels });
  const { length: labelled } = kept.scores;
  let loss = 0;
  let right = 0;
  let positives = 0;
  let total = 0;
  for (let i = 0; i < labelled; i++) {
    const [score, label] = [kept.scores[i]!, kept.labels[i]!];
    const clipped = Math.min(1 - CLIP, Math.max(CLIP, score));
    loss -= Math.log(label > 0.5 ? clipped : 1 - clipped);
    if (threshold !== undefined && score >= threshold === label > 0.5) right++;
    positives += label;
    total += score;
  }
  const mean = (sum: number) => (labelled === 0 ? null : sum / labelled);
  return {
    n: scores.length,
    labelled,
    unlabelled: scores.length - labelled,
    auc: auc(kept.scores, kept.labels),
    brier: brier(kept.scores, kept.labels),
    log_loss: mean(loss),
    accuracy: threshold === undefined ? null : mean(right),
    base_rate: mean(positives),
    mean_score: mean(total),
  };
}

/** `bins` of equal width over [0, 1]. */
export function calibration(outcomes: Outcomes, bins = 10): readonly CalibrationBin[] {
  const { scores, labels } = labelledOnly(outcomes);
  const counts = new Float64Array(bins);
  const sums = new Float64Array(bins);
  const positives = new Float64Array(bins);
  for (let i = 0; i < scores.length; i++) {
    const bin = Math.min(bins - 1, Math.max(0, Math.floor(scores[i]! * bins)));
    counts[bin]!++;
    sums[bin]! += scores[i]!;
    positives[bin]! += labels[i]!;
  }
  return Array.from(counts, (n, bin) => ({
    from: bin / bins,
    to: (bin + 1) / bins,
    n,
    mean_score: n === 0 ? null : sums[bin]! / n,
    observed: n === 0 ? null : positives[bin]! / n,
  }));
}

function labelledOnly({ scores, labels }: Outcomes): Outcomes {
  const keptScores = new Float64Array(scores.length);
  const keptLabels = new Float64Array(scores.length);
  let count = 0;
  for (let i = 0; i < scores.length; i++) {
    if (Number.isNaN(labels[i]!)) continue;
    keptScores[count] = scores[i]!;
    keptLabels[count] = labels[i]!;
    count++;
  }
  return { scores: keptScores.subarray(0, count), labels: keptLabels.subarray(0, count) };
}
