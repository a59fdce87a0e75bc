import { z } from "zod";
import type { Value } from "../base/row.ts";
import type { Contract } from "../contract/contract.ts";
import { between, column, fieldIn, insideOf, mostly, NUMERIC, ORDERED, plainNumber } from "./arguments.ts";
import { type Expectation, expectation } from "./expectation.ts";
import { type Evaluate, mapResult, showValue, tupleKey } from "./result.ts";

/** Expectations on the table as a whole, and on several columns of a row together. */

const columnList = z.array(z.string()).min(1);

/** What the contract says holds for every batch: it is found out once, when the check is planned. */
const settled =
  (success: boolean, observed: unknown): Evaluate =>
  (rows) => ({ success, element_count: rows.length, observed_value: observed });

const names = (contract: Contract) => contract.fields.map((field) => field.name);

const which = z
  .enum(["both_values_are_missing", "either_value_is_missing", "neither"])
  .default("both_values_are_missing");

/** Two columns, row by row. A row where one is null counts as `ignore_row_if` says; otherwise a null is unexpected. */
function pairs(
  a: string,
  b: string,
  ignore: z.output<typeof which>,
  share: number,
  expected: (a: Value, b: Value) => boolean,
): Evaluate {
  return (rows) => {
    const read = (index: number) => [rows[index]![a] ?? null, rows[index]![b] ?? null] as const;
    const judge = (index: number) => {
      const [left, right] = read(index);
      if (left === null && right === null && ignore !== "neither") return null;
      if ((left === null || right === null) && ignore === "either_value_is_missing") return null;
      return expected(left, right);
    };
    return mapResult(rows.length, judge, (index) => read(index).map(showValue), share);
  };
}

const pairArgs = { column_A: z.string(), column_B: z.string(), ignore_row_if: which, mostly };

const greater = expectation(z.strictObject({ ...pairArgs, or_equal: z.boolean().default(false) }), (args, contract) => {
  const a = fieldIn(contract, args.column_A, ORDERED).name;
  const b = fieldIn(contract, args.column_B, ORDERED).name;
  const expected = (left: Value, right: Value) =>
    left !== null && right !== null && (args.or_equal ? left >= right : left > right);
  return pairs(a, b, args.ignore_row_if, args.mostly, expected);
});

const equal = expectation(z.strictObject(pairArgs), (args, contract) => {
  const a = fieldIn(contract, args.column_A).name;
  const b = fieldIn(contract, args.column_B).name;
  return pairs(a, b, args.ignore_row_if, args.mostly, (left, right) => left === right);
});

const rowIgnore = z.enum(["all_values_are_missing", "any_value_is_missing", "never"]).default("all_values_are_missing");

const compoundUnique = expectation(
  z.strictObject({ column_list: columnList, ignore_row_if: rowIgnore, mostly }),
  (args, contract) => {
    for (const name of args.column_list) fieldIn(contract, name);
    return (rows) => {
      const keys = rows.map((row) => tupleKey(row, args.column_list));
      const counts = new Map<string, number>();
      for (const key of keys) counts.set(key, (counts.get(key) ?? 0) + 1);
      const judge = (index: number) => {
        const nulls = args.column_list.filter((name) => (rows[index]![name] ?? null) === null).length;
        if (args.ignore_row_if === "any_value_is_missing" && nulls > 0) return null;
        if (args.ignore_row_if === "all_values_are_missing" && nulls === args.column_list.length) return null;
        return counts.get(keys[index]!) === 1;
      };
      const show = (index: number) => args.column_list.map((name) => showValue(rows[index]![name] ?? null));
      return mapResult(rows.length, judge, show, args.mostly);
    };
  },
);

const rowSum = expectation(
  z.strictObject({ column_list: columnList, sum_total: z.number(), mostly }),
  (args, contract) => {
    for (const name of args.column_list) fieldIn(contract, name, NUMERIC);
    return (rows) => {
      const read = (index: number) => args.column_list.map((name) => rows[index]![name] ?? null);
      const judge = (index: number) => {
        const values = read(index);
        if (values.includes(null)) return null;
        return values.reduce<number>((sum, value) => sum + Number(value), 0) === args.sum_total;
      };
      return mapResult(rows.length, judge, (index) => read(index).map(showValue), args.mostly);
    };
  },
);

export const TABLE: Readonly<Record<string, Expectation>> = {
  expect_table_row_count_to_be_between: expectation(z.strictObject(between), (args) => {
    const inside = insideOf(args, plainNumber);
    return ({ length }) => ({ success: inside(length), element_count: length, observed_value: length });
  }),
  expect_table_row_count_to_equal: expectation(
    z.strictObject({ value: z.number().int().min(0) }),
    ({ value }) =>
      ({ length }) => ({ success: length === value, element_count: length, observed_value: length }),
  ),
  expect_table_column_count_to_equal: expectation(
    z.strictObject({ value: z.number().int().min(0) }),
    ({ value }, { fields }) => settled(fields.length === value, fields.length),
  ),
  expect_column_to_exist: expectation(z.strictObject({ column }), ({ column: name }, contract) =>
    settled(names(contract).includes(name), names(contract)),
  ),
  expect_table_columns_to_match_ordered_list: expectation(
    z.strictObject({ column_list: columnList }),
    ({ column_list }, contract) =>
      settled(JSON.stringify(column_list) === JSON.stringify(names(contract)), names(contract)),
  ),
  expect_table_columns_to_match_set: expectation(
    z.strictObject({ column_set: columnList, exact_match: z.boolean().default(true) }),
    ({ column_set, exact_match }, contract) => {
      const present = new Set(names(contract));
      const wanted = new Set(column_set);
      const success = wanted.isSubsetOf(present) && (!exact_match || wanted.size === present.size);
      return settled(success, names(contract));
    },
  ),
  expect_column_pair_values_to_be_equal: equal,
  expect_column_pair_values_a_to_be_greater_than_b: greater,
  expect_compound_columns_to_be_unique: compoundUnique,
  expect_multicolumn_sum_to_equal: rowSum,
};
