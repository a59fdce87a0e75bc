import type { FieldType } from "../contract/contract.ts";
import { analyse, openWorkshop, throwProblems, type Workshop } from "./analyse.ts";
import { expressionErrors } from "./errors.ts";
import { fieldOfKind, isNumber, type Kind, kindWord } from "./kinds.ts";
import { AS_OF, type Planned, runProgram } from "./program.ts";
import { asDouble, type Context, type Typed } from "./typed.ts";
import type { ExpressionSource, Output, Program, Scope } from "./types.ts";

export { compileAggregate } from "./aggregate.ts";

/** Most expressions compiled together, and most values they may read: SQLite's limit is 2,000 columns. */
const EXPRESSIONS_MAX = 1_000;
const SLOTS_MAX = 1_900;

/**
 * Compiles SQL scalar expressions over the columns in scope into one program that evaluates a row at a time. Throws one
 * MlpeError that lists every problem of every expression. Close the program when it is no longer used. With `direct` false
 * SQLite computes every row: the same values and failures, several times slower.
 */
export function compile(list: readonly ExpressionSource[], scope: Scope, { direct = true } = {}): Program {
  const workshop = openWorkshop(scope);
  const { problems, slots, helpers, marks } = workshop;
  if (list.length > EXPRESSIONS_MAX) {
    const message = `${list.length} expressions are compiled together; at most ${EXPRESSIONS_MAX} are allowed`;
    throw expressionErrors.error("too_large", message, { place: list[0]!.place });
  }
  const planned = list.map((source, index) => plan(workshop, source, index));
  if (slots.length > SLOTS_MAX) {
    const message = `the expressions read ${slots.length} columns; at most ${SLOTS_MAX} are allowed`;
    problems.push(expressionErrors.problem("too_large", message, { place: list[0]!.place }));
  }
  throwProblems(problems);
  const outputs = (planned as Planned[]).map((one) => (direct ? one : { ...one, direct: undefined }));
  const inputs = [...new Set(outputs.flatMap((one) => one.output.columns))];
  return runProgram({ outputs, inputs, slots, helpers: [...helpers.values()], marks });
}

/** The type of one expression without running it: for validation. Throws like `compile`. */
export function typeOf(source: ExpressionSource, scope: Scope): Output {
  const workshop = openWorkshop(scope);
  const planned = plan(workshop, source, 0);
  throwProblems(workshop.problems);
  return planned!.output;
}

function plan(workshop: Workshop, source: ExpressionSource, index: number): Planned | undefined {
  const analysed = analyse(workshop, source, index);
  if (analysed === undefined) return undefined;
  const { typed, context, parsed } = analysed;
  const fitted = fit(context, typed, source.expect);
  if (fitted === undefined) {
    const span = parsed.expr.span;
    const wanted = source.expect === undefined ? "a value" : kindWord(source.expect as Kind);
    const message = `${source.name} is ${kindWord(typed.kind)}, and must be ${wanted}`;
    context.problem("wrong_result", message, span, adviceFor(typed.kind, source.expect));
    return undefined;
  }
  const { value, type } = fitted;
  const identity = value.column !== undefined;
  const slot = identity ? undefined : value.derivedSlot;
  return {
    output: {
      name: source.name,
      type,
      nullable: typed.nullable,
      columns: [...context.columns],
      identity,
      canonical: typed.canonical,
    },
    run: identity || slot !== undefined ? null : value.run,
    slot: slot ?? null,
    explain: value.explain,
    fallible: value.fallible,
    direct: value.direct,
    reads: context.used.asOf ? [...context.columns, AS_OF] : [...context.columns],
  };
}

/** The value as the expected type, or as its own; undefined where it does not widen to it without loss. */
function fit(
  context: Context,
  value: Typed,
  expect: FieldType | undefined,
): { value: Typed; type: FieldType } | undefined {
  if (value.kind === "null") return expect === undefined ? undefined : { value, type: expect };
  const own = fieldOfKind(value.kind);
  if (expect === undefined || expect === own) return { value, type: own };
  if (expect === "enum" && own === "string") return { value, type: expect };
  if (expect === "long" && own === "int") return { value, type: expect };
  if (expect === "double" && (own === "int" || own === "float")) {
    return { value: value.column === undefined ? asDouble(context, value) : value, type: expect };
  }
  const inexact = (expect === "double" && own === "long") || (expect === "float" && (own === "int" || own === "long"));
  return inexact && value.kind !== "duration" ? { value: asDouble(context, value), type: expect } : undefined;
}

function adviceFor(kind: Kind, expect: FieldType | undefined): string | undefined {
  if (expect === undefined) return "A bare null has no type: write nullif(x, x) or leave the expression out.";
  if (expect === "boolean") return "Compare it with something, as in x > 0.";
  if ((expect === "int" || expect === "long") && isNumber(kind))
    return `Write ${expect}(round(x)), or change the type.`;
  if (expect === "float" && kind === "double") return "Write float(x), or declare the field as double.";
  if (expect === "string" && isNumber(kind)) return "Write text(x).";
  if (kind === "string" && ["int", "long", "double", "timestamp", "date"].includes(expect))
    return `Write try_${expect}(x).`;
  return undefined;
}
