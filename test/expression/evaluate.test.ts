import { describe, expect, test } from "bun:test";
import type { Value } from "../../src/base/row.ts";
import { compile, compileAggregate } from "../../src/expression/compile.ts";
import { functionDocs } from "../../src/expression/docs.ts";
import { computed, NOON, ROW, refusal, run, SCOPE, scopeOf } from "./support.ts";

const HOUR = 3_600_000_000;

/** Over ROW: expression, value, type. */
const GOOD: readonly (readonly [sql: string, value: Value, type: string])[] = [
  ["i + j", 9, "int"],
  ["i - big", -9_007_199_254_740_986, "long"],
  ["i * 1.5", 10.5, "double"],
  ["-i % 4", -3, "int"],
  ["-9223372036854775808 + 0", -(2n ** 63n), "long"],
  ["0x1F", 31, "int"],
  ["f + f", 3, "double"],
  ["a > 2 and i < 10 or false", true, "boolean"],
  ["not flag", false, "boolean"],
  ["flag is true", true, "boolean"],
  ["flag is not null", true, "boolean"],
  ["s isnull", false, "boolean"],
  ["i between 7 and 7.5", true, "boolean"],
  ["i not between 1 and 3", true, "boolean"],
  ["code in ('UA', 'AA')", true, "boolean"],
  ["code not in ('DL')", true, "boolean"],
  ["s like 'A%'", false, "boolean"],
  ["s like '_b%'", true, "boolean"],
  ["'50%' like '50!%' escape '!'", true, "boolean"],
  ["s not like '%z%'", true, "boolean"],
  ["s || code", "abcUA", "string"],
  ["concat(s, '-', code)", "abc-UA", "string"],
  ["substr(s, 2)", "bc", "string"],
  ["substr(s, 1, 2)", "ab", "string"],
  ["substr('a🙂b', 2, 1)", "🙂", "string"],
  ["length('a🙂b')", 3, "int"],
  ["trim('  x ')", "x", "string"],
  ["'it''s'", "it's", "string"],
  ["case code when 'UA' then 1 when 'AA' then 2 else 3 end", 1, "int"],
  ["case when i > 10 then 'big' end", null, "string"],
  ["iif(flag, 1, 2.5)", 1, "double"],
  ["if(i > 5, code, s)", "UA", "string"],
  ["coalesce(null, i)", 7, "int"],
  ["nullif(i, 7)", null, "int"],
  ["greatest(i, j, 3)", 7, "int"],
  ["least(i, 2.5)", 2.5, "double"],
  ["greatest(t, '2014-01-01T00:00:00Z')", Date.UTC(2014, 0, 1) * 1000, "timestamp"],
  ["abs(-a)", 2.5, "double"],
  ["abs(u - t)", HOUR, "long"],
  ["round(a)", 3, "double"],
  ["round(-2.675, 2)", -2.67, "double"],
  ["floor(-a) + ceil(a) + trunc(a)", 2, "double"],
  ["sqrt(power(b, 2))", 5, "double"],
  ["exp(0) + ln(1)", 1, "double"],
  ["div(-7, 2)", -3, "int"],
  ["mod(-7, 2)", -1, "int"],
  ["int(round(a))", 3, "int"],
  ["long(i)", 7, "long"],
  ["double(i)", 7, "double"],
  ["float(0.1)", Math.fround(0.1), "float"],
  ["cast(i as real) / 2", 3.5, "double"],
  ["text(i) || text(flag) || text(a)", "7true2.5", "string"],
  ["text(t)", "2013-07-01T12:00:00Z", "string"],
  ["text(d)", "2013-07-01", "string"],
  ["try_int(' 42 ')", 42, "int"],
  ["try_int('42.0')", null, "int"],
  ["try_int('2147483648')", null, "int"],
  ["try_long('9007199254740993')", 9_007_199_254_740_993n, "long"],
  ["try_double('1e3')", 1000, "double"],
  ["try_double('NaN')", null, "double"],
  ["try_double('1e999')", null, "double"],
  ["try_timestamp('2013-07-01T08:00:00-04:00')", NOON, "timestamp"],
  ["try_timestamp('2013-07-01T08:00:00')", null, "timestamp"],
  ["try_date('2013-07-01')", 15_887, "date"],
  ["t - hours(1)", NOON - HOUR, "timestamp"],
  ["minutes(30) + t", NOON + HOUR / 2, "timestamp"],
  ["t + minutes(i + a)", NOON + 570_000_000, "timestamp"],
  ["t - u", HOUR, "long"],
  ["(t - u) / hours(2)", 0.5, "double"],
  ["t - u > minutes(59)", true, "boolean"],
  ["(t - u) * 2", 2 * HOUR, "long"],
  ["t - days(1) < u", true, "boolean"],
  ["t = '2013-07-01T12:00:00Z'", true, "boolean"],
  ["t in ('2013-07-01T14:00:00+02:00')", true, "boolean"],
  ["t between '2013-07-01' and '2013-07-02'", true, "boolean"],
  ["t - '2013-07-01'", 12 * HOUR, "long"],
  ["d + 1", 15_888, "date"],
  ["d - '2013-06-30'", 1, "int"],
  ["d > '2013-01-01'", true, "boolean"],
  ["hour(t, 'America/New_York')", 8, "int"],
  ["hour(t, 'Asia/Kolkata') * 100 + minute(t, 'Asia/Kolkata')", 1730, "int"],
  ["weekday(t, 'UTC')", 1, "int"],
  ["weekday(d)", 1, "int"],
  ["year(t, 'UTC') * 10000 + month(d) * 100 + day(d)", 20_130_701, "int"],
  ["date(t, 'Pacific/Kiritimati')", 15_888, "date"],
  ["as_of()", NOON, "timestamp"],
  ["as_of() - t", 0, "long"],
  ["age_hours(w)", 1.5, "double"],
  ["w.speed", 10, "double"],
  ["raw", ROW.raw!, "bytes"],
  ["coalesce(raw, raw)", ROW.raw!, "bytes"],
  ["code", "UA", "string"],
];

describe("evaluates", () => {
  test.each(GOOD)("%s", (sql, value, type) => {
    const result = run(sql);
    expect(result.failure).toBeUndefined();
    expect(result.value).toEqual(value);
    expect(result.output.type as string).toBe(type);
  });
});

describe("null in, null out, without a failure", () => {
  const nulls = Object.fromEntries(Object.keys(ROW).map((name) => [name, null]));
  test.each([
    "i + 1",
    "a / b",
    "ln(a)",
    "upper(s)",
    "s like 'a%'",
    "hour(t, 'UTC')",
    "hour(t + hours(1), 'UTC')",
    "age_hours(w)",
    "minutes(a)",
    "int(a)",
    "try_int(s)",
    "substr(s, i)",
    "text(i)",
    "i in (1, 2)",
    "i between 1 and 2",
    "flag and true",
    "mod(i, 3)",
    "round(a + 1, 2)",
  ])("%s", (sql) => {
    expect(run(sql, nulls)).toMatchObject({ value: null, failure: undefined, output: { nullable: true } });
  });
});

test("an identity column bypasses SQLite and keeps its value, bigints and bytes too", () => {
  for (const name of ["big", "raw", "flag", "code", "a"]) {
    const { value, output } = run(name);
    expect(value).toBe(ROW[name]!);
    expect(output).toMatchObject({ identity: true, columns: [name], canonical: name });
  }
  expect(run("(i)").output.identity).toBe(true);
  expect(run("i + 0").output.identity).toBe(false);
});

test("widening to the expected type", () => {
  expect(run("i", {}, { expect: "double" })).toMatchObject({ value: 7, output: { type: "double", identity: true } });
  expect(run("i + 1", {}, { expect: "long" })).toMatchObject({ value: 8, output: { type: "long" } });
  expect(run("j", {}, { expect: "float" })).toMatchObject({ value: 2, output: { type: "float" } });
  expect(run("big", {}, { expect: "double" })).toMatchObject({ value: null, failure: "overflow" });
  expect(run("big", { big: 4 }, { expect: "double" })).toMatchObject({ value: 4, failure: undefined });
  expect(run("null", {}, { expect: "int" })).toMatchObject({ value: null, output: { type: "int", nullable: true } });
  expect(run("s", {}, { expect: "enum" }).output.type).toBe("enum");
});

test("a result outside its type is an overflow that names the value", () => {
  const result = run("i * i", { i: 2_000_000_000 });
  expect(result).toMatchObject({ value: null, failure: "overflow" });
  expect(result.message).toContain("4000000000000000000");
  expect(run("int(b)", { b: 3e9 }).failure).toBe("overflow");
  expect(run("float(b)", { b: 1e40 }).failure).toBe("overflow");
  expect(run("t + days(b)", { b: 1e15 }).failure).toBe("overflow");
  expect(run("d + i", { i: 2_147_483_647 }).failure).toBe("overflow");
  expect(run("exp(b)", { b: 1000 }).failure).toBe("overflow");
  expect(run("hour(t + days(i), 'UTC')", { i: 2_000_000 }).failure).toBe("overflow");
});

test("a failure of one output leaves the others alone", () => {
  const sources = ["1 / b", "b + 1", "ln(b - 1)", "s"].map((sql, n) => ({ name: `e${n}`, sql, place: "test" }));
  const program = compile(sources, SCOPE);
  const result = program.evaluate(program.inputs.map((name) => (name === "b" ? 0 : "text")));
  expect(result.values).toEqual([null, 1, null, "text"]);
  expect(result.failures.map(({ output, status }) => [output, status])).toEqual([
    [0, "undefined"],
    [2, "undefined"],
  ]);
  // and the next row is clean
  expect(program.evaluate(program.inputs.map((name) => (name === "b" ? 2 : "text"))).failures).toEqual([]);
  program.close();
  expect(() => program.evaluate([])).toThrow("closed");
});

test("a value its column can't hold is reported by every output that reads it, and by no other", () => {
  const sources = ["i + 1", "b + 1", "hour(t, 'UTC')"].map((sql, n) => ({ name: `e${n}`, sql, place: "test" }));
  const program = compile(sources, SCOPE);
  const bad: Record<string, Value> = { i: 1.5, b: 2, t: "noon" };
  const result = program.evaluate(program.inputs.map((name) => bad[name]!));
  expect(result.values).toEqual([null, 3, null]);
  expect(result.failures.map(({ output, status }) => [output, status])).toEqual([
    [2, "wrong_type"],
    [0, "wrong_type"],
  ]);
  program.close();
});

test("as_of() without an instant fails the outputs that read it only", () => {
  const sources = ["as_of()", "age_hours(w)", "b + 1"].map((sql, n) => ({ name: `e${n}`, sql, place: "test" }));
  const program = compile(sources, SCOPE);
  const result = program.evaluate(program.inputs.map((name) => ROW[name]!));
  expect(result.values).toEqual([null, null, 6]);
  expect(result.failures.map((failure) => failure.status)).toEqual(["wrong_type", "wrong_type"]);
  program.close();
});

test("lineage: columns in order of first use, from the syntax tree", () => {
  const columns = (sql: string) => run(sql).output.columns;
  expect(columns("b + a * b")).toEqual(["b", "a"]);
  expect(columns("case when flag then s else code end")).toEqual(["flag", "s", "code"]);
  expect(columns("age_hours(w)")).toEqual(["w.time"]);
  expect(columns("hour(t, 'UTC')")).toEqual(["t"]);
  expect(columns("as_of()")).toEqual([]);
  expect(columns("'i'")).toEqual([]);
  const program = compile(
    ["b + a", "i", "a"].map((sql, n) => ({ name: `e${n}`, sql, place: "test" })),
    SCOPE,
  );
  expect(program.inputs).toEqual(["b", "a", "i"]);
  program.close();
});

test("canonical text: one form for one meaning, and it reads back as itself", () => {
  const canonical = (sql: string) => run(sql).output.canonical;
  expect(canonical("I\n+ 1 -- a comment".replace("I", "i"))).toBe("(i + 1)");
  expect(canonical("s  IS NOT NULL")).toBe(canonical("s notnull"));
  expect(canonical("a != 0x10")).toBe("(a <> 16)");
  expect(canonical("COALESCE([a], `b`)")).toBe("coalesce(a, b)");
  expect(canonical("t > '2013-01-01T02:00:00+02:00'")).toBe("(t > '2013-01-01T00:00:00Z')");
  for (const [sql] of GOOD) expect([sql, canonical(canonical(sql))]).toEqual([sql, canonical(sql)]);
  for (const [sql] of GOOD) expect([sql, computed(canonical(sql))]).toEqual([sql, computed(sql)]);
});

test("nullable is known before a row is seen", () => {
  for (const [sql, nullable] of [
    ["j + 1", false],
    ["i + 1", true],
    ["coalesce(i, 0)", false],
    ["b / 2", false],
    ["b / j", true],
    ["i is null", false],
    ["i is j", false],
    ["nullif(j, 1)", true],
    ["case when true then j end", true],
    ["case when true then j else 1 end", false],
    ["hour(u, 'UTC')", false],
    ["try_int(code)", true],
  ] as const) {
    expect([sql, run(sql).output.nullable]).toEqual([sql, nullable]);
  }
});

test("aggregates: the function and its argument", () => {
  const scope = scopeOf({ dep_delay: "double?", n: "int", t: "timestamp", s: "string", flag: "boolean" });
  const parse = (sql: string) => compileAggregate("x", sql, "test", scope);
  expect(parse("count(*)")).toEqual({ name: "x", fn: "count", argument: null });
  expect(parse("AVG( dep_delay * 2 )")).toMatchObject({ fn: "avg", argument: { sql: "dep_delay * 2", place: "test" } });
  for (const sql of ["sum(n)", "std(n + 1)", "min(t)", "max(dep_delay)", "count(s)"]) {
    expect(parse(sql).argument?.sql).toBe(sql.slice(4, -1).replace(/^[(]|^t\(/, ""));
  }
  for (const [sql, code, message] of [
    ["avg(s)", "aggregate", "avg takes a number, not text"],
    ["sum(t)", "aggregate", "sum takes a number, not a timestamp"],
    ["avg(flag)", "aggregate", "not a boolean"],
    ["max(s)", "aggregate", "not text"],
    ["median(n)", "aggregate", "median is not an aggregate"],
    ["n + 1", "aggregate", "not one aggregate call"],
    ["sum(n) + 1", "aggregate", "not one aggregate call"],
    ["sum(*)", "aggregate", "no meaning"],
    ["count(distinct n)", "aggregate", "without distinct"],
    ["sum(n) filter (where flag)", "aggregate", "no filter"],
    ["avg(nope)", "unknown_column", "nope"],
    ["avg(sum(n))", "unknown_function", "sum"],
    ["avg(n", "syntax", "incomplete"],
  ] as const) {
    expect(() => parse(sql)).toThrow(expect.objectContaining({ code: `expression.${code}` }));
    expect(() => parse(sql)).toThrow(message);
  }
});

test("the function library as data: every function is documented and its example compiles or needs columns", () => {
  const docs = functionDocs();
  expect(new Set(docs.map((entry) => entry.name)).size).toBe(docs.length);
  for (const entry of docs) {
    expect(entry.doc.length).toBeGreaterThan(5);
    expect(entry.doc).toEndWith(".");
    expect(entry.forms.length).toBeGreaterThan(0);
  }
  const scope = scopeOf(
    {
      scheduled: "timestamp",
      dep_delay: "double?",
      distance: "double",
      minutes_late: "int",
      flight: "int",
      carrier: "string",
      tailnum: "string?",
      origin: "string",
      dest: "string",
      raw: "string",
      visib: "double",
      x: "double",
      a: "int",
      b: "int",
      "plane.seats": "int?",
      "weather.time_hour": "timestamp?",
    },
    { asOf: true, eventTimes: new Map([["weather", "weather.time_hour"]]) },
  );
  for (const { name, example } of docs) {
    const program = compile([{ name, sql: example, place: "docs" }], scope);
    expect(program.outputs[0]!.canonical).toContain(name === "iif" || name === "if" ? "case" : name);
    program.close();
  }
});

test("a program over too many expressions is refused", () => {
  const many = Array.from({ length: 1_001 }, (_, n) => ({ name: `e${n}`, sql: "1", place: "test" }));
  expect(() => compile(many, SCOPE)).toThrow("at most 1000");
  expect(refusal("nope").retryable).toBe(false);
});
