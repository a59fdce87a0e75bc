import { type Expr, parseStmt, type SelectStmt, type Span } from "sqlite3-parser";
import type { Problem } from "../base/errors.ts";
import { type ExpressionErrorName, expressionErrors } from "./errors.ts";
import type { ExpressionSource } from "./types.ts";

/** Longest expression, in UTF-16 units. */
export const LENGTH_MAX = 10_000;
/** Deepest nesting of the syntax tree; SQLite itself stops at 1,000 of what is printed, which can be three times deeper. */
export const DEPTH_MAX = 200;

/** On a line of its own, so that line 2 of the statement is line 1 of the expression. */
const HEAD = "SELECT\n";

export interface Parsed {
  readonly expr: Expr;
  /** What was written at a span. */
  textAt(span: Span): string;
  /** A problem at a span: the message gets the position and the words there. */
  problem(name: ExpressionErrorName, message: string, span: Span, fix?: string): Problem;
}

/** The one scalar expression in the text, or the problem with it. */
export function parseExpression(source: ExpressionSource): Parsed | Problem {
  const { sql, place } = source;
  const whole = (name: ExpressionErrorName, message: string, fix?: string) =>
    expressionErrors.problem(name, message, { place, fix });
  if (sql.length > LENGTH_MAX) {
    return whole("too_large", `the expression has ${sql.length} characters; at most ${LENGTH_MAX} are allowed`);
  }
  if (sql.includes("\0")) return whole("syntax", "the expression contains a NUL character");
  if (sql.trim() === "") return whole("not_one_expression", "the expression is empty", "Write an expression.");
  const statement = HEAD + sql;
  const textAt = (span: Span) => statement.slice(span.offset, span.offset + span.length);
  const problem: Parsed["problem"] = (name, message, span, fix) => {
    const near = shorten(textAt(span));
    const at = `at ${Math.max(1, span.line - 1)}:${span.col + 1}`;
    return whole(name, `${message}, ${at}${near === "" ? "" : ` near ${near}`}`, fix);
  };
  const result = parseStmt(statement);
  if (result.status === "error") {
    const first = result.errors[0]!;
    const code = first.message.includes("single statement") ? "not_one_expression" : "syntax";
    const told = problem(code, first.message, first.span);
    const hint = first.hints?.[0]?.message;
    return hint === undefined ? told : { ...told, message: `${told.message}: ${hint}` };
  }
  const expr = result.root.type === "SelectStmt" ? onlyExpression(result.root) : undefined;
  if (expr === undefined || result.tail < statement.length || /;\s*$/.test(sql)) {
    return whole("not_one_expression", `not one scalar expression: ${shorten(sql)}`);
  }
  return { expr, textAt, problem };
}

export const isProblem = (result: Parsed | Problem): result is Problem => "code" in result;

function onlyExpression(statement: SelectStmt): Expr | undefined {
  const { with: common, select, compounds, orderBy, limit } = statement.body;
  if (common || compounds?.length || orderBy || limit || select.type !== "SelectFrom") return undefined;
  const { distinctness, columns, from, whereClause, groupBy, having, windowClause } = select;
  if (distinctness || from || whereClause || groupBy || having || windowClause || columns.length !== 1)
    return undefined;
  const column = columns[0]!;
  return column.type === "ExprResultColumn" && column.alias === undefined ? column.expr : undefined;
}

function shorten(text: string): string {
  const line = text.replace(/\s+/g, " ").trim();
  return line.length > 60 ? `${line.slice(0, 57)}...` : line;
}
