import { describe, expect, test } from "bun:test";
import { compile } from "../../src/expression/compile.ts";
import { DEPTH_MAX, LENGTH_MAX } from "../../src/expression/parse.ts";
import { refusal, SCOPE, scopeOf } from "./support.ts";

/** Expression, code, part of the message, part of the fix. */
const BAD: readonly (readonly [sql: string, code: string, message: string, fix?: string])[] = [
  ["", "not_one_expression", "empty"],
  ["   ", "not_one_expression", "empty"],
  ["i +", "syntax", "incomplete input, at 1:4"],
  ["i + )", "syntax", 'near ")"'],
  ["select", "syntax", "select"],
  ["i j", "not_one_expression", "i j"],
  ["i as x", "not_one_expression", "i as x"],
  ["i, j", "not_one_expression", "i, j"],
  ["*", "syntax", "table"],
  ["i from t", "not_one_expression", "from"],
  ["i where flag", "not_one_expression", "where"],
  ["i order by 1", "not_one_expression", "order by"],
  ["1 union select 2", "not_one_expression", "union"],
  ["distinct i", "not_one_expression", "distinct"],
  ["1; select 2", "not_one_expression", "end of input"],
  ["'abc", "syntax", "'abc"],
  ["i + 1_000", "syntax", "1_000"],
  ["(1, 2)", "forbidden", "row value"],
  ["(select 1)", "forbidden", "subquery", "join or a window"],
  ["exists (select 1)", "forbidden", "subquery"],
  ["i in (select 1)", "forbidden", "subquery"],
  ["i in t", "forbidden", "table"],
  ["i in ()", "arguments", "at least one"],
  ["sum(i) over ()", "forbidden", "window"],
  ["count(*)", "forbidden", "aggregate", "window"],
  ["count(distinct i)", "forbidden", "aggregate"],
  ["s collate nocase", "forbidden", "collate", "lower()"],
  ["s glob 'a*'", "forbidden", "glob", "like"],
  ["s regexp 'a'", "forbidden", "regexp"],
  ["s match 'a'", "forbidden", "match"],
  ["?1", "forbidden", "parameter"],
  [":name", "forbidden", "parameter"],
  ["x'00'", "forbidden", "blob"],
  ["i & 1", "forbidden", "bit"],
  ["~i", "forbidden", "~"],
  ["i << 2", "forbidden", "bit"],
  ["s ->> '$.a'", "forbidden", "JSON"],
  ["current_timestamp", "forbidden", "clock", "as_of()"],
  ["no_such_column_anywhere", "unknown_column", "no_such_column_anywhere", "The columns here are"],
  ["bigg + 1", "unknown_column", "bigg", "Did you mean big?"],
  ["w.sped", "unknown_column", "w.sped", "Did you mean w.speed?"],
  ["x.y.z", "unknown_column", "x.y.z"],
  ["W.speed", "unknown_column", "W.speed", "Did you mean w.speed?"],
  ['"s"', "double_quoted", "double quotes", "single quotes"],
  ["randon()", "unknown_function", "randon"],
  ["random()", "unknown_function", "random", "no randomness"],
  ["coalese(i, 1)", "unknown_function", "coalese", "Did you mean coalesce?"],
  ["max(i, 1)", "unknown_function", "max", "greatest"],
  ["avg(i)", "unknown_function", "avg", "window"],
  ["ifnull(i, 1)", "unknown_function", "ifnull", "coalesce"],
  ["load_extension('x')", "unknown_function", "load_extension"],
  ["toString(i)", "unknown_function", "toString"],
  ["constructor(i)", "unknown_function", "constructor"],
  ["abs()", "arguments", "abs does not take nothing", "abs(x: number"],
  ["abs('x')", "arguments", "abs does not take text"],
  ["abs(1, 2)", "arguments", "abs does not take"],
  ["hour(t)", "arguments", "hour does not take a timestamp", "Name the zone"],
  ["hour(t, 'Mars/Base')", "arguments", "'Mars/Base' is no time zone"],
  ["hour(t, s)", "arguments", "hour"],
  ["hour(d, 'UTC')", "arguments", "hour does not take a date"],
  ["round(a, i)", "arguments", "round"],
  ["round(a, 99)", "arguments", "round"],
  ["int(s)", "arguments", "int does not take text", "try_int"],
  ["greatest(1)", "arguments", "greatest"],
  ["greatest(flag, flag)", "type_mismatch", "greatest does not order a boolean"],
  ["iif(i, 1, 2)", "arguments", "iif does not take"],
  ["age_hours(nobody)", "arguments", "age_hours", "inputs with an event time are: w"],
  ["age_hours(i + 1)", "arguments", "age_hours"],
  ["length(5)", "arguments", "length does not take a whole number"],
  ["text(raw)", "arguments", "text does not take bytes"],
  ["5 / 2", "integer_division", "drop the fraction, at 1:1 near 5 / 2", "div(a, b)"],
  ["big / i", "integer_division", "fraction"],
  ["s + 1", "type_mismatch", "+ can't add text and a whole number", "try_int"],
  ["s + s", "type_mismatch", "+ can't add text", "||"],
  ["t + 1", "type_mismatch", "a timestamp and a whole number", "hours(n)"],
  ["t + t", "type_mismatch", "a timestamp and a timestamp"],
  ["t * 2", "type_mismatch", "a timestamp"],
  ["hours(1) + 1", "type_mismatch", "a duration", "hours(n)"],
  ["t - d", "type_mismatch", "a timestamp and a date", "date(x, 'Zone')"],
  ["flag + 1", "type_mismatch", "a boolean", "iif"],
  ["- s", "type_mismatch", "negate text"],
  ["+ flag", "type_mismatch", "a boolean"],
  ["s || 1", "type_mismatch", "|| joins text", "text(x)"],
  ["5.5 % 2", "type_mismatch", "whole numbers only", "mod"],
  ["i = 'a'", "type_mismatch", "a whole number (int) and text", "try_int"],
  ["i between 1 and 'z'", "type_mismatch", "between"],
  ["i in (1, 'z')", "type_mismatch", "in can't compare"],
  ["case i when 'a' then 1 end", "type_mismatch", "case can't compare"],
  ["case when i then 1 end", "not_boolean", "when needs a boolean"],
  ["case when flag then 1 else 'x' end", "type_mismatch", "branches"],
  ["coalesce(i, 'x')", "type_mismatch", "coalesce"],
  ["nullif(i, 'x')", "type_mismatch", "nullif"],
  ["i like '7%'", "type_mismatch", "like searches text"],
  ["s like s", "literal", "pattern"],
  ["s like 'a!' escape '!'", "literal", "pattern"],
  ["s like 'a' escape 'ab'", "literal", "pattern"],
  ["flag and i", "not_boolean", "and needs a boolean", "x <> 0"],
  ["not s", "not_boolean", "not needs a boolean", "x = 'yes'"],
  ["cast(s as int)", "cast", "cast from text as int", "try_int"],
  ["cast(i as text)", "cast", "as text"],
  ["cast(t as integer)", "cast", "cast from a timestamp"],
  ["cast(i as decimal(3, 1))", "cast", "decimal"],
  ["t > 'yesterday'", "literal", "'yesterday' is not a timestamp, at 1:5", "offset"],
  ["t > '2013-01-01T10:00:00'", "literal", "is not a timestamp", "offset"],
  ["t > '2013-02-30'", "literal", "is not a timestamp"],
  ["d = '2013-01-01T10:00:00Z'", "literal", "is not a date"],
  ["9223372036854775808", "literal", "64 bits"],
  ["1e999", "literal", "largest double"],
  ["null", "wrong_result", "null"],
];

describe("refused with a code, a place and a fix", () => {
  test.each(BAD.map(([sql, code, message, fix = ""]) => [sql, code, message, fix] as const))(
    "%s",
    (sql, code, message, fix) => {
      const error = refusal(sql);
      expect(error.code).toBe(`expression.${code}`);
      expect(error.message).toContain(message);
      expect(error.fix).toContain(fix);
      expect(error.fix.length).toBeGreaterThan(5);
      expect(error.place).toBe("test");
    },
  );
});

test("every problem of every expression is listed, with its place", () => {
  const list = ["i + 's'", "nope + 5 / 2", "j + 1"].map((sql, n) => ({ name: `e${n}`, sql, place: `place ${n}` }));
  try {
    compile(list, SCOPE);
    throw new Error("compiled");
  } catch (error) {
    const { problems, message } = error as { problems: { code: string; place: string }[]; message: string };
    expect(problems.map(({ code, place }) => [code, place])).toEqual([
      ["expression.type_mismatch", "place 0"],
      ["expression.unknown_column", "place 1"],
      ["expression.integer_division", "place 1"],
    ]);
    expect(message).toContain("(and 2 more)");
  }
});

test("the position counts lines and columns of the expression itself", () => {
  expect(refusal("i +\n  nope").message).toContain("at 2:3 near nope");
});

test("length and depth are bounded", () => {
  expect(refusal(`i${" + 1".repeat(LENGTH_MAX / 4)}`).code).toBe("expression.too_large");
  expect(refusal(`${"(".repeat(DEPTH_MAX)}i${")".repeat(DEPTH_MAX)}`).code).toBe("expression.too_large");
  expect(refusal(`i${" + 1".repeat(DEPTH_MAX)}`).code).toBe("expression.too_large");
});

test("what is just within the bounds runs, in its deepest printing", () => {
  const scope = scopeOf({ big: "long", b: "double" });
  for (const sql of [
    `big${" * big".repeat(DEPTH_MAX - 1)}`,
    `${"-".repeat(DEPTH_MAX - 1).replaceAll("-", "- ")}big`,
    `${"ln(".repeat(DEPTH_MAX - 1)}b${")".repeat(DEPTH_MAX - 1)}`,
    `${"int(".repeat(DEPTH_MAX - 1)}b${")".repeat(DEPTH_MAX - 1)}`,
    `${"iif(b > 1, ".repeat(90)}1${", 2)".repeat(90)}`,
  ]) {
    const program = compile([{ name: "x", sql, place: "test" }], scope);
    expect(program.evaluate(program.inputs.map(() => 1)).values).toHaveLength(1);
    program.close();
  }
});

test("as_of() and age_hours() are refused where nothing is predicted", () => {
  expect(refusal("as_of()", scopeOf({ i: "int" })).message).toContain("no meaning here");
  expect(refusal("age_hours(w)", scopeOf({ i: "int" })).code).toBe("expression.arguments");
});

test("an expected type is met or widened to without loss, or refused with the conversion", () => {
  for (const [sql, type, fix] of [
    ["a", "int", "int(round(x))"],
    ["i", "string", "text(x)"],
    ["i", "boolean", "x > 0"],
    ["s", "timestamp", "try_timestamp"],
    ["a", "float", "float(x)"],
    ["big", "int", "int(round(x))"],
    ["t", "long", ""],
  ] as const) {
    const error = refusal(sql, SCOPE, type);
    expect(error.code).toBe("expression.wrong_result");
    expect(error.fix).toContain(fix);
  }
});
