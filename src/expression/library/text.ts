import { anyNullable, joined } from "../logic.ts";
import { typed } from "../typed.ts";
import { argument, computed, type Form, type LibraryFunction } from "./function.ts";

const text = argument("text", "text");

/** A function of one text. */
const simple = (name: string, call: (text: string) => string): Form => ({
  takes: [text],
  gives: "string",
  print: (context, values, span) => computed(context, values, { name, kind: "string", span, call, pure: true }),
});

/** Characters are Unicode code points. Without surrogates the text needs no splitting. */
const characters = (value: string): string | string[] => (/[\ud800-\udfff]/.test(value) ? [...value] : value);

function part(value: string, start: number, count: number | undefined): string {
  const all = characters(value);
  const piece = all.slice(start - 1, count === undefined ? undefined : start - 1 + count);
  return typeof piece === "string" ? piece : piece.join("");
}

function substring(withCount: boolean): Form {
  const takes = [text, argument("start", "whole"), ...(withCount ? [argument("count", "whole")] : [])];
  return {
    takes,
    gives: "string",
    nulls: "null, with status undefined, where start is below 1 or count below 0",
    print: (context, values, span) =>
      computed(context, values, {
        name: "substr",
        key: `${context.output} ${values.length}`,
        kind: "string",
        span,
        nullable: true,
        call: (value: string, start: number, count?: number) => {
          if (start >= 1 && (count === undefined || count >= 0)) return part(value, start, count);
          context.mark("undefined", `substr has no part from ${start} of length ${count ?? "any"}`);
          return null;
        },
      }),
  };
}

export const TEXT_FUNCTIONS: readonly LibraryFunction[] = [
  {
    name: "lower",
    group: "text",
    doc: "In lower case, by Unicode, whatever the locale.",
    example: "lower(carrier)",
    forms: [simple("lower", (value) => value.toLowerCase())],
  },
  {
    name: "upper",
    group: "text",
    doc: "In upper case, by Unicode, whatever the locale.",
    example: "upper(carrier)",
    forms: [simple("upper", (value) => value.toUpperCase())],
  },
  {
    name: "trim",
    group: "text",
    doc: "Without white space (as Unicode defines it) at both ends.",
    example: "trim(tailnum)",
    forms: [simple("trim", (value) => value.trim())],
  },
  {
    name: "length",
    group: "text",
    doc: "The number of characters (Unicode code points).",
    example: "length(tailnum)",
    forms: [
      {
        takes: [text],
        gives: "int",
        print: (context, values, span) =>
          computed(context, values, {
            name: "length",
            kind: "int",
            span,
            pure: true,
            range: { low: 0n, high: 2n ** 31n - 1n },
            call: (value: string) => characters(value).length,
          }),
      },
    ],
  },
  {
    name: "substr",
    group: "text",
    doc: "The part from character `start` (the first is 1), of at most `count` characters.",
    example: "substr(tailnum, 1, 2)",
    forms: [substring(false), substring(true)],
  },
  {
    name: "concat",
    group: "text",
    doc: "The texts one after another, like ||; null if any is null.",
    example: "concat(origin, '-', dest)",
    forms: [
      {
        takes: [argument("a", "text"), argument("b", "text")],
        repeats: true,
        gives: "string",
        print: (_, values, span) => {
          const printed = joined(
            values,
            (texts) => `(${texts.join(" || ")})`,
            (texts) => `concat(${texts.join(", ")})`,
          );
          return typed({ kind: "string", nullable: anyNullable(values), span, ...printed });
        },
      },
    ],
  },
];
