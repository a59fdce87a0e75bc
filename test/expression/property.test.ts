import { expect, test } from "bun:test";
import fc from "fast-check";
import { MlpeError } from "../../src/base/errors.ts";
import type { Value } from "../../src/base/row.ts";
import { compile } from "../../src/expression/compile.ts";
import { functionDocs } from "../../src/expression/docs.ts";
import { zoneOffset } from "../../src/expression/zones.ts";
import { ROW, SCOPE, scopeOf } from "./support.ts";

const scope = scopeOf({ i: "int?", j: "int", a: "double?", b: "double", p: "boolean?", q: "boolean" });

interface Row {
  readonly i: bigint | null;
  readonly j: bigint;
  readonly a: number | null;
  readonly b: number;
  readonly p: boolean | null;
  readonly q: boolean;
}

/** A random expression, and the slow obvious meaning of it. Whole numbers are bigints, reals numbers. */
interface Node<T> {
  readonly sql: string;
  readonly of: (row: Row) => T | null;
}
type Whole = Node<bigint>;
type Real = Node<number>;
type Truth = Node<boolean>;

const leaf = <T>(sql: string, of: (row: Row) => T | null): fc.Arbitrary<Node<T>> => fc.constant({ sql, of });

function lift<A, T>(sql: string, x: Node<A>, y: Node<A>, f: (x: A, y: A) => T | null): Node<T> {
  return {
    sql,
    of: (row) => {
      const [left, right] = [x.of(row), y.of(row)];
      return left === null || right === null ? null : f(left, right);
    },
  };
}

function choose<T>(when: Truth, yes: Node<T>, no: Node<T>): Node<T> {
  const sql = `case when ${when.sql} then ${yes.sql} else ${no.sql} end`;
  return { sql, of: (row) => (when.of(row) === true ? yes.of(row) : no.of(row)) };
}

function firstOf<T>(x: Node<T>, y: Node<T>): Node<T> {
  return { sql: `coalesce(${x.sql}, ${y.sql})`, of: (row) => x.of(row) ?? y.of(row) };
}

const COMPARE: readonly (readonly [string, (x: number | bigint, y: number | bigint) => boolean])[] = [
  ["<", (x, y) => x < y],
  ["<=", (x, y) => x <= y],
  [">", (x, y) => x > y],
  [">=", (x, y) => x >= y],
  // biome-ignore lint/suspicious/noDoubleEquals: 1n == 1
  ["=", (x, y) => x == y],
  // biome-ignore lint/suspicious/noDoubleEquals: 1n != 1.5
  ["<>", (x, y) => x != y],
];

function both(x: Truth, y: Truth): Truth {
  return {
    sql: `(${x.sql} and ${y.sql})`,
    of: (row) => {
      const sides = [x.of(row), y.of(row)];
      return sides.includes(false) ? false : sides.includes(null) ? null : true;
    },
  };
}

function either(x: Truth, y: Truth): Truth {
  return {
    sql: `(${x.sql} or ${y.sql})`,
    of: (row) => {
      const sides = [x.of(row), y.of(row)];
      return sides.includes(true) ? true : sides.includes(null) ? null : false;
    },
  };
}

const not = (x: Truth): Truth => ({
  sql: `(not ${x.sql})`,
  of: (row) => {
    const value = x.of(row);
    return value === null ? null : !value;
  },
});

const toReal = (x: Whole): Real => ({
  sql: `double(${x.sql})`,
  of: (row) => {
    const value = x.of(row);
    return value === null ? null : Number(value);
  },
});

const isNull = (x: Node<unknown>): Truth => ({ sql: `(${x.sql} is null)`, of: (row) => x.of(row) === null });

const { whole, real, truth } = fc.letrec<{ whole: Whole; real: Real; truth: Truth }>((tie) => ({
  whole: fc.oneof(
    { maxDepth: 4, depthSize: "small" },
    leaf("i", (row) => row.i),
    leaf("j", (row) => row.j),
    fc.integer({ min: -9, max: 9 }).map((n): Whole => ({ sql: n < 0 ? `(${n})` : `${n}`, of: () => BigInt(n) })),
    fc.tuple(tie("whole"), tie("whole")).map(([x, y]) => lift(`(${x.sql} + ${y.sql})`, x, y, (l, r) => l + r)),
    fc.tuple(tie("whole"), tie("whole")).map(([x, y]) => lift(`(${x.sql} - ${y.sql})`, x, y, (l, r) => l - r)),
    tie("whole").map((x) => lift(`(${x.sql} * 3)`, x, x, (l) => l * 3n)),
    fc
      .tuple(tie("whole"), tie("whole"))
      .map(([x, y]) => lift(`div(${x.sql}, ${y.sql})`, x, y, (l, r) => (r === 0n ? null : l / r))),
    fc
      .tuple(tie("whole"), tie("whole"))
      .map(([x, y]) => lift(`(${x.sql} % ${y.sql})`, x, y, (l, r) => (r === 0n ? null : l % r))),
    fc
      .tuple(tie("whole"), tie("whole"))
      .map(([x, y]) => lift(`greatest(${x.sql}, ${y.sql})`, x, y, (l, r) => [l, r][l < r ? 1 : 0]!)),
    fc.tuple(tie("truth"), tie("whole"), tie("whole")).map(([w, x, y]) => choose(w, x, y)),
    fc.tuple(tie("whole"), tie("whole")).map(([x, y]) => firstOf(x, y)),
  ),
  real: fc.oneof(
    { maxDepth: 4, depthSize: "small" },
    leaf("a", (row) => row.a),
    leaf("b", (row) => row.b),
    leaf("2.5", () => 2.5),
    tie("whole").map(toReal),
    fc.tuple(tie("real"), tie("real")).map(([x, y]) => lift(`(${x.sql} + ${y.sql})`, x, y, (l, r) => l + r)),
    fc.tuple(tie("real"), tie("real")).map(([x, y]) => lift(`(${x.sql} - ${y.sql})`, x, y, (l, r) => l - r)),
    fc.tuple(tie("real"), tie("real")).map(([x, y]) => lift(`(${x.sql} * ${y.sql})`, x, y, (l, r) => l * r)),
    fc
      .tuple(tie("real"), tie("real"))
      .map(([x, y]) => lift(`(${x.sql} / ${y.sql})`, x, y, (l, r) => (r === 0 ? null : l / r))),
    fc.tuple(tie("truth"), tie("real"), tie("real")).map(([w, x, y]) => choose(w, x, y)),
    fc.tuple(tie("real"), tie("real")).map(([x, y]) => firstOf(x, y)),
  ),
  truth: fc.oneof(
    { maxDepth: 4, depthSize: "small" },
    leaf("p", (row) => row.p),
    leaf("q", (row) => row.q),
    leaf("true", () => true),
    fc
      .tuple(tie("whole"), tie("whole"), fc.constantFrom(...COMPARE))
      .map(([x, y, [s, f]]) => lift(`(${x.sql} ${s} ${y.sql})`, x, y, f)),
    fc
      .tuple(tie("real"), tie("real"), fc.constantFrom(...COMPARE))
      .map(([x, y, [s, f]]) => lift(`(${x.sql} ${s} ${y.sql})`, x, y, f)),
    fc.tuple(tie("truth"), tie("truth")).map(([x, y]) => both(x, y)),
    fc.tuple(tie("truth"), tie("truth")).map(([x, y]) => either(x, y)),
    tie("truth").map(not),
    tie("whole").map(isNull),
    tie("real").map(isNull),
  ),
}));

const INT_MAX = 2n ** 31n - 1n;
const smallReal = fc.integer({ min: -80, max: 80 }).map((n) => n / 8);
const rows = fc.record({
  i: fc.option(fc.bigInt(-INT_MAX, INT_MAX)),
  j: fc.bigInt(-3n, 3n),
  a: fc.option(smallReal),
  b: smallReal,
  p: fc.option(fc.boolean()),
  q: fc.boolean(),
});

const asValue = (value: bigint | number | boolean | null): Value => (typeof value === "bigint" ? Number(value) : value);

test("arithmetic, logic and nulls agree with a slow evaluator", () => {
  fc.assert(
    fc.property(
      fc.oneof<fc.Arbitrary<Node<bigint | number | boolean>>[]>(whole, real, truth),
      fc.array(rows, { minLength: 1, maxLength: 5 }),
      (node, list) => {
        const program = compile([{ name: "x", sql: node.sql, place: "test" }], scope);
        const [output] = program.outputs;
        for (const row of list) {
          const result = program.evaluate(program.inputs.map((name) => asValue(row[name as keyof Row])));
          const meant = node.of(row);
          const [failure] = result.failures;
          const big = typeof meant === "bigint" && (meant > INT_MAX || meant < -INT_MAX - 1n);
          const infinite = typeof meant === "number" && !Number.isFinite(meant);
          if (big || infinite) expect(failure?.status).toBe("overflow");
          else expect(result.values[0] === (asValue(meant) as Value) || [result.values[0], meant, failure]).toBe(true);
          if (meant !== null && !big && !infinite) expect(failure).toBeUndefined();
          const inputs = program.inputs.map((name) => row[name as keyof Row]);
          // with no null in, a null can only come of a division by zero
          if (meant === null && !inputs.includes(null)) expect(failure?.status).toBe("undefined");
          if (meant === null && !/[/%]|div/.test(node.sql)) expect(failure).toBeUndefined();
          if (meant === null) expect(output!.nullable).toBe(true);
        }
        program.close();
      },
    ),
    { numRuns: 600 },
  );
});

const WORDS = [
  ...functionDocs().map((entry) => entry.name),
  ..."i j big f a b s t u d w flag code raw w.speed w.time nope 'text' 'UTC' '2013-01-01' 1 0 2.5 1e308 9223372036854775807 0x7f null true false".split(
    " ",
  ),
  ..."+ - * / % ( ) ( ) ( ) , , || = <> < >= and or not is is_null in between like case when then else end cast as int ; -- /* */ \" ` [ ] . ~ & :p ? x'00' collate nocase select from over filter exists distinct".split(
    " ",
  ),
];

test("no soup of tokens does anything but compile or be refused", () => {
  let compiled = 0;
  fc.assert(
    fc.property(fc.array(fc.constantFrom(...WORDS), { minLength: 1, maxLength: 12 }), (words) => {
      try {
        const program = compile([{ name: "x", sql: words.join(" "), place: "test" }], SCOPE);
        const result = program.evaluate(
          program.inputs.map((name) => ROW[name]!),
          0,
        );
        expect(result.values).toHaveLength(1);
        program.close();
        compiled++;
      } catch (error) {
        if (!(error instanceof MlpeError)) throw error;
        expect(error.code).toStartWith("expression.");
      }
    }),
    { numRuns: 4_000 },
  );
  expect(compiled).toBeGreaterThan(10);
});

test("any text at all compiles or is refused", () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary", maxLength: 30 }), (sql) => {
      try {
        compile([{ name: "x", sql, place: "test" }], SCOPE).close();
      } catch (error) {
        if (!(error instanceof MlpeError)) throw error;
      }
    }),
    { numRuns: 1_500 },
  );
});

test("offsets agree with Temporal, in any order of instants", () => {
  const zones = ["America/New_York", "Europe/Berlin", "Australia/Lord_Howe", "Asia/Kathmandu", "UTC", "+05:30"];
  const offsets = new Map(zones.map((zone) => [zone, zoneOffset(zone)]));
  const micros = fc.oneof(
    fc.integer({ min: -2_000_000_000, max: 4_000_000_000 }).map((seconds) => seconds * 1_000_000),
    // around the changes of 2013 in New York: 10 March 07:00 and 3 November 06:00 UTC
    fc
      .tuple(fc.constantFrom(Date.UTC(2013, 2, 10, 7), Date.UTC(2013, 10, 3, 6)), fc.integer({ min: -2, max: 2 }))
      .map(([at, by]) => at * 1000 + by),
  );
  fc.assert(
    fc.property(fc.constantFrom(...zones), micros, (zone, at) => {
      const nanos = Temporal.Instant.fromEpochNanoseconds(BigInt(at) * 1000n).toZonedDateTimeISO(
        zone,
      ).offsetNanoseconds;
      expect(offsets.get(zone)!(at)).toBe(nanos / 1000);
    }),
    { numRuns: 2_000 },
  );
});

test("parts of a local time agree with Temporal", () => {
  const parts = ["year", "month", "day", "weekday", "hour", "minute"];
  const sources = parts.map((part) => ({ name: part, sql: `${part}(u, 'America/New_York')`, place: "test" }));
  const inside = parts.map((part) => ({
    name: part,
    sql: `${part}(u + seconds(0), 'America/New_York')`,
    place: "test",
  }));
  const program = compile([...sources, ...inside], SCOPE);
  fc.assert(
    fc.property(fc.integer({ min: -3_000_000_000, max: 6_000_000_000 }), (seconds) => {
      const local = Temporal.Instant.fromEpochMilliseconds(seconds * 1000).toZonedDateTimeISO("America/New_York");
      const meant = [local.year, local.month, local.day, local.dayOfWeek, local.hour, local.minute];
      expect(program.evaluate([seconds * 1_000_000]).values).toEqual([...meant, ...meant]);
    }),
    { numRuns: 1_000 },
  );
  program.close();
});
