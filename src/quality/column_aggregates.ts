import { z } from "zod";
import type { Row, Value } from "../base/row.ts";
import {
  ArgumentFault,
  between,
  column,
  fieldIn,
  insideOf,
  NUMERIC,
  ORDERED,
  plainNumber,
  valueFor,
  valueSet,
} from "./arguments.ts";
import { type Expectation, expectation } from "./expectation.ts";
import { showValue, valueKey } from "./result.ts";

/** Expectations on one number, or one set, that a whole column gives. Nulls are left out. */

const valuesOf = (rows: readonly Row[], name: string): Exclude<Value, null>[] =>
  rows.map((row) => row[name] ?? null).filter((value): value is Exclude<Value, null> => value !== null);

const numbersOf = (rows: readonly Row[], name: string): number[] => valuesOf(rows, name).map(Number);

const mean = (numbers: readonly number[]) => numbers.reduce((sum, value) => sum + value, 0) / numbers.length;

/** Sample standard deviation (n - 1), in two passes. */
function deviation(numbers: readonly number[]): number | null {
  if (numbers.length < 2) return null;
  const center = mean(numbers);
  return Math.sqrt(numbers.reduce((sum, value) => sum + (value - center) ** 2, 0) / (numbers.length - 1));
}

/** Linear interpolation between order statistics: type 7 of Hyndman and Fan (1996), numpy's default. */
function quantile(sorted: readonly number[], share: number): number {
  const at = (sorted.length - 1) * share;
  const low = sorted[Math.floor(at)]!;
  return low + (sorted[Math.ceil(at)]! - low) * (at - Math.floor(at));
}

const ascending = (numbers: readonly number[]) => [...numbers].sort((a, b) => a - b);

/** An aggregate of at least one number; null where it is not defined, which is a failure and never a pass. */
const numeric = (aggregate: (numbers: readonly number[]) => number | null) =>
  expectation(z.strictObject({ column, ...between }), (args, contract) => {
    const field = fieldIn(contract, args.column, NUMERIC);
    const inside = insideOf(args, plainNumber);
    return (rows) => {
      const numbers = numbersOf(rows, field.name);
      const observed = numbers.length === 0 ? null : aggregate(numbers);
      return { success: inside(observed), element_count: rows.length, observed_value: observed };
    };
  });

const extreme = (sign: 1 | -1) =>
  expectation(z.strictObject({ column, ...between }), (args, contract) => {
    const field = fieldIn(contract, args.column, ORDERED);
    const inside = insideOf(args, (given) => valueFor(field, given));
    return (rows) => {
      let observed: Value = null;
      for (const value of valuesOf(rows, field.name)) {
        if (observed === null || (sign === 1 ? value > observed : value < observed)) observed = value;
      }
      return { success: inside(observed), element_count: rows.length, observed_value: showValue(observed) };
    };
  });

const distinctOf = (rows: readonly Row[], name: string) =>
  new Map(valuesOf(rows, name).map((value) => [valueKey(value), value]));

/** A count or share of a column of any type. */
const counted = (count: (rows: readonly Row[], name: string) => number | null) =>
  expectation(z.strictObject({ column, ...between }), (args, contract) => {
    const field = fieldIn(contract, args.column);
    const inside = insideOf(args, plainNumber);
    return (rows) => {
      const observed = count(rows, field.name);
      return { success: inside(observed), element_count: rows.length, observed_value: observed };
    };
  });

const share = (part: number, whole: number) => (whole === 0 ? null : part / whole);

const DISTINCT_SHOWN_MAX = 100;

const distinct = (holds: (present: ReadonlySet<string>, wanted: ReadonlySet<string>) => boolean) =>
  expectation(z.strictObject({ column, value_set: valueSet }), (args, contract) => {
    const field = fieldIn(contract, args.column);
    const wanted = new Set(args.value_set.map((value) => valueKey(valueFor(field, value))));
    return (rows) => {
      const present = distinctOf(rows, field.name);
      const shown = [...present.keys()].sort().slice(0, DISTINCT_SHOWN_MAX);
      return {
        success: holds(new Set(present.keys()), wanted),
        element_count: rows.length,
        observed_value: shown.map((key) => showValue(present.get(key)!)),
      };
    };
  });

/** Every one of the most common values must be in the set, or, with `ties_okay`, at least one. */
const mostCommon = expectation(
  z.strictObject({ column, value_set: valueSet, ties_okay: z.boolean().default(false) }),
  (args, contract) => {
    const field = fieldIn(contract, args.column);
    const wanted = new Set(args.value_set.map((value) => valueKey(valueFor(field, value))));
    return (rows) => {
      const counts = new Map<string, { value: Value; count: number }>();
      for (const value of valuesOf(rows, field.name)) {
        const entry = counts.get(valueKey(value)) ?? { value, count: 0 };
        entry.count++;
        counts.set(valueKey(value), entry);
      }
      const most = Math.max(0, ...[...counts.values()].map(({ count }) => count));
      const modes = [...counts.entries()].filter(([, { count }]) => count === most);
      const inside = ([key]: (typeof modes)[number]) => wanted.has(key);
      return {
        success: modes.length > 0 && (args.ties_okay ? modes.some(inside) : modes.every(inside)),
        element_count: rows.length,
        observed_value: modes.slice(0, DISTINCT_SHOWN_MAX).map(([, { value }]) => showValue(value)),
      };
    };
  },
);

const range = z.tuple([z.number().nullable(), z.number().nullable()]);
const quantiles = expectation(
  z.strictObject({
    column,
    quantile_ranges: z.strictObject({ quantiles: z.array(z.number().min(0).max(1)), value_ranges: z.array(range) }),
  }),
  (args, contract) => {
    const field = fieldIn(contract, args.column, NUMERIC);
    const { quantiles: shares, value_ranges: ranges } = args.quantile_ranges;
    if (shares.length === 0 || shares.length !== ranges.length) {
      throw new ArgumentFault("quantiles and value_ranges must have the same length, at least 1");
    }
    return (rows) => {
      const sorted = ascending(numbersOf(rows, field.name));
      const values = shares.map((at) => (sorted.length === 0 ? null : quantile(sorted, at)));
      const success = values.every((value, index) => {
        const [low, high] = ranges[index]!;
        return value !== null && (low === null || value >= low) && (high === null || value <= high);
      });
      return { success, element_count: rows.length, observed_value: { quantiles: shares, values } };
    };
  },
);

export const COLUMN_AGGREGATES: Readonly<Record<string, Expectation>> = {
  expect_column_mean_to_be_between: numeric(mean),
  expect_column_median_to_be_between: numeric((numbers) => quantile(ascending(numbers), 0.5)),
  expect_column_stdev_to_be_between: numeric(deviation),
  expect_column_sum_to_be_between: numeric((numbers) => numbers.reduce((sum, value) => sum + value, 0)),
  expect_column_min_to_be_between: extreme(-1),
  expect_column_max_to_be_between: extreme(1),
  expect_column_quantile_values_to_be_between: quantiles,
  expect_column_unique_value_count_to_be_between: counted((rows, name) => distinctOf(rows, name).size),
  expect_column_proportion_of_unique_values_to_be_between: counted((rows, name) =>
    share(distinctOf(rows, name).size, valuesOf(rows, name).length),
  ),
  expect_column_proportion_of_non_null_values_to_be_between: counted((rows, name) =>
    share(valuesOf(rows, name).length, rows.length),
  ),
  expect_column_distinct_values_to_be_in_set: distinct((present, wanted) => present.isSubsetOf(wanted)),
  expect_column_distinct_values_to_contain_set: distinct((present, wanted) => present.isSupersetOf(wanted)),
  expect_column_distinct_values_to_equal_set: distinct(
    (present, wanted) => present.size === wanted.size && present.isSubsetOf(wanted),
  ),
  expect_column_most_common_value_to_be_in_set: mostCommon,
};
