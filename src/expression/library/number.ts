import type { Span } from "sqlite3-parser";
import { align } from "../align.ts";
import { modulo, quotient, watched } from "../arithmetic.ts";
import { INT64, kindWord, magnitude } from "../kinds.ts";
import { anyNullable, hull, joined } from "../logic.ts";
import { type Context, type Typed, typed } from "../typed.ts";
import { argument, castTo, computed, type Form, type LibraryFunction, native, written } from "./function.ts";

const x = argument("x", "number");
const UNDEFINED = "null, with status undefined, where there is no such number";

/** Half away from zero; exact, unlike adding 0.5. */
function roundHalfAway(value: number): number {
  const cut = Math.trunc(value);
  return Math.abs(value - cut) >= 0.5 ? cut + Math.sign(value) : cut;
}

/** To `digits` decimal places of the exact binary value, half away from zero. */
function roundDigits(value: number, digits: number): number {
  if (Math.abs(value) >= 2 ** 53) return value;
  return Math.sign(value) * Number(Math.abs(value).toFixed(digits));
}

/** floor, ceil, trunc: SQLite's own for reals, nothing to do for whole numbers. */
function cut(name: string): Form {
  return {
    takes: [x],
    gives: "as given",
    print: (_, [value], span) => {
      if (value!.range !== undefined || value!.kind === "null") return { ...value!, column: undefined, span };
      return { ...native([value!], name, name, "double", span), finite: value!.finite };
    },
  };
}

/** A real function with a domain: out of it SQLite gives null, and the explaining statement says so. */
function partial(name: string, calculate: (x: number, y: number | undefined) => number, arity: 1 | 2 = 1): Form {
  return {
    takes: arity === 1 ? [x] : [x, argument("y", "number")],
    gives: "double",
    nulls: UNDEFINED,
    print: (context, values, span) => {
      const watch = watched(context, name, arity, calculate);
      return typed({
        kind: "double",
        nullable: true,
        run: castTo("double", written(name)(values.map((value) => value.run))),
        explain: written(watch)(values.map((value) => value.explain)),
        canonical: written(name)(values.map((value) => value.canonical)),
        fallible: true,
        finite: false,
        span,
      });
    },
  };
}

const logarithm = (value: number): number => (value > 0 ? Math.log(value) : Number.NaN);

function absolute(context: Context, value: Typed, span: Span): Typed {
  const printed = joined([value], ([text]) => `abs(${text})`);
  const common = { kind: value.kind, nullable: value.nullable, span, finite: value.finite, ...printed };
  if (value.range === undefined) return typed(common);
  const most = magnitude(value.range);
  if (most <= INT64.high) return typed({ ...common, range: { low: 0n, high: most } });
  return computed(context, [value], {
    name: "abs",
    key: String(context.output),
    kind: value.kind,
    span,
    big: true,
    range: { low: 0n, high: INT64.high },
    call: (long: bigint) => {
      if (long !== INT64.low) return long < 0n ? -long : long;
      context.mark("overflow", `abs(${long}) does not fit in 64 bits`);
      return null;
    },
  });
}

const wholePair = [argument("a", "whole"), argument("b", "whole")];

function wholePrint(name: string, step: typeof quotient): Form["print"] {
  return (context, [a, b], span) =>
    typed({
      kind: a!.kind === "long" || b!.kind === "long" ? "long" : "int",
      nullable: true,
      canonical: written(name)([a!.canonical, b!.canonical]),
      span,
      ...step(context, a!, b!),
    });
}

function extreme(name: string, sqlName: string): LibraryFunction {
  return {
    name,
    group: "number",
    doc: `The ${name} of two or more values of one kind; null if any is null.`,
    example: `${name}(a, b, 0)`,
    forms: [
      {
        takes: [argument("a", "any"), argument("b", "any")],
        repeats: true,
        gives: "common kind",
        print: (context, values, span) => {
          const aligned = align(context, values, `${name} can't compare`, span, true);
          if (aligned === undefined) return undefined;
          if (aligned.kind === "boolean" || aligned.kind === "bytes") {
            context.problem("type_mismatch", `${name} does not order ${kindWord(aligned.kind)}`, span);
            return undefined;
          }
          const printed = joined(aligned.values, written(sqlName), written(name));
          const finite = aligned.values.every((value) => value.finite);
          const range = aligned.kind === "null" ? undefined : hull(aligned.values);
          return typed({ kind: aligned.kind, nullable: anyNullable(values), span, finite, range, ...printed });
        },
      },
    ],
  };
}

export const NUMBER_FUNCTIONS: readonly LibraryFunction[] = [
  {
    name: "abs",
    group: "number",
    doc: "The value without its sign.",
    example: "abs(dep_delay)",
    forms: [
      {
        takes: [argument("x", "number", "duration")],
        gives: "as given",
        print: (context, [value], span) => absolute(context, value!, span),
      },
    ],
  },
  {
    name: "round",
    group: "number",
    doc: "The nearest whole value, or the nearest with `digits` decimal places (0 to 15); halves go away from zero. A real stays a real.",
    example: "round(distance / 1000.0, 1)",
    forms: [
      {
        takes: [x],
        gives: "as given",
        print: (context, [value], span) => {
          if (value!.range !== undefined || value!.kind === "null") return { ...value!, column: undefined, span };
          const { finite } = value!;
          return computed(context, [value!], {
            name: "round",
            kind: "double",
            span,
            finite,
            call: roundHalfAway,
            pure: true,
          });
        },
      },
      {
        takes: [x, argument("digits", "digits")],
        gives: "double",
        print: (context, [value, digits], span) =>
          computed(context, [value!, digits!], {
            name: "round",
            key: digits!.canonical,
            passed: 1,
            kind: "double",
            span,
            finite: value!.finite,
            call: (real: number) => roundDigits(real, Number(digits!.number)),
          }),
      },
    ],
  },
  {
    name: "floor",
    group: "number",
    doc: "The greatest whole value that is not above x. A real stays a real.",
    example: "floor(x)",
    forms: [cut("floor")],
  },
  {
    name: "ceil",
    group: "number",
    doc: "The least whole value that is not below x. A real stays a real.",
    example: "ceil(x)",
    forms: [cut("ceil")],
  },
  {
    name: "trunc",
    group: "number",
    doc: "x without its fraction. A real stays a real.",
    example: "trunc(x)",
    forms: [cut("trunc")],
  },
  {
    name: "sqrt",
    group: "number",
    doc: "The square root.",
    example: "sqrt(distance)",
    forms: [partial("sqrt", Math.sqrt)],
  },
  {
    name: "ln",
    group: "number",
    doc: "The natural logarithm.",
    example: "ln(1 + distance)",
    forms: [partial("ln", logarithm)],
  },
  {
    name: "exp",
    group: "number",
    doc: "e to the power of x.",
    example: "exp(-age_hours(weather))",
    forms: [partial("exp", Math.exp)],
  },
  {
    name: "power",
    group: "number",
    doc: "x to the power of y.",
    example: "power(x, 2)",
    forms: [partial("power", (base, exponent) => base ** exponent!, 2)],
  },
  {
    name: "div",
    group: "number",
    doc: "The whole quotient, cut towards zero.",
    example: "div(minutes_late, 15)",
    forms: [{ takes: wholePair, gives: "common kind", nulls: UNDEFINED, print: wholePrint("div", quotient) }],
  },
  {
    name: "mod",
    group: "number",
    doc: "The remainder of the quotient cut towards zero: it has the sign of a.",
    example: "mod(flight, 100)",
    forms: [
      { takes: wholePair, gives: "common kind", nulls: UNDEFINED, print: wholePrint("mod", modulo) },
      partial("mod", (a, b) => a % b!, 2),
    ],
  },
  extreme("least", "min"),
  extreme("greatest", "max"),
];
