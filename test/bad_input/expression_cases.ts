import type { Case } from "./case.ts";
import { edited } from "./project.ts";

const viewCase = (name: string, config: string, exit: number, code: string, ...says: readonly string[]): Case => ({
  name,
  spoil: (desk) => desk.write("mlpe.yaml", config),
  run: ["validate"],
  exit,
  code,
  says,
});

/** The feature `a` of the view with another expression. */
const feature = (name: string, sql: string, exit: number, code: string, ...says: readonly string[]) =>
  viewCase(`a feature with ${name}`, edited("a: temperature", `a: ${JSON.stringify(sql)}`), exit, code, "views.load.features.a", ...says);

/** What is wrong with an expression, a join or a window: found before any row is read. */
export const expressionCases: readonly Case[] = [
  feature("a number added to a text", "temperature + sensor", 65, "expression.type_mismatch"),
  feature("an unknown column", "temprature * 2", 65, "expression.unknown_column", "temprature"),
  feature("an unknown alias", "plce.height", 65, "expression.unknown_column", "plce"),
  feature("an unknown function", "sqroot(temperature)", 77, "expression.unknown_function", "sqroot"),
  feature("chance", "random() + temperature", 77, "expression.unknown_function", "random"),
  feature("the clock", "datetime('now')", 77, "expression.unknown_function", "datetime"),
  feature("another clock", "current_timestamp", 77, "expression.forbidden", "current_timestamp"),
  feature("a subquery", "(select 1)", 77, "expression.forbidden"),
  feature("a second statement", "temperature; drop table x", 65, "expression.not_one_expression"),
  feature("a syntax error", "temperature +", 65, "expression.syntax"),
  feature("a whole division", "place.height / 2", 77, "expression.integer_division"),
  feature("double quotes", '"temperature" * 2', 77, "expression.double_quoted"),
  feature("a cast from text", "cast(sensor as real)", 77, "expression.cast"),
  feature("a comparison across types", "sensor > 3", 65, "expression.type_mismatch"),
  feature("a condition that is no boolean", "case when temperature then 1 else 0 end", 65, "expression.not_boolean"),
  feature("too many arguments", "abs(temperature, 2)", 65, "expression.arguments", "abs"),
  feature("brackets without end", `${"(".repeat(5000)}temperature${")".repeat(5000)}`, 65, "expression.too_large"),
  viewCase("an aggregate that is none", edited("count(*)", "median(temperature)"), 65, "expression.aggregate", "views.load.windows.hour.values.n"),
  viewCase("a window over an unknown column", edited("count(*)", "avg(temprature)"), 65, "expression.unknown_column", "views.load.windows.hour", "temprature"),
  viewCase("a join by an unknown column", edited("by: [place] }\n    windows", "by: [plac] }\n    windows"), 65, "fusion.unknown_column", "views.load.joins.place", "plac"),
  viewCase("a join of a text with a number", edited("by: [place] }\n    windows", "by: { sensor: height } }\n    windows"), 65, "fusion.key_mismatch", "views.load.joins.place"),
  viewCase("an as_of that is no instant", edited("spine: readings", "spine: readings\n    as_of: temperature"), 65, "expression.wrong_result", "views.load.as_of"),
  viewCase("a reserved feature name", edited("a: temperature", "as_of: temperature"), 65, "fusion.reserved_name", "views.load", "as_of"),
  viewCase("a route condition of another type", edited("path: readings.csv, dataset: readings }", "path: readings.csv, routes: { readings: { where: sensor } } }"), 65, "expression.wrong_result", "sources.readings"),
  viewCase("an otherwise that is none", edited("path: readings.csv, dataset: readings }", 'path: readings.csv, routes: { readings: { otherwise: "keep" } } }'), 65, "ingestion.bad_otherwise", "sources.readings", "keep"),
  viewCase("a label of an unknown column", edited("trust:", "    label: { hot: { from: readings, by: [sensor, at], value: temprature > 3 } }\ntrust:"), 65, "expression.unknown_column", "views.load.label", "temprature"),
  viewCase("a guardrail of an unknown feature", edited("{ artifact: package }", "{ artifact: package, guardrails: { cold: { when: z < 0, then: flag } } }"), 65, "expression.unknown_column", "models.load.guardrails.cold", "z"),
  viewCase("a SQL check of another type", edited("{ expect_column_values_to_not_be_null: { column: sensor }, severity: warn }", '{ sql: "temperature + 1" }'), 65, "expression.wrong_result", "checks.readings"),
  viewCase("an alert over an unknown metric", `${edited("site: test", "site: test")}alerts: { hot: { when: "no_such_metric > 1", to: ops } }\n`, 65, "expression.unknown_column", "alerts.hot", "no_such_metric"),
];
