import type { Span } from "sqlite3-parser";
import { adviceFor, besideTemporal } from "./align.ts";
import { arithmeticOf, constant, negativeOf, wholeConstant } from "./direct.ts";
import { hullOf, INT64, isNumber, isReal, isWhole, type Kind, kindWord, magnitude, type Range } from "./kinds.ts";
import { type Context, realText, type SqlValue, type Typed, typed, whole } from "./typed.ts";

type Sign = "+" | "-" | "*" | "/" | "%";

const VERBS: Readonly<Record<Sign, string>> = {
  "+": "+ can't add",
  "-": "- can't subtract",
  "*": "* can't multiply",
  "/": "/ can't divide",
  "%": "% can't take the remainder of",
};

/** `a + b` and its like: numbers, and the few meanings that timestamps, dates and durations have. */
export function arithmetic(context: Context, sign: Sign, left: Typed, right: Typed, span: Span): Typed | undefined {
  const a = besideTemporal(context, left, right);
  const b = besideTemporal(context, right, left);
  if (a === undefined || b === undefined) return undefined;
  const kind = resultKind(sign, a.kind, b.kind);
  if (kind === undefined) return refuse(context, sign, a, b, span);
  const step = kind === "double" ? realStep(context, sign, a, b) : wholeStep(context, sign, a, b);
  return typed({
    kind,
    nullable: a.nullable || b.nullable || ((sign === "/" || sign === "%") && !nonzero(b)),
    canonical: `(${a.canonical} ${sign} ${b.canonical})`,
    span,
    fallible: a.fallible || b.fallible,
    direct: arithmeticOf(sign, kind === "double", a.direct, b.direct),
    ...step,
  });
}

function resultKind(sign: Sign, a: Kind, b: Kind): Kind | undefined {
  if (a === "null")
    return b === "null" || b === "string" || b === "boolean" || b === "bytes" ? undefined : resultOfNull(sign, b);
  if (b === "null") return resultKindOfNullRight(sign, a);
  if (sign === "/") {
    if (a === "duration" && b === "duration") return "double";
    return isNumber(a) && isNumber(b) && (isReal(a) || isReal(b)) ? "double" : undefined;
  }
  if (sign === "%") return isWhole(a) && isWhole(b) ? widest(a, b) : undefined;
  if (isNumber(a) && isNumber(b)) return isReal(a) || isReal(b) ? "double" : widest(a, b);
  const shape = `${a} ${sign} ${isWhole(b) ? "n" : b}`;
  return TEMPORAL[shape] ?? (sign === "*" && isWhole(a) && b === "duration" ? "duration" : undefined);
}

const TEMPORAL: Readonly<Record<string, Kind>> = {
  "timestamp + duration": "timestamp",
  "duration + timestamp": "timestamp",
  "timestamp - duration": "timestamp",
  "timestamp - timestamp": "duration",
  "duration + duration": "duration",
  "duration - duration": "duration",
  "duration * n": "duration",
  "date + n": "date",
  "date - n": "date",
  "date - date": "int",
};

const widest = (a: Kind, b: Kind): Kind => (a === "long" || b === "long" ? "long" : "int");

/** A bare null takes the kind that makes the step legal. */
function resultOfNull(sign: Sign, b: Kind): Kind | undefined {
  for (const guess of [b, "duration", "int", "double"] as const) {
    const kind = resultKind(sign, guess, b);
    if (kind !== undefined) return kind;
  }
  return undefined;
}

function resultKindOfNullRight(sign: Sign, a: Kind): Kind | undefined {
  for (const guess of [a, "duration", "int", "double"] as const) {
    const kind = resultKind(sign, a, guess);
    if (kind !== undefined) return kind;
  }
  return undefined;
}

const nonzero = (value: Typed): boolean =>
  value.number !== undefined
    ? Number(value.number) !== 0
    : value.range !== undefined && (value.range.low > 0n || value.range.high < 0n);

function realStep(context: Context, sign: Sign, a: Typed, b: Typed) {
  const real = a.kind === "duration" ? `CAST(${a.run} AS REAL)` : a.run;
  const safe = sign === "/" ? nonzero(b) && b.number !== undefined && a.finite : a.finite && b.finite;
  const watch = watched(context, sign, 2, (x, y) => calculate(sign, x, y!));
  return {
    run: `(${real} ${sign} ${b.run})`,
    explain: `${watch}(${a.explain}, ${b.explain})`,
    fallible: a.fallible || b.fallible || !safe,
    finite: false,
  };
}

function calculate(sign: Sign, x: number, y: number): number {
  if (sign === "+") return x + y;
  if (sign === "-") return x - y;
  if (sign === "*") return x * y;
  return y === 0 ? Number.NaN : x / y;
}

/**
 * The SQL name of a helper that repeats a real step and marks it where no number, or an infinite one, comes out of
 * finite numbers. It serves the explaining statement only.
 */
export function watched(
  context: Context,
  words: string,
  arity: 1 | 2,
  calculate: (x: number, y: number | undefined) => number,
): string {
  const judge = (x: SqlValue, y: SqlValue | undefined): SqlValue => {
    if (x === null || y === null) return null;
    const result = calculate(Number(x), y === undefined ? undefined : Number(y));
    const shown =
      y === undefined ? `${words}(${x})` : /^\w/.test(words) ? `${words}(${x}, ${y})` : `${x} ${words} ${y}`;
    if (Number.isNaN(result)) context.mark("undefined", `${shown} is not a number`);
    else if (!Number.isFinite(result)) context.mark("overflow", `${shown} is beyond the largest double`);
    return Number.isNaN(result) ? null : result;
  };
  return context.helper(`watch ${context.output} ${words}`, true, () =>
    arity === 1 ? (x: SqlValue) => judge(x, undefined) : (x: SqlValue, y: SqlValue) => judge(x, y),
  );
}

function wholeStep(context: Context, sign: Sign, a: Typed, b: Typed) {
  if (sign === "%" || sign === "/") return remainder(context, sign, a, b);
  const bounds = wholeRange(sign, a.range ?? INT64, b.range ?? INT64);
  const run = whole(context, `(${a.run} ${sign} ${b.run})`, bounds, sign);
  const explain = whole(context, `(${a.explain} ${sign} ${b.explain})`, bounds, sign);
  return { run: run.sql, explain: explain.sql, range: run.range };
}

function wholeRange(sign: Sign, a: Range, b: Range): Range {
  if (sign === "+") return { low: a.low + b.low, high: a.high + b.high };
  if (sign === "-") return { low: a.low - b.high, high: a.high - b.low };
  const corners = [a.low * b.low, a.low * b.high, a.high * b.low, a.high * b.high];
  return corners.map((corner) => ({ low: corner, high: corner })).reduce(hullOf);
}

/** `a % b` and `div(a, b)`: whole, towards zero; by zero is undefined. */
function remainder(context: Context, sign: "%" | "/", a: Typed, b: Typed) {
  const most = magnitude(a.range ?? INT64);
  const bounds = { low: -most, high: most };
  const words = sign === "%" ? "%" : "div";
  const run = whole(context, `(${a.run} ${sign} ${b.run})`, bounds, words);
  const fallible = a.fallible || b.fallible || !nonzero(b);
  if (!fallible) return { run: run.sql, explain: run.sql, range: run.range, fallible };
  const watch = context.helper(`watch ${context.output} whole ${words}`, true, () => (x: SqlValue, y: SqlValue) => {
    if (typeof x !== "bigint" || typeof y !== "bigint") return null;
    if (y !== 0n) return BigInt.asIntN(64, sign === "%" ? x % y : x / y);
    context.mark("undefined", `${x} ${words} 0 is not a number`);
    return null;
  });
  return { run: run.sql, explain: `${watch}(${a.explain}, ${b.explain})`, range: run.range, fallible };
}

/** `div(a, b)`. */
export function quotient(context: Context, a: Typed, b: Typed): Partial<Typed> & { run: string } {
  return remainder(context, "/", a, b);
}

/** `mod(a, b)` of whole numbers. */
export function modulo(context: Context, a: Typed, b: Typed): Partial<Typed> & { run: string } {
  return remainder(context, "%", a, b);
}

/** `-a`. */
export function negative(context: Context, value: Typed, span: Span): Typed | undefined {
  if (!isNumber(value.kind) && value.kind !== "duration") {
    context.problem("type_mismatch", `- can't negate ${kindWord(value.kind)}`, span);
    return undefined;
  }
  if (value.number !== undefined) return numberLiteral(-value.number as number | bigint, span);
  const common = { kind: value.kind, nullable: value.nullable, canonical: `(- ${value.canonical})`, span };
  const { fallible, finite } = value;
  const direct = negativeOf(value.range === undefined, value.direct);
  if (value.range === undefined) {
    return typed({ ...common, run: `(- ${value.run})`, explain: `(- ${value.explain})`, fallible, finite, direct });
  }
  const bounds = { low: -value.range.high, high: -value.range.low };
  const run = whole(context, `(- ${value.run})`, bounds, "-");
  const explain = whole(context, `(- ${value.explain})`, bounds, "-");
  return typed({ ...common, run: run.sql, explain: explain.sql, range: run.range, fallible, finite, direct });
}

/** A number literal: a bigint is whole (int where it fits), a number is a double. */
export function numberLiteral(value: number | bigint, span: Span): Typed {
  if (typeof value === "number") {
    const sql = realText(value);
    return typed({
      kind: "double",
      nullable: false,
      run: sql,
      canonical: sql,
      span,
      number: value,
      direct: constant(value + 0),
    });
  }
  const small = value >= -(2n ** 31n) && value < 2n ** 31n;
  // the least long has no literal of its own in SQLite
  const sql = value === INT64.low ? `(${value + 1n} - 1)` : String(value);
  const range = { low: value, high: value };
  const canonical = String(value);
  const direct = wholeConstant(value);
  return typed({
    kind: small ? "int" : "long",
    nullable: false,
    run: sql,
    canonical,
    span,
    number: value,
    range,
    direct,
  });
}

function refuse(context: Context, sign: Sign, a: Typed, b: Typed, span: Span): undefined {
  if (sign === "/" && isWhole(a.kind) && isWhole(b.kind)) {
    context.problem("integer_division", "a whole number divided by a whole number would drop the fraction", span);
  } else if (sign === "%" && isNumber(a.kind) && isNumber(b.kind)) {
    context.problem("type_mismatch", "% works on whole numbers only", span, "Write mod(a, b) for real numbers.");
  } else if (sign === "+" && a.kind === "string" && b.kind === "string") {
    context.problem("type_mismatch", "+ can't add text", span, "Join text with ||.");
  } else {
    const message = `${VERBS[sign]} ${kindWord(a.kind)} and ${kindWord(b.kind)}`;
    context.problem("type_mismatch", message, span, adviceFor(a.kind, b.kind));
  }
  return undefined;
}
