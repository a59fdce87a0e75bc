import { expect, test } from "bun:test";
import { MlpeError } from "../../src/base/errors.ts";
import type { Row } from "../../src/base/row.ts";
import type { CheckConfig } from "../../src/config/schema.ts";
import { batchOf, rowsOf } from "../../src/contract/batch.ts";
import { contractOf } from "../../src/contract/contract.ts";
import { verdictContract } from "../../src/contract/streams.ts";
import { planChecks, runChecks } from "../../src/quality/checks.ts";
import { EXPECTATIONS } from "../../src/quality/registry.ts";
import type { CheckResult } from "../../src/quality/result.ts";

const contract = contractOf(
  {
    type: "record",
    name: "flights",
    entity: ["tail"],
    eventTime: "at",
    recordId: "content",
    fields: [
      { name: "tail", type: ["null", "string"] },
      { name: "origin", type: "string" },
      { name: "distance", type: ["null", "double"] },
      { name: "limit", type: ["null", "double"] },
      { name: "seats", type: "int" },
      { name: "late", type: "boolean" },
      { name: "at", type: { type: "long", logicalType: "timestamp-micros" } },
    ],
  },
  "flights.avsc",
);

const row = (
  tail: string | null,
  origin: string,
  distance: number | null,
  limit: number | null,
  seats: number,
): Row => ({
  tail,
  origin,
  distance,
  limit,
  seats,
  late: seats > 2,
  at: 1_380_000_000_000_000 + seats,
});
const rows: Row[] = [
  row("N1", "EWR", 100, 200, 1),
  row("N2", "JFK", 200, 200, 2),
  row(null, "JFK", 300, 200, 3),
  row("N4", "XXX", null, null, 4),
  row("N1", "LGA", 400, null, 5),
];

const run = (config: CheckConfig, data: readonly Row[] = rows) =>
  runChecks(planChecks("flights", [config], contract), data, 9);
const result = (config: CheckConfig, data?: readonly Row[]): CheckResult =>
  JSON.parse(run(config, data).verdictRows[0]!.detail as string);

// Each line: the expectation, its arguments, whether it holds on the five rows above, and what the result must say.
const table: readonly [string, Record<string, unknown>, boolean, Partial<CheckResult>][] = [
  ["expect_column_values_to_not_be_null", { column: "tail" }, false, { unexpected_count: 1, unexpected_percent: 20 }],
  ["expect_column_values_to_not_be_null", { column: "tail", mostly: 0.8 }, true, { unexpected_count: 1 }],
  ["expect_column_values_to_be_null", { column: "tail", mostly: 0.2 }, true, { unexpected_count: 4 }],
  [
    "expect_column_values_to_be_in_set",
    { column: "origin", value_set: ["EWR", "JFK", "LGA"] },
    false,
    { partial_unexpected_list: ["XXX"], unexpected_percent: 20 },
  ],
  ["expect_column_values_to_not_be_in_set", { column: "origin", value_set: ["ORD"] }, true, { unexpected_count: 0 }],
  [
    "expect_column_values_to_be_between",
    { column: "distance", min_value: 100, max_value: 400 },
    true,
    { missing_count: 1 },
  ],
  [
    "expect_column_values_to_be_between",
    { column: "distance", min_value: 100, strict_min: true },
    false,
    { unexpected_count: 1, unexpected_percent: 25, partial_unexpected_list: [100] },
  ],
  ["expect_column_values_to_be_between", { column: "at", min_value: "2013-01-01T00:00:00Z" }, true, {}],
  [
    "expect_column_values_to_be_between",
    { column: "at", max_value: "2013-01-01T00:00:00Z" },
    false,
    { unexpected_count: 5 },
  ],
  [
    "expect_column_values_to_be_unique",
    { column: "tail" },
    false,
    { partial_unexpected_list: ["N1", "N1"], missing_count: 1 },
  ],
  ["expect_column_values_to_match_regex", { column: "tail", regex: "^N[0-9]$" }, true, {}],
  ["expect_column_values_to_not_match_regex", { column: "origin", regex: "X{3}" }, false, { unexpected_count: 1 }],
  [
    "expect_column_values_to_match_regex_list",
    { column: "origin", regex_list: ["^E", "^J", "^L"] },
    false,
    { unexpected_count: 1 },
  ],
  ["expect_column_value_lengths_to_be_between", { column: "tail", min_value: 2, max_value: 6 }, true, {}],
  ["expect_column_value_lengths_to_equal", { column: "origin", value: 3 }, true, {}],
  ["expect_column_values_to_be_increasing", { column: "seats", strictly: true }, true, {}],
  ["expect_column_values_to_be_decreasing", { column: "seats" }, false, { unexpected_count: 4 }],
  ["expect_column_values_to_be_of_type", { column: "distance", type_: "float64" }, true, { observed_value: "double" }],
  ["expect_column_values_to_be_in_type_list", { column: "origin", type_list: ["int", "long"] }, false, {}],
  [
    "expect_column_mean_to_be_between",
    { column: "distance", min_value: 250, max_value: 250 },
    true,
    { observed_value: 250 },
  ],
  ["expect_column_median_to_be_between", { column: "seats", min_value: 3.5 }, false, { observed_value: 3 }],
  ["expect_column_stdev_to_be_between", { column: "seats", min_value: 1.58, max_value: 1.59 }, true, {}],
  ["expect_column_sum_to_be_between", { column: "seats", max_value: 15 }, true, { observed_value: 15 }],
  ["expect_column_min_to_be_between", { column: "distance", min_value: 100 }, true, { observed_value: 100 }],
  [
    "expect_column_max_to_be_between",
    { column: "distance", max_value: 400, strict_max: true },
    false,
    { observed_value: 400 },
  ],
  [
    "expect_column_quantile_values_to_be_between",
    {
      column: "seats",
      quantile_ranges: {
        quantiles: [0, 0.5, 1],
        value_ranges: [
          [1, 1],
          [2, null],
          [null, 5],
        ],
      },
    },
    true,
    { observed_value: { quantiles: [0, 0.5, 1], values: [1, 3, 5] } },
  ],
  [
    "expect_column_unique_value_count_to_be_between",
    { column: "tail", min_value: 3, max_value: 3 },
    true,
    { observed_value: 3 },
  ],
  [
    "expect_column_proportion_of_unique_values_to_be_between",
    { column: "tail", max_value: 0.7 },
    false,
    { observed_value: 0.75 },
  ],
  [
    "expect_column_proportion_of_non_null_values_to_be_between",
    { column: "limit", min_value: 0.6 },
    true,
    { observed_value: 0.6 },
  ],
  ["expect_column_distinct_values_to_be_in_set", { column: "late", value_set: [true, false] }, true, {}],
  ["expect_column_distinct_values_to_contain_set", { column: "seats", value_set: [1, 9] }, false, {}],
  ["expect_column_distinct_values_to_equal_set", { column: "seats", value_set: [5, 4, 3, 2, 1] }, true, {}],
  [
    "expect_column_most_common_value_to_be_in_set",
    { column: "origin", value_set: ["JFK"] },
    true,
    { observed_value: ["JFK"] },
  ],
  ["expect_table_row_count_to_be_between", { min_value: 5, max_value: 5 }, true, { observed_value: 5 }],
  ["expect_table_row_count_to_equal", { value: 6 }, false, { observed_value: 5 }],
  ["expect_table_column_count_to_equal", { value: 7 }, true, {}],
  ["expect_column_to_exist", { column: "wind" }, false, {}],
  ["expect_table_columns_to_match_ordered_list", { column_list: ["tail"] }, false, {}],
  ["expect_table_columns_to_match_set", { column_set: ["seats", "tail"], exact_match: false }, true, {}],
  [
    "expect_column_pair_values_to_be_equal",
    { column_A: "distance", column_B: "limit", mostly: 0.25 },
    true,
    { unexpected_count: 3 },
  ],
  [
    "expect_column_pair_values_a_to_be_greater_than_b",
    { column_A: "limit", column_B: "distance", or_equal: true, ignore_row_if: "either_value_is_missing" },
    false,
    { unexpected_count: 1, missing_count: 2, partial_unexpected_list: [[200, 300]] },
  ],
  ["expect_compound_columns_to_be_unique", { column_list: ["tail", "origin"] }, true, {}],
  [
    "expect_multicolumn_sum_to_equal",
    { column_list: ["seats", "distance"], sum_total: 101, mostly: 0.25 },
    true,
    { unexpected_count: 3 },
  ],
];

test.each(table)("%s %j -> %p", (name, args, success, expected) => {
  expect(result({ [name]: args })).toMatchObject({ success, ...expected });
});

test("the table has every expectation of the registry", () => {
  expect([...new Set(table.map(([name]) => name))].sort()).toEqual(Object.keys(EXPECTATIONS).sort());
});

test("row_condition and SQL checks are expressions over the contract", () => {
  const only = { column: "tail", row_condition: "origin = 'EWR'" };
  expect(result({ expect_column_values_to_not_be_null: only })).toMatchObject({ success: true, element_count: 1 });
  expect(result({ sql: "distance < 400" })).toMatchObject({ success: false, unexpected_count: 1, missing_count: 1 });
  expect(result({ sql: "distance < 400", mostly: 0.75 })).toMatchObject({ success: true });
  expect(result({ sql: "distance < 400", row_condition: "late" })).toMatchObject({ success: false, element_count: 3 });
});

test("verdicts are rows of the stream; a failed block check blocks, a failed warn check does not", () => {
  const bad = { expect_column_values_to_not_be_null: { column: "tail" } };
  const warned = run({ ...bad, severity: "warn" });
  expect(warned.blocked).toBeUndefined();
  expect(warned.verdictRows[0]).toMatchObject({ kind: "check", subject: "flights", outcome: "warn", value: 20, at: 9 });
  const blocked = run({ ...bad, severity: "block" });
  expect(blocked.blocked).toBe("flights: expect_column_values_to_not_be_null.tail failed (1 of 5 rows are unexpected)");
  expect(blocked.verdictRows[0]).toMatchObject({ outcome: "fail", severity: "block" });
  expect(blocked.assertions).toEqual([
    {
      assertion: "expect_column_values_to_not_be_null",
      success: false,
      severity: "block",
      column: "tail",
      failures: 1,
    },
  ]);
  expect(rowsOf(batchOf(verdictContract, blocked.verdictRows))).toEqual([...blocked.verdictRows]);
});

test("an empty batch: value checks pass, aggregates of nothing do not", () => {
  expect(result({ expect_column_values_to_be_unique: { column: "tail" } }, [])).toMatchObject({ success: true });
  const mean = { expect_column_mean_to_be_between: { column: "seats", min_value: 0 } };
  expect(result(mean, [])).toMatchObject({ success: false, observed_value: null });
});

test("an entry of a Great Expectations suite runs as it is", () => {
  const entry = {
    expectation_type: "expect_column_values_to_be_between",
    kwargs: { column: "seats", min_value: 0, max_value: 4, mostly: 0.8, result_format: "SUMMARY" },
    meta: { notes: "from a suite" },
  } as CheckConfig;
  expect(result(entry)).toMatchObject({ success: true, unexpected_count: 1 });
});

// What is wrong, the code, and a piece of the message or advice.
const faults: readonly [CheckConfig, string, string][] = [
  [
    { expect_column_value_to_not_be_null: { column: "tail" } },
    "unknown_expectation",
    "expect_column_values_to_not_be_null",
  ],
  [{ expect_something_else_entirely: {} }, "unknown_expectation", "no expectation"],
  [{ expect_column_values_to_not_be_null: { column: "tal" } }, "unknown_column", 'Did you mean "tail"'],
  [{ expect_column_values_to_not_be_null: {} }, "bad_argument", "column"],
  [{ expect_column_values_to_not_be_null: { column: "tail", mostley: 0.9 } }, "bad_argument", 'did you mean "mostly"'],
  [{ expect_column_values_to_not_be_null: { column: "tail", mostly: 98 } }, "bad_argument", "mostly"],
  [{ expect_column_values_to_be_between: { column: "distance" } }, "bad_argument", "neither min_value nor max_value"],
  [{ expect_column_values_to_be_between: { column: "distance", min_value: "a" } }, "bad_argument", "does not fit"],
  [{ expect_column_values_to_be_between: { column: "seats", min_value: 3, max_value: 2 } }, "bad_argument", "greater"],
  [{ expect_column_values_to_be_in_set: { column: "seats", value_set: ["1"] } }, "bad_argument", "does not fit"],
  [{ expect_column_values_to_match_regex: { column: "tail", regex: "(" } }, "bad_argument", "regular expression"],
  [{ expect_column_values_to_match_regex: { column: "seats", regex: "1" } }, "bad_argument", "is a int"],
  [{ expect_column_mean_to_be_between: { column: "origin", min_value: 1 } }, "bad_argument", "is a string"],
  [{}, "bad_check", "no expectation"],
  [{ expect_column_to_exist: { column: "a" }, expect_table_row_count_to_equal: { value: 1 } }, "bad_check", "together"],
  [{ expect_table_row_count_to_equal: 5 }, "bad_check", "arguments"],
  [{ sql: "distance > 1", mostly: 3 }, "bad_argument", "mostly"],
];

test.each(faults)("%j is refused when it is planned: %s", (config, code, text) => {
  let caught: unknown;
  try {
    planChecks("flights", [config], contract);
  } catch (error) {
    caught = error;
  }
  expect(caught).toBeInstanceOf(MlpeError);
  const error = caught as MlpeError;
  expect(error.code).toBe(`quality.${code}`);
  expect(error.place).toStartWith("checks.flights[0]");
  expect(`${error.message} ${error.fix}`).toContain(text);
});

test("all problems of all checks are reported together", () => {
  const configs = faults.slice(0, 5).map(([config]) => config);
  expect(() => planChecks("flights", configs, contract)).toThrow(
    expect.objectContaining({
      problems: expect.arrayContaining([
        expect.objectContaining({ place: "checks.flights[4].expect_column_values_to_not_be_null" }),
      ]),
    }),
  );
  expect(() => planChecks("flights", [{ sql: "distanze > 1" }], contract)).toThrow(MlpeError);
});
