import type { Value } from "../base/row.ts";
import type { Profile } from "../contract/model_package.ts";

/** Values of one feature or of the score. Null, undefined and NaN are nulls; booleans are categories. */
export type ColumnValues = ArrayLike<Value | undefined>;

export interface ProfileOptions {
  /** Default: numeric where every value is a number, else category. */
  readonly kind?: Profile["kind"];
  /** Most bins of a numeric profile. Default 10. */
  readonly bins?: number;
  /** The quantile profile has so many steps, plus one. Default 200: a CDF is known to 0.005. */
  readonly steps?: number;
  /** Most categories counted by name; the rest are counted together, as unseen. Default 100. */
  readonly categories?: number;
}

type NumericProfile = Extract<Profile, { kind: "numeric" }>;
type CategoryProfile = Extract<Profile, { kind: "category" }>;

/**
 * Freezes a distribution. Numeric bins are cut at equal shares of the values, or at each value where there are at most
 * `bins` different ones; the outer bins are open, so any later value has a bin. Quantiles are order statistics at
 * 0, 1/steps, ... 1 (the lower one where the place falls between two).
 */
export function profileOf(values: ColumnValues, options: ProfileOptions = {}): Profile {
  const kind = options.kind ?? (looksNumeric(values) ? "numeric" : "category");
  return kind === "numeric" ? numericProfile(values, options) : categoryProfile(values, options);
}

function looksNumeric(values: ColumnValues): boolean {
  let seen = false;
  for (let i = 0; i < values.length; i++) {
    const value = values[i] ?? null;
    if (value === null) continue;
    if (typeof value !== "number" && typeof value !== "bigint") return false;
    seen = true;
  }
  return seen;
}

/** The numbers, ascending; everything that is no number is a null. */
export function sortedNumbers(values: ColumnValues): Float64Array {
  const numbers = new Float64Array(values.length);
  let count = 0;
  for (let i = 0; i < values.length; i++) {
    const value = values[i] ?? null;
    const number = value === null ? Number.NaN : Number(value);
    if (!Number.isNaN(number)) numbers[count++] = number;
  }
  return numbers.subarray(0, count).sort();
}

function numericProfile(values: ColumnValues, { bins = 10, steps = 200 }: ProfileOptions): NumericProfile {
  const sorted = sortedNumbers(values);
  const rows = values.length;
  const nulls = rows - sorted.length;
  if (sorted.length === 0) return { kind: "numeric", rows, nulls, edges: [0, 0], counts: [0], quantiles: [] };
  const quantiles = Array.from({ length: steps + 1 }, (_, i) => sorted[Math.floor((i * (sorted.length - 1)) / steps)]!);
  const edges = [sorted[0]!, ...cutsOf(sorted, bins), sorted.at(-1)!];
  return { kind: "numeric", rows, nulls, edges, counts: [...binCounts(edges, sorted)], quantiles };
}

/** Where the bins are cut, ascending and distinct: a value equal to a cut belongs to the bin above it. */
function cutsOf(sorted: Float64Array, bins: number): number[] {
  const distinct: number[] = [];
  for (const value of sorted) {
    if (distinct.at(-1) !== value) distinct.push(value);
    if (distinct.length > bins) break;
  }
  // A constant gets a bin of its own between "below" and "above", so that leaving it shows.
  if (distinct.length === 1) return [distinct[0]!, nextAbove(distinct[0]!)];
  if (distinct.length <= bins) return distinct.slice(1);
  const cuts = new Set<number>();
  for (let i = 1; i < bins; i++) {
    const cut = sorted[Math.floor((i * sorted.length) / bins)]!;
    if (cut > sorted[0]!) cuts.add(cut);
  }
  return [...cuts];
}

function nextAbove(value: number): number {
  const bits = new BigInt64Array(new Float64Array([value === 0 ? 0 : value]).buffer);
  bits[0] = bits[0]! + (value < 0 ? -1n : 1n);
  return new Float64Array(bits.buffer)[0]!;
}

/** How many of the ascending values fall into each bin: `edges[i] <= v < edges[i+1]`, outer bins open. */
export function binCounts(edges: readonly number[], sorted: Float64Array): Float64Array {
  const counts = new Float64Array(Math.max(1, edges.length - 1));
  let bin = 0;
  for (const value of sorted) {
    while (bin < counts.length - 1 && value >= edges[bin + 1]!) bin++;
    counts[bin] = counts[bin]! + 1;
  }
  return counts;
}

function categoryProfile(values: ColumnValues, { categories = 100 }: ProfileOptions): CategoryProfile {
  const { counts, nulls } = categoryCounts(values);
  const ordered = [...counts].sort(([a, m], [b, n]) => n - m || (a < b ? -1 : 1)).slice(0, categories);
  return { kind: "category", rows: values.length, nulls, counts: Object.fromEntries(ordered) };
}

export function categoryCounts(values: ColumnValues): { counts: Map<string, number>; nulls: number } {
  const counts = new Map<string, number>();
  let nulls = 0;
  for (let i = 0; i < values.length; i++) {
    const value = values[i] ?? null;
    if (value === null || (typeof value === "number" && Number.isNaN(value))) nulls++;
    else counts.set(String(value), (counts.get(String(value)) ?? 0) + 1);
  }
  return { counts, nulls };
}
