import type { Value } from "../base/row.ts";
import type { AggregateFunction } from "../expression/types.ts";
import { compareAt, isNullAt, readValue, type StoreColumn } from "./column.ts";

/** The rows a window covers, oldest first. `places` is longer than `length`. */
export interface Selection {
  places: Int32Array;
  length: number;
}

/**
 * One aggregate over the selected rows, nulls left out as in SQL. The order of rows is fixed and sums are compensated,
 * so equal rows give equal bits whatever path they took. No values: count is 0, everything else null.
 */
export function aggregate(fn: AggregateFunction, column: StoreColumn | null, rows: Selection): Value {
  if (fn === "count") return column === null ? rows.length : countValues(column, rows);
  if (column === null) return null;
  if (fn === "min" || fn === "max") return extreme(column, rows, fn === "min" ? -1 : 1);
  const sum = sumOf(column, rows);
  if (sum.count === 0) return null;
  if (fn === "sum") return finite(sum.total);
  const mean = sum.total / sum.count;
  if (fn === "avg") return finite(mean);
  return sum.count < 2 ? null : finite(Math.sqrt(squaresAround(column, rows, mean) / (sum.count - 1)));
}

/** A sum beyond the largest double is no number. Zero has one sign, so that equal values have equal bits. */
const finite = (value: number): number | null => (Number.isFinite(value) ? value + 0 : null);

function countValues(column: StoreColumn, rows: Selection): number {
  let count = 0;
  for (let i = 0; i < rows.length; i++) if (!isNullAt(column, rows.places[i]!)) count++;
  return count;
}

function extreme(column: StoreColumn, rows: Selection, sign: -1 | 1): Value {
  let best = -1;
  for (let i = 0; i < rows.length; i++) {
    const place = rows.places[i]!;
    if (isNullAt(column, place)) continue;
    if (best < 0 || compareAt(column, place, best) * sign > 0) best = place;
  }
  return best < 0 ? null : readValue(column, best);
}

/** Neumaier's compensated sum (ZAMM 54, 1974). */
function sumOf(column: StoreColumn, rows: Selection): { total: number; count: number } {
  if (column.kind !== "number") return { total: 0, count: 0 };
  const { values } = column;
  let total = 0;
  let lost = 0;
  let count = 0;
  for (let i = 0; i < rows.length; i++) {
    const value = values[rows.places[i]!]!;
    if (Number.isNaN(value)) continue;
    const next = total + value;
    lost += Math.abs(total) >= Math.abs(value) ? total - next + value : value - next + total;
    total = next;
    count++;
  }
  return { total: total + lost, count };
}

/** The second pass of the two-pass variance: squared distances from the mean, compensated. */
function squaresAround(column: StoreColumn, rows: Selection, mean: number): number {
  if (column.kind !== "number") return 0;
  let total = 0;
  let lost = 0;
  for (let i = 0; i < rows.length; i++) {
    const value = column.values[rows.places[i]!]!;
    if (Number.isNaN(value)) continue;
    const square = (value - mean) ** 2;
    const next = total + square;
    lost += total >= square ? total - next + square : square - next + total;
    total = next;
  }
  return total + lost;
}
