import type { Span } from "sqlite3-parser";
import { align } from "../align.ts";
import { coalesceOf } from "../direct.ts";
import { conditional, hull, joined } from "../logic.ts";
import { type Context, type Typed, typed } from "../typed.ts";
import { argument, type Form, type LibraryFunction, written } from "./function.ts";

const choose: Form = {
  takes: [argument("condition", "boolean"), argument("then", "any"), argument("else", "any")],
  gives: "common kind",
  nulls: "a null condition takes the else value",
  print: (context, [when, chosen, otherwise], span) =>
    conditional(context, undefined, [{ when: when!, result: chosen! }], otherwise!, span),
};

function coalesce(context: Context, values: readonly Typed[], span: Span): Typed | undefined {
  const aligned = align(context, values, "coalesce can't choose between", span, true);
  if (aligned === undefined) return undefined;
  return typed({
    kind: aligned.kind,
    nullable: values.every((value) => value.nullable),
    span,
    range: aligned.kind === "null" ? undefined : hull(aligned.values),
    finite: aligned.values.every((value) => value.finite),
    direct: coalesceOf(aligned.values.map((value) => value.direct)),
    ...joined(aligned.values, written("coalesce")),
  });
}

function nullif(context: Context, values: readonly Typed[], span: Span): Typed | undefined {
  const aligned = align(context, values, "nullif can't compare", span, false);
  if (aligned === undefined) return undefined;
  const [first] = aligned.values;
  const printed = joined(aligned.values, written("nullif"));
  return typed({ kind: first!.kind, nullable: true, span, range: first!.range, finite: first!.finite, ...printed });
}

export const CHOICE_FUNCTIONS: readonly LibraryFunction[] = [
  {
    name: "iif",
    group: "choice",
    doc: "`then` where the condition is true, else `else`; the same as case when.",
    example: "iif(dep_delay > 15, 1, 0)",
    forms: [choose],
  },
  {
    name: "if",
    group: "choice",
    doc: "The same as iif.",
    example: "if(dep_delay > 15, 1, 0)",
    forms: [choose],
  },
  {
    name: "coalesce",
    group: "choice",
    doc: "The first value that is not null. What is undefined counts as null; an overflow fails all the same.",
    example: "coalesce(plane.seats, 0)",
    forms: [
      {
        takes: [argument("a", "any"), argument("b", "any")],
        repeats: true,
        gives: "common kind",
        nulls: "null only if all are",
        print: coalesce,
      },
    ],
  },
  {
    name: "nullif",
    group: "choice",
    doc: "a, or null where a equals b.",
    example: "nullif(visib, -999)",
    forms: [
      {
        takes: [argument("a", "any"), argument("b", "any")],
        gives: "as given",
        nulls: "null where a = b",
        print: nullif,
      },
    ],
  },
];
