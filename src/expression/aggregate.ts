import { analyse, openWorkshop, throwProblems } from "./analyse.ts";
import { expressionErrors } from "./errors.ts";
import { isNumber, type Kind, kindWord } from "./kinds.ts";
import { isProblem, parseExpression } from "./parse.ts";
import type { AggregateFunction, AggregateSource, ExpressionSource, Scope } from "./types.ts";

const isOrdered = (kind: Kind) => isNumber(kind) || kind === "timestamp" || kind === "date" || kind === "duration";
const isSummed = (kind: Kind) => isNumber(kind) || kind === "duration";

/** Which arguments each aggregate takes. */
const TAKES: Readonly<
  Record<AggregateFunction, { readonly accepts: (kind: Kind) => boolean; readonly words: string }>
> = {
  count: { accepts: () => true, words: "anything" },
  sum: { accepts: isSummed, words: "a number" },
  avg: { accepts: isSummed, words: "a number" },
  std: { accepts: isSummed, words: "a number" },
  min: { accepts: isOrdered, words: "a number, timestamp or date" },
  max: { accepts: isOrdered, words: "a number, timestamp or date" },
};

const isAggregate = (name: string): name is AggregateFunction => Object.hasOwn(TAKES, name);

/**
 * One aggregate call of a window: `count(*)`, or count, sum, avg, min, max, std of one scalar expression over the columns
 * in scope. The argument comes back as an expression of its own, to be compiled with others. Throws like `compile`.
 */
export function compileAggregate(name: string, sql: string, place: string, scope: Scope): AggregateSource {
  const refuse = (message: string, fix?: string) => expressionErrors.error("aggregate", message, { place, fix });
  const parsed = parseExpression({ name, sql, place });
  if (isProblem(parsed)) {
    throwProblems([parsed]);
    throw refuse(parsed.message);
  }
  const { expr } = parsed;
  if (expr.type !== "FunctionCallExpr" && expr.type !== "FunctionCallStarExpr") {
    throw refuse(`${sql.trim()} is not one aggregate call`);
  }
  const fn = expr.name.name.toLowerCase();
  if (!isAggregate(fn)) {
    throw refuse(`${expr.name.name} is not an aggregate`, fn === "mean" ? "Write avg(x)." : undefined);
  }
  if (expr.filterOver !== undefined)
    throw refuse("an aggregate takes no filter and no over", "Use the window's where.");
  if (expr.type === "FunctionCallStarExpr") {
    if (fn === "count") return { name, fn, argument: null };
    throw refuse(`${fn}(*) has no meaning`, `Write ${fn}(x).`);
  }
  if (expr.distinctness !== undefined || expr.orderBy !== undefined || expr.args?.length !== 1) {
    throw refuse(`${fn} takes one expression, without distinct and order by`);
  }
  const argument: ExpressionSource = { name, sql: parsed.textAt(expr.args[0]!.span), place };
  const workshop = openWorkshop(scope);
  const analysed = analyse(workshop, argument, 0);
  throwProblems(workshop.problems);
  const { kind } = analysed!.typed;
  if (kind === "null" || !TAKES[fn].accepts(kind)) {
    const fix = kind === "boolean" ? `Write ${fn}(iif(condition, 1, 0)).` : undefined;
    throw refuse(`${fn} takes ${TAKES[fn].words}, not ${kindWord(kind)}`, fix);
  }
  return { name, fn, argument };
}
