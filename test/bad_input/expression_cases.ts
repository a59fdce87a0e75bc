import { type Case, configCase } from "./case.ts";
import { CONFIG, edited } from "./project.ts";

/** The feature `a` of the view with another expression. */
const feature = (name: string, sql: string, code: string, ...says: readonly string[]) =>
  configCase(
    `a feature with ${name}`,
    edited("a: temperature", `a: ${JSON.stringify(sql)}`),
    code,
    "views.load.features.a",
    ...says,
  );

/** What is wrong with an expression, a join or a window: found before any row is read. */
export const expressionCases: readonly Case[] = [
  feature("a number added to a text", "temperature + sensor", "expression.type_mismatch"),
  feature("an unknown column", "temprature * 2", "expression.unknown_column", "temprature"),
  feature("an unknown alias", "plce.height", "expression.unknown_column", "plce"),
  feature("an unknown function", "sqroot(temperature)", "expression.unknown_function", "sqroot"),
  feature("chance", "random() + temperature", "expression.unknown_function", "random"),
  feature("the clock", "datetime('now')", "expression.unknown_function", "datetime"),
  feature("another clock", "current_timestamp", "expression.forbidden", "current_timestamp"),
  feature("a subquery", "(select 1)", "expression.forbidden"),
  feature("a second statement", "temperature; drop table x", "expression.not_one_expression"),
  feature("a syntax error", "temperature +", "expression.syntax"),
  feature("a whole division", "place.height / 2", "expression.integer_division"),
  feature("double quotes", '"temperature" * 2', "expression.double_quoted"),
  feature("a cast from text", "cast(sensor as real)", "expression.cast"),
  feature("a comparison across types", "sensor > 3", "expression.type_mismatch"),
  feature("a condition that is no boolean", "case when temperature then 1 else 0 end", "expression.not_boolean"),
  feature("too many arguments", "abs(temperature, 2)", "expression.arguments", "abs"),
  feature("brackets without end", `${"(".repeat(5000)}temperature${")".repeat(5000)}`, "expression.too_large"),
  configCase(
    "an aggregate that is none",
    edited("count(*)", "median(temperature)"),
    "expression.aggregate",
    "views.load.windows.hour.values.n",
  ),
  configCase(
    "a window over an unknown column",
    edited("count(*)", "avg(temprature)"),
    "expression.unknown_column",
    "views.load.windows.hour",
    "temprature",
  ),
  configCase(
    "a join by an unknown column",
    edited("by: [place] }\n    windows", "by: [plac] }\n    windows"),
    "fusion.unknown_column",
    "views.load.joins.place",
    "plac",
  ),
  configCase(
    "a join of a text with a number",
    edited("by: [place] }\n    windows", "by: { sensor: height } }\n    windows"),
    "fusion.key_mismatch",
    "views.load.joins.place",
  ),
  configCase(
    "an as_of that is no instant",
    edited("spine: readings", "spine: readings\n    as_of: temperature"),
    "expression.wrong_result",
    "views.load.as_of",
  ),
  configCase(
    "a reserved feature name",
    edited("a: temperature", "as_of: temperature"),
    "config.bad_value",
    "views.load.features.as_of",
  ),
  configCase(
    "a route condition of another type",
    edited("path: readings.csv, dataset: readings }", "path: readings.csv, routes: { readings: { where: sensor } } }"),
    "expression.wrong_result",
    "sources.readings",
  ),
  configCase(
    "an otherwise that is none",
    edited(
      "path: readings.csv, dataset: readings }",
      'path: readings.csv, routes: { readings: { otherwise: "keep" } } }',
    ),
    "config.bad_value",
    "sources.readings.routes.readings.otherwise",
  ),
  configCase(
    "a label of an unknown column",
    edited("trust:", "    label: { hot: { from: readings, by: [sensor, at], value: temprature > 3 } }\ntrust:"),
    "expression.unknown_column",
    "views.load.label",
    "temprature",
  ),
  configCase(
    "a guardrail of an unknown feature",
    edited("{ artifact: package }", "{ artifact: package, guardrails: { cold: { when: z < 0, then: flag } } }"),
    "expression.unknown_column",
    "models.load.guardrails.cold",
    "z",
  ),
  configCase(
    "a SQL check of another type",
    edited("{ expect_column_values_to_not_be_null: { column: sensor }, severity: warn }", '{ sql: "temperature + 1" }'),
    "expression.wrong_result",
    "checks.readings",
  ),
  configCase(
    "an alert over an unknown metric",
    `${CONFIG}alerts: { hot: { when: "no_such_metric > 1", to: ops } }\n`,
    "expression.unknown_column",
    "alerts.hot",
    "no_such_metric",
  ),
];
