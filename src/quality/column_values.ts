import { z } from "zod";
import type { Value } from "../base/row.ts";
import type { Contract, FieldType } from "../contract/contract.ts";
import {
  ArgumentFault,
  between,
  column,
  fieldIn,
  insideOf,
  mostly,
  ORDERED,
  plainNumber,
  strict,
  TEXTUAL,
  valueFor,
  valueSet,
} from "./arguments.ts";
import { type Expectation, expectation } from "./expectation.ts";
import { type Evaluate, mapResult, showValue, valueKey } from "./result.ts";

/** Expectations on the values of one column, one by one. Nulls are missing, except where they are the question. */

function eachValue(name: string, share: number, expected: (value: Value) => boolean): Evaluate {
  return (rows) => {
    const value = (index: number): Value => rows[index]![name] ?? null;
    const judge = (index: number) => (value(index) === null ? null : expected(value(index)));
    return mapResult(rows.length, judge, (index) => showValue(value(index)), share);
  };
}

const textual = (contract: Contract, name: string) => fieldIn(contract, name, TEXTUAL).name;

function pattern(text: string): RegExp {
  try {
    return new RegExp(text, "u");
  } catch (cause) {
    throw new ArgumentFault(`${JSON.stringify(text)} is not a regular expression: ${(cause as Error).message}`);
  }
}

const nullness = (nullExpected: boolean) =>
  expectation(z.strictObject({ column, mostly }), ({ column: name, mostly: share }, contract) => {
    fieldIn(contract, name);
    return (rows) => {
      const isNull = (index: number) => (rows[index]![name] ?? null) === null;
      const show = (index: number) => showValue(rows[index]![name] ?? null);
      const result = mapResult(rows.length, (index) => isNull(index) === nullExpected, show, share);
      return { ...result, missing_count: 0 };
    };
  });

const membership = (inside: boolean) =>
  expectation(z.strictObject({ column, value_set: valueSet, mostly }), (args, contract) => {
    const field = fieldIn(contract, args.column);
    const set = new Set(args.value_set.map((value) => valueKey(valueFor(field, value))));
    return eachValue(field.name, args.mostly, (value) => set.has(valueKey(value)) === inside);
  });

const regex = (matching: boolean) =>
  expectation(z.strictObject({ column, regex: z.string(), mostly }), (args, contract) => {
    const test = pattern(args.regex);
    return eachValue(textual(contract, args.column), args.mostly, (value) => test.test(value as string) === matching);
  });

const matchOn = z.enum(["any", "all"]).default("any");
const regexList = expectation(
  z.strictObject({ column, regex_list: z.array(z.string()).min(1), match_on: matchOn, mostly }),
  (args, contract) => {
    const tests = args.regex_list.map(pattern);
    const matches = (value: Value) =>
      args.match_on === "all"
        ? tests.every((test) => test.test(value as string))
        : tests.some((test) => test.test(value as string));
    return eachValue(textual(contract, args.column), args.mostly, matches);
  },
);

/** Characters are Unicode code points. */
const lengthOf = (value: Value) => [...(value as string)].length;

const valueBetween = expectation(z.strictObject({ column, mostly, ...between }), (args, contract) => {
  const field = fieldIn(contract, args.column, ORDERED);
  return eachValue(
    field.name,
    args.mostly,
    insideOf(args, (given) => valueFor(field, given)),
  );
});

const lengthBetween = expectation(z.strictObject({ column, mostly, ...between }), (args, contract) => {
  const inside = insideOf(args, plainNumber);
  return eachValue(textual(contract, args.column), args.mostly, (value) => inside(lengthOf(value)));
});

const lengthEqual = expectation(
  z.strictObject({ column, value: z.number().int().min(0), mostly }),
  ({ column: name, value: length, mostly: share }, contract) =>
    eachValue(textual(contract, name), share, (value) => lengthOf(value) === length),
);

/** Every one of several equal values is unexpected. */
const unique = expectation(z.strictObject({ column, mostly }), ({ column: name, mostly: share }, contract) => {
  fieldIn(contract, name);
  return (rows) => {
    const seen = new Map<string, number>();
    for (const row of rows) {
      const key = valueKey(row[name] ?? null);
      seen.set(key, (seen.get(key) ?? 0) + 1);
    }
    return eachValue(name, share, (value) => seen.get(valueKey(value)) === 1)(rows);
  };
});

/** Nulls are skipped; the first value is always expected. */
const monotone = (direction: 1 | -1) =>
  expectation(z.strictObject({ column, strictly: strict, mostly }), (args, contract) => {
    const field = fieldIn(contract, args.column, ORDERED);
    return (rows) => {
      let previous: Value = null;
      return eachValue(field.name, args.mostly, (value) => {
        const before = previous;
        previous = value;
        if (before === null || value === null) return true;
        if (before === value) return !args.strictly;
        return direction === 1 ? before < value : before > value;
      })(rows);
    };
  });

/** Contract types, with the names that suites use for them. */
const TYPE_NAMES: Readonly<Record<FieldType, readonly string[]>> = {
  boolean: ["bool", "BOOLEAN", "BooleanType"],
  int: ["INTEGER", "INT", "int32", "IntegerType", "int64"],
  long: ["LONG", "BIGINT", "int64", "LongType", "int"],
  float: ["FLOAT", "float32", "FloatType"],
  double: ["DOUBLE", "float64", "DoubleType", "float"],
  string: ["str", "STRING", "VARCHAR", "TEXT", "StringType", "object"],
  bytes: ["BYTES", "BinaryType"],
  timestamp: ["TIMESTAMP", "DATETIME", "datetime64", "TimestampType", "datetime"],
  date: ["DATE", "DateType"],
  enum: ["str", "STRING", "string", "object"],
};

const typed = (contract: Contract, name: string, types: readonly string[]): Evaluate => {
  const { type } = fieldIn(contract, name);
  const success = types.some((wanted) => wanted === type || TYPE_NAMES[type].includes(wanted));
  return (rows) => ({ success, element_count: rows.length, observed_value: type });
};

export const COLUMN_VALUES: Readonly<Record<string, Expectation>> = {
  expect_column_values_to_not_be_null: nullness(false),
  expect_column_values_to_be_null: nullness(true),
  expect_column_values_to_be_in_set: membership(true),
  expect_column_values_to_not_be_in_set: membership(false),
  expect_column_values_to_be_between: valueBetween,
  expect_column_values_to_be_unique: unique,
  expect_column_values_to_match_regex: regex(true),
  expect_column_values_to_not_match_regex: regex(false),
  expect_column_values_to_match_regex_list: regexList,
  expect_column_value_lengths_to_be_between: lengthBetween,
  expect_column_value_lengths_to_equal: lengthEqual,
  expect_column_values_to_be_increasing: monotone(1),
  expect_column_values_to_be_decreasing: monotone(-1),
  expect_column_values_to_be_of_type: expectation(
    z.strictObject({ column, type_: z.string() }),
    ({ column: name, type_ }, contract) => typed(contract, name, [type_]),
  ),
  expect_column_values_to_be_in_type_list: expectation(
    z.strictObject({ column, type_list: z.array(z.string()).min(1) }),
    ({ column: name, type_list }, contract) => typed(contract, name, type_list),
  ),
};
