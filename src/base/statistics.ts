/**
 * How well scores separate and match outcomes. `labels[i]` is 1 or 0 for the outcome of `scores[i]`; both lists have the
 * same length and hold no NaN.
 */

/**
 * Area under the ROC curve: the chance that a random positive has a greater score than a random negative, ties counting
 * half. Exact: the Mann-Whitney U statistic with mid-ranks. Null where one of the two classes is absent.
 */
export function auc(scores: ArrayLike<number>, labels: ArrayLike<number>): number | null {
  const count = scores.length;
  const order = new Uint32Array(count);
  for (let i = 0; i < count; i++) order[i] = i;
  order.sort((a, b) => scores[a]! - scores[b]!);
  let positives = 0;
  // Twice the rank sum of the positives: mid-ranks are halves, so doubled they stay whole and the sum exact.
  let doubledRankSum = 0;
  for (let start = 0; start < count; ) {
    let end = start;
    let positivesHere = 0;
    while (end < count && scores[order[end]!]! === scores[order[start]!]!) {
      positivesHere += labels[order[end]!]!;
      end++;
    }
    doubledRankSum += positivesHere * (start + 1 + end); // ranks start+1 .. end have the mean (start + 1 + end) / 2
    positives += positivesHere;
    start = end;
  }
  const negatives = count - positives;
  if (positives === 0 || negatives === 0) return null;
  return (doubledRankSum - positives * (positives + 1)) / (2 * positives * negatives);
}

/** Mean squared difference of probability and outcome (Brier 1950); 0 is perfect. Null for no rows. Summed in list order. */
export function brier(scores: ArrayLike<number>, labels: ArrayLike<number>): number | null {
  if (scores.length === 0) return null;
  let sum = 0;
  for (let i = 0; i < scores.length; i++) sum += (scores[i]! - labels[i]!) ** 2;
  return sum / scores.length;
}
