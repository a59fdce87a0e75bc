import { expect, test } from "bun:test";
import { compile } from "../../src/expression/compile.ts";
import { computed, refusal, run, scopeOf } from "./support.ts";

/** Each test is a way in which SQLite alone gives a silently wrong answer. */

test("a double that holds 5.0 does not divide as an integer", () => {
  expect(computed("b / 2", { b: 5 })).toBe(2.5);
  expect(computed("b / j", { b: 5 })).toBe(2.5);
  expect(computed("round(b) / 2", { b: 5 })).toBe(2.5);
  expect(computed("least(b, 7) / 2", { b: 5 })).toBe(2.5);
});

test("text is not a number in arithmetic", () => {
  expect(refusal("'abc' + 1").code).toBe("expression.type_mismatch");
});

test("5 / 2 is refused, not 2", () => {
  expect(refusal("5 / 2").code).toBe("expression.integer_division");
  expect(computed("div(5, 2)")).toBe(2);
  expect(computed("double(5) / 2")).toBe(2.5);
});

test("a double-quoted name that does not exist is not a text", () => {
  expect(refusal('"no_such"').code).toBe("expression.double_quoted");
  expect(refusal('"i"').code).toBe("expression.double_quoted");
  expect(refusal('w."speed"').code).toBe("expression.double_quoted");
});

test("columns equal but for case are refused, not read twice", () => {
  const scope = scopeOf({ a: "int", A: "int" });
  expect(refusal("a + 1", scope).code).toBe("expression.ambiguous_column");
});

test("two outputs of one name stay two", () => {
  const program = compile(
    ["j + 1", "j + 2"].map((sql) => ({ name: "same", sql, place: "test" })),
    scopeOf({ j: "int" }),
  );
  expect(program.evaluate([1]).values).toEqual([2, 3]);
  program.close();
});

test("columns called null, true and current_date are not shadowed", () => {
  const scope = scopeOf({ null: "int", true: "int", current_date: "int" });
  const program = compile([{ name: "x", sql: "`null` + [true] * 10 + `current_date` * 100", place: "test" }], scope);
  expect(program.inputs).toEqual(["null", "true", "current_date"]);
  expect(program.evaluate([1, 2, 3]).values).toEqual([321]);
  program.close();
  expect(refusal("true", scope).code).toBe("expression.ambiguous_column");
  expect(refusal("current_date", scope).code).toBe("expression.forbidden");
});

test("a second statement is refused", () => {
  expect(refusal("1; drop table x").code).toBe("expression.not_one_expression");
  expect(refusal("1;").code).toBe("expression.not_one_expression");
});

test("no clock gets in, under any name", () => {
  for (const sql of [
    "datetime('now')",
    "date('now')",
    "julianday()",
    "strftime('%s', 'now')",
    "unixepoch()",
    "now()",
  ]) {
    expect(refusal(sql).code).toBeOneOf(["expression.unknown_function", "expression.arguments"]);
  }
  for (const sql of ["current_date", "current_time", "CURRENT_TIMESTAMP"]) {
    expect(refusal(sql).code).toBe("expression.forbidden");
  }
});

test("no randomness gets in", () => {
  expect(refusal("random()").code).toBe("expression.unknown_function");
  expect(refusal("randomblob(8)").code).toBe("expression.unknown_function");
});

test("null goes through greatest, least, concat and || alike", () => {
  expect(computed("greatest(1, i)", { i: null })).toBeNull();
  expect(computed("least(1, i)", { i: null })).toBeNull();
  expect(computed("concat('a', s)", { s: null })).toBeNull();
  expect(computed("'a' || s", { s: null })).toBeNull();
});

test("a long beyond 2^53 is exact, and one beyond 2^63 is an overflow", () => {
  expect(computed("big + 0")).toBe(9_007_199_254_740_993n);
  expect(run("big + 1", { big: 2n ** 63n - 1n })).toMatchObject({ value: null, failure: "overflow" });
  expect(run("big + 0", { big: 2n ** 64n })).toMatchObject({ value: null, failure: "wrong_type" });
  expect(run("abs(big)", { big: -(2n ** 63n) })).toMatchObject({ value: null, failure: "overflow" });
});

test("a long and a double are compared exactly, not as doubles", () => {
  expect(computed("big = b", { b: 2 ** 53 })).toBe(false);
  expect(computed("big > b", { b: 2 ** 53 })).toBe(true);
  expect(computed("big in (b, 1)", { b: 2 ** 53 })).toBe(false);
  expect(run("coalesce(big, b)").failure).toBe("overflow");
});

test("a real literal arrives with all its bits", () => {
  for (const literal of ["0.1", "1e23", "5e-324", "1.7976931348623157e308", "9007199254740993.0", "8.41e21"]) {
    expect(computed(literal)).toBe(Number(literal));
  }
});

test("an overflow inside a comparison or a coalesce is not hidden", () => {
  expect(run("big + 1 > 5", { big: 2n ** 63n - 1n }).failure).toBe("overflow");
  expect(run("coalesce(big * big, 0)").failure).toBe("overflow");
});

test("upper knows more than ASCII", () => {
  expect(computed("upper('é') || lower('ÅB')")).toBe("Éåb");
  expect(computed("upper(s)", { s: "straße" })).toBe("STRASSE");
});

test("nothing can allocate a gigabyte", () => {
  expect(refusal("zeroblob(1e9)").code).toBe("expression.unknown_function");
  expect(refusal("printf('%1000000000d', 1)").code).toBe("expression.unknown_function");
});

test("19.99 * 100 is not cut to 1998", () => {
  expect(run("cast(19.99 * 100 as integer)")).toMatchObject({ value: null, failure: "undefined" });
  expect(computed("cast(round(19.99 * 100) as integer)")).toBe(1999);
});

test("cast from text is refused: '12abc' is no 12", () => {
  expect(refusal("cast(s as integer)").code).toBe("expression.cast");
  expect(computed("try_int(s)", { s: "12abc" })).toBeNull();
});

test("NaN and infinity never come out", () => {
  expect(run("b * b", { b: 1e308 })).toMatchObject({ value: null, failure: "overflow" });
  expect(run("b * b - b * b", { b: 1e308 })).toMatchObject({ value: null, failure: "overflow" });
  expect(run("a + 1", { a: Number.NaN })).toMatchObject({ value: null, failure: "wrong_type" });
  expect(run("a + 1", { a: Number.POSITIVE_INFINITY })).toMatchObject({ value: null, failure: "wrong_type" });
});

test("1/0, ln(-1) and the like are null and say why; a null input is only null", () => {
  for (const sql of ["1.0 / i", "ln(i)", "div(1, i)", "5 % i", "mod(5, i)", "mod(5.5, i)", "sqrt(i - 1)"]) {
    expect([sql, run(sql, { i: 0 })]).toMatchObject([sql, { value: null, failure: "undefined" }]);
    expect([sql, run(sql, { i: null })]).toMatchObject([sql, { value: null, failure: undefined }]);
  }
  expect(run("coalesce(1.0 / i, 9.5)", { i: 0 })).toMatchObject({ value: 9.5, failure: undefined });
});

test("AND and OR take booleans only", () => {
  expect(refusal("i and flag").code).toBe("expression.not_boolean");
  expect(refusal("'true' or flag").code).toBe("expression.not_boolean");
  expect(refusal("not i").code).toBe("expression.not_boolean");
});

test("a comparison across types is refused, not false", () => {
  for (const sql of ["i = '7'", "t > 5", "flag = 1", "d = t", "s < 5", "raw = 'x'", "t = s"]) {
    expect([sql, refusal(sql).code]).toEqual([sql, "expression.type_mismatch"]);
  }
});

test("mixed CASE branches are refused; int and double widen", () => {
  expect(refusal("case when flag then 1 else 'a' end").code).toBe("expression.type_mismatch");
  const mixed = run("case when flag then 1 else 2.5 end / 2");
  expect(mixed.value).toBe(0.5);
});

test("text with a NUL inside keeps its length", () => {
  expect(computed("length(s)", { s: "a\0b" })).toBe(3);
  expect(computed("s || 'c'", { s: "a\0b" })).toBe("a\0bc");
  expect(computed("s like 'a%b'", { s: "a\0b" })).toBe(true);
});

test("round is not fooled by adding one half", () => {
  expect(computed("round(b)", { b: 0.49999999999999994 })).toBe(0);
  expect([computed("round(b)", { b: 2.5 }), computed("round(b)", { b: -2.5 })]).toEqual([3, -3]);
});

test("% of reals is refused, not taken of whole parts", () => {
  expect(refusal("5.5 % 2").code).toBe("expression.type_mismatch");
  expect(computed("mod(5.5, 2)")).toBe(1.5);
});

test("a comparison gives a boolean, not 0 or 1", () => {
  expect(run("i > 5")).toMatchObject({ value: true, output: { type: "boolean" } });
  expect(refusal("(i > 5) + 1").code).toBe("expression.type_mismatch");
});

test("like is bounded however the pattern is written", () => {
  const started = performance.now();
  expect(computed(`s like '${"%a".repeat(90)}b'`, { s: "a".repeat(20_000) })).toBe(false);
  expect(performance.now() - started).toBeLessThan(2_000);
});
