/**
 * How well scores separate and match outcomes. `labels[i]` is 1 or 0 for the outcome of `scores[i]`; both lists have the
 * same length and hold no NaN.
 */

/**
 * Area under the ROC curve: the chance that a random positive has a greater score than a random negative, ties counting
 * half. Exact: the Mann-Whitney U statistic. Null where one of the two classes is absent.
 */
export function auc(scores: ArrayLike<number>, labels: ArrayLike<number>): number | null {
  const positives = scoresWith(scores, labels, 1);
  const negatives = scoresWith(scores, labels, 0);
  if (positives.length === 0 || negatives.length === 0) return null;
  // Twice the pairs won: ties are halves, so doubled they stay whole and the sum exact.
  let doubledWins = 0;
  let below = 0;
  let upTo = 0;
  for (const score of positives) {
    while (below < negatives.length && negatives[below]! < score) below++;
    while (upTo < negatives.length && negatives[upTo]! <= score) upTo++;
    doubledWins += below + upTo;
  }
  return doubledWins / (2 * positives.length * negatives.length);
}

/** Ascending: sorting plain numbers is an order of magnitude faster than sorting places by a comparison. */
function scoresWith(scores: ArrayLike<number>, labels: ArrayLike<number>, label: number): Float64Array {
  const found = new Float64Array(scores.length);
  let count = 0;
  for (let i = 0; i < scores.length; i++) if (labels[i] === label) found[count++] = scores[i]!;
  return found.subarray(0, count).sort();
}

/** Mean squared difference of probability and outcome (Brier 1950); 0 is perfect. Null for no rows. Summed in list order. */
export function brier(scores: ArrayLike<number>, labels: ArrayLike<number>): number | null {
  if (scores.length === 0) return null;
  let sum = 0;
  for (let i = 0; i < scores.length; i++) sum += (scores[i]! - labels[i]!) ** 2;
  return sum / scores.length;
}
