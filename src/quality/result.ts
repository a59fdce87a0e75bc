import { canonicalJson } from "../base/digest.ts";
import type { Row, Value } from "../base/row.ts";

/** What one check found, in the result fields of Great Expectations. */
export interface CheckResult {
  readonly success: boolean;
  /** Rows looked at, after `row_condition`. */
  readonly element_count: number;
  /** The aggregate that was judged, where the expectation is about one. */
  readonly observed_value?: unknown;
  readonly missing_count?: number;
  readonly unexpected_count?: number;
  /** Of the values that are not missing, 0 to 100. */
  readonly unexpected_percent?: number;
  /** The first unexpected values, at most 20. */
  readonly partial_unexpected_list?: readonly unknown[];
}

export type Evaluate = (rows: readonly Row[]) => CheckResult;

const PARTIAL_MAX = 20;

/**
 * Judges values one by one. Missing values are neither expected nor unexpected (unless `judgeMissing`); without any other
 * value the check succeeds. Success: the share of expected among the judged is at least `mostly`.
 */
export function mapResult(
  count: number,
  judge: (index: number) => boolean | null,
  show: (index: number) => unknown,
  mostly: number,
): CheckResult {
  let missing = 0;
  let unexpected = 0;
  const partial: unknown[] = [];
  for (let i = 0; i < count; i++) {
    const verdict = judge(i);
    if (verdict === null) missing++;
    else if (!verdict) {
      unexpected++;
      if (partial.length < PARTIAL_MAX) partial.push(show(i));
    }
  }
  const judged = count - missing;
  return {
    success: judged === 0 || (judged - unexpected) / judged >= mostly,
    element_count: count,
    missing_count: missing,
    unexpected_count: unexpected,
    unexpected_percent: judged === 0 ? 0 : (100 * unexpected) / judged,
    partial_unexpected_list: partial,
  };
}

/** Values as JSON can hold them: bytes in hex, large integers as text. */
export function showValue(value: Value): unknown {
  if (typeof value === "bigint") return value.toString();
  return value instanceof Uint8Array ? Buffer.from(value).toString("hex") : value;
}

/** Equal text means equal value, also for a whole number that is once a number and once a bigint. */
export function valueKey(value: Value): string {
  if (typeof value === "number" || typeof value === "bigint") return `n${value}`;
  if (value instanceof Uint8Array) return `b${Buffer.from(value).toString("hex")}`;
  return value === null ? "null" : `${typeof value}${value}`;
}

export const tupleKey = (row: Row, columns: readonly string[]): string =>
  canonicalJson(columns.map((column) => valueKey(row[column] ?? null)));
