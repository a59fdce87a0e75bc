import type { Span } from "sqlite3-parser";
import { formatDay, formatInstant, parseDay, parseInstant } from "../../base/time.ts";
import { INT32, INT64, isReal, type Kind, kindWord, type Range, within } from "../kinds.ts";
import { joined } from "../logic.ts";
import { asDouble, type Context, type SqlValue, type Typed, typed } from "../typed.ts";
import { argument, computed, type Form, type LibraryFunction, written } from "./function.ts";

const x = argument("x", "number");

/** A number as a whole number: a fraction is undefined, not cut, and what does not fit is an overflow. */
function toWhole(context: Context, value: Typed, kind: "int" | "long", span: Span): Typed {
  const bounds = kind === "int" ? INT32 : INT64;
  const canonical = written(kind)([value.canonical]);
  if (value.kind === "null") return { ...value, kind, canonical, span };
  if (value.range !== undefined && within(value.range, bounds)) {
    return { ...value, kind, canonical, span, column: undefined, number: undefined };
  }
  return computed(context, [value], {
    name: kind,
    key: String(context.output),
    kind,
    span,
    big: true,
    nullable: value.nullable || isReal(value.kind),
    call: (number: number | bigint) => {
      if (typeof number === "number" && !Number.isInteger(number) && Number.isFinite(number)) {
        const message = `${number} is not a whole number: say ${kind}(round(x)), or floor, ceil or trunc`;
        context.mark("undefined", message);
        return null;
      }
      const long = Number.isFinite(number as number) || typeof number === "bigint" ? BigInt(number) : undefined;
      if (long !== undefined && long >= bounds.low && long <= bounds.high) return long;
      context.mark("overflow", `${number} does not fit in ${kindWord(kind)}`);
      return null;
    },
  });
}

function toFloat(context: Context, value: Typed, span: Span): Typed {
  if (value.kind === "float") return { ...value, column: undefined, canonical: `float(${value.canonical})`, span };
  return computed(context, [value], {
    name: "float",
    key: String(context.output),
    kind: "float",
    span,
    call: (number: number) => {
      const single = Math.fround(number);
      if (Number.isFinite(single)) return single;
      context.mark("overflow", `${number} is beyond the largest float`);
      return null;
    },
  });
}

const integerPattern = /^[+-]?\d{1,19}$/;
const realPattern = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i;

/** A number where one holds it exactly. */
function readWhole(text: string, { low, high }: Range): number | bigint | null {
  const trimmed = text.trim();
  if (!integerPattern.test(trimmed)) return null;
  const value = BigInt(trimmed.replace("+", ""));
  if (value < low || value > high) return null;
  return Number.isSafeInteger(Number(value)) ? Number(value) : value;
}

function readReal(text: string): number | null {
  const trimmed = text.trim();
  const value = realPattern.test(trimmed) ? Number(trimmed) : Number.NaN;
  return Number.isFinite(value) ? value : null;
}

function readDate(text: string): number | null {
  return parseDay(text.trim()) ?? null;
}

function reader(kind: Kind, what: string, call: (text: string) => SqlValue): LibraryFunction {
  const name = `try_${kind}`;
  return {
    name,
    group: "conversion",
    doc: `The text read as ${what}; null where it is not one. White space at both ends is ignored.`,
    example: `${name}(raw)`,
    forms: [
      {
        takes: [argument("text", "text")],
        gives: kind,
        nulls: "null where the text can't be read",
        print: (context, values, span) =>
          computed(context, values, { name, kind, span, nullable: true, call, pure: true }),
      },
    ],
  };
}

/** How each kind is written as text; reals in the shortest form that reads back equal. */
const WRITERS: Partial<Readonly<Record<Kind, (value: never) => string>>> = {
  boolean: (value: bigint) => (value === 0n ? "false" : "true"),
  int: String,
  long: String,
  float: String,
  double: String,
  duration: String,
  timestamp: (value: bigint) => formatInstant(Number(value)),
  date: (value: bigint) => formatDay(Number(value)),
};

function toText(context: Context, value: Typed, span: Span): Typed {
  const write = WRITERS[value.kind];
  if (write === undefined)
    return typed({
      ...value,
      column: undefined,
      span,
      ...joined([value], ([sql]) => sql!, written("text")),
      kind: "string",
    });
  const call = write as (value: never) => SqlValue;
  return computed(context, [value], { name: "text", key: value.kind, kind: "string", span, big: true, call });
}

function converter(name: "int" | "long" | "float" | "double", doc: string, print: Form["print"]): LibraryFunction {
  const takes = name === "long" || name === "double" ? [argument("x", "number", "duration")] : [x];
  const nulls =
    name === "int" || name === "long" ? { nulls: "null, with status undefined, where x has a fraction" } : {};
  return { name, group: "conversion", doc, example: `${name}(x)`, forms: [{ takes, gives: name, ...nulls, print }] };
}

export const CONVERSION_FUNCTIONS: readonly LibraryFunction[] = [
  converter(
    "int",
    "A whole number of 32 bits. Round first: a fraction is undefined, not cut.",
    (context, [value], span) => toWhole(context, value!, "int", span),
  ),
  converter("long", "A whole number of 64 bits; of a duration, its microseconds.", (context, [value], span) =>
    toWhole(context, value!, "long", span),
  ),
  converter("float", "The nearest 32-bit real.", (context, [value], span) => toFloat(context, value!, span)),
  converter("double", "A 64-bit real; a whole number that none equals is an overflow.", (context, [value], span) => ({
    ...asDouble(context, value!),
    canonical: `double(${value!.canonical})`,
    number: undefined,
    span,
  })),
  {
    name: "text",
    group: "conversion",
    doc: "As text: numbers in the shortest form that reads back equal, timestamps and dates in ISO 8601 and UTC.",
    example: "text(flight) || origin",
    forms: [
      {
        takes: [argument("x", "any")],
        gives: "string",
        print: (context, [value], span) => {
          if (value!.kind !== "bytes" && value!.kind !== "null") return toText(context, value!, span);
          context.problem("arguments", `text does not take ${kindWord(value!.kind)}`, span);
          return undefined;
        },
      },
    ],
  },
  reader("int", "a whole number of 32 bits", (text) => readWhole(text, INT32)),
  reader("long", "a whole number of 64 bits", (text) => readWhole(text, INT64)),
  reader("double", "a finite number", readReal),
  reader("timestamp", "an ISO 8601 instant with its offset from UTC", (text) => parseInstant(text.trim()) ?? null),
  reader("date", "an ISO 8601 date", readDate),
];
