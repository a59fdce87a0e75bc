import { expect, test } from "bun:test";
import fc from "fast-check";
import { MlpeError } from "../../src/base/errors.ts";
import type { Value } from "../../src/base/row.ts";
import { compile } from "../../src/expression/compile.ts";
import type { Program } from "../../src/expression/types.ts";
import { NOON, ROW, SCOPE } from "./support.ts";

/**
 * Everyday values are computed without SQLite. Each expression is compiled twice, once so that SQLite computes every row,
 * and both must give the same bits and the same failures, for values at every edge.
 */

const sql = (...options: readonly string[]) => fc.constantFrom(...options);
const fill = (template: string, ...parts: fc.Arbitrary<string>[]) =>
  fc.tuple(...parts).map((texts) => texts.reduce((text, part) => text.replace("_", () => part), template));

const { expression } = fc.letrec<Record<"expression" | "whole" | "real" | "truth" | "time" | "span", string>>((tie) => {
  const [whole, real, truth, time, span] = [tie("whole"), tie("real"), tie("truth"), tie("time"), tie("span")];
  const depth = { maxDepth: 4, depthSize: "small" } as const;
  const compare = sql("=", "<>", "<", "<=", ">", ">=", "is", "is not");
  const sign = sql("+", "-", "*");
  const numbers = sql("i", "j", "big", "f", "a", "b", "0", "-0.0", "7", "2.5", "1e300", "null");
  return {
    whole: fc.oneof(
      depth,
      sql("i", "j", "big", "0", "1", "-3", "9007199254740993", "d - '2013-07-01'"),
      fill("(_ _ _)", whole, sign, whole),
      fill("(_ % _)", whole, whole),
      fill("div(_, _)", whole, whole),
      fill("(- _)", whole),
      fill("int(_)", whole),
      fill("coalesce(_, _)", whole, whole),
      fill("case when _ then _ else _ end", truth, whole, whole),
      fill("case _ when _ then _ end", whole, whole, whole),
      fill("abs(_)", whole),
      sql("hour(u, 'America/New_York')", "year(t, 'UTC')", "length(s)"),
    ),
    real: fc.oneof(
      depth,
      sql("a", "b", "f", "w.speed", "0.0", "-0.0", "2.5", "1e300", "age_hours(w)"),
      fill("(_ _ _)", real, sign, real),
      fill("(_ / _)", real, fc.oneof(real, whole)),
      fill("(_ _ _)", whole, sign, real),
      fill("(_ / _)", span, span),
      fill("(- _)", real),
      fill("double(_)", whole),
      fill("float(_)", real),
      fill("iif(_, _, _)", truth, real, whole),
      fill("coalesce(_, _)", real, numbers),
      fill("round(_)", real),
      fill("ln(_)", real),
    ),
    truth: fc.oneof(
      depth,
      sql("flag", "true", "false", "s = 'abc'", "s is null", "code is not null", "raw is null"),
      fill("(_ _ _)", fc.oneof(whole, real), compare, fc.oneof(whole, real)),
      fill("(_ _ _)", truth, compare, truth),
      fill("(_ _ _)", time, compare, time),
      fill("(_ > '2013-07-01T12:00:00Z')", time),
      fill("(_ between _ and _)", real, numbers, whole),
      fill("(_ not between _ and _)", whole, whole, numbers),
      fill("(_ and _)", truth, truth),
      fill("(_ or _)", truth, truth),
      fill("(not _)", truth),
      fill("(_ is null)", fc.oneof(whole, real, truth, time)),
      fill("(_ is not null)", fc.oneof(whole, real, truth, time)),
    ),
    time: fc.oneof(depth, sql("t", "u", "as_of()", "w.time"), fill("(_ + _)", time, span), fill("(_ - _)", time, span)),
    span: fc.oneof(
      depth,
      fill("minutes(_)", whole),
      fill("hours(_)", sql("1", "j", "i", "a")),
      fill("(_ - _)", time, time),
      fill("(_ * _)", span, whole),
    ),
    expression: fc.oneof(whole, real, truth, time, span),
  };
});

const SAFE = Number.MAX_SAFE_INTEGER;
const edges = (...values: readonly Value[]) => fc.constantFrom(...values);
const real = fc.oneof(edges(0, -0, 5, -1, 0.1, 1e308, -1e308, 5e-324, SAFE, 2 ** 60, null), fc.double({ noNaN: true }));
const whole = fc.oneof(edges(0, -0, 1, -1, 2, null), fc.integer());
const instant = fc.oneof(edges(0, -0, NOON, NOON - 1, SAFE, -SAFE, null), fc.maxSafeInteger());
const rows = fc.record({
  flag: edges(true, false, null),
  i: fc.oneof(whole, edges(2 ** 31 - 1, -(2 ** 31), 2 ** 31)),
  j: whole,
  big: fc.oneof(whole, edges(SAFE, -SAFE, 2n ** 53n, 2n ** 63n - 1n, -(2n ** 63n), 2 ** 53)),
  f: fc.oneof(edges(0, -0, 1.5, null), fc.float({ noNaN: true })),
  a: real,
  b: real,
  s: edges("abc", "", null),
  t: instant,
  u: instant,
  d: fc.oneof(whole, edges(15_887)),
  "w.speed": real,
  "w.time": instant,
});

function compiled(texts: readonly string[], direct: boolean): Program | undefined {
  try {
    return compile(
      texts.map((text, i) => ({ name: `x${i}`, sql: text, place: "test" })),
      SCOPE,
      { direct },
    );
  } catch (error) {
    if (error instanceof MlpeError) return undefined; // a mixture of types: refused either way
    throw error;
  }
}

test("values computed directly have the bits and the failures that SQLite gives", () => {
  let compared = 0;
  let present = 0;
  fc.assert(
    fc.property(
      fc.array(expression, { minLength: 1, maxLength: 3 }),
      fc.array(rows, { minLength: 1, maxLength: 12 }),
      (texts, list) => {
        const fast = compiled(texts, true);
        const slow = compiled(texts, false);
        expect(fast?.outputs).toEqual(slow?.outputs);
        if (fast === undefined || slow === undefined) return;
        for (const changes of list) {
          const row: Readonly<Record<string, Value>> = { ...ROW, ...changes };
          const values = fast.inputs.map((name) => row[name]!);
          const ours = fast.evaluate(values, NOON);
          const theirs = slow.evaluate(values, NOON);
          const same = ours.values.every((value, i) => Object.is(value, theirs.values[i]));
          expect([same, texts, ours.values]).toEqual([true, texts, theirs.values]);
          expect(ours.failures).toEqual(theirs.failures);
          compared++;
          if (ours.values.some((value) => value !== null)) present++;
        }
        fast.close();
        slow.close();
      },
    ),
    { numRuns: 1_500 },
  );
  expect(compared).toBeGreaterThan(1_000);
  expect(present).toBeGreaterThan(compared / 10);
});
