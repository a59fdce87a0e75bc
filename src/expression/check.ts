import type { Expr, FunctionCallExpr, Name, Operator, Span } from "sqlite3-parser";
import { parseStmt } from "sqlite3-parser";
import { nearest } from "../base/nearest.ts";
import { arithmetic, negative, numberLiteral } from "./arithmetic.ts";
import { arithmeticOf, constant, readSlot } from "./direct.ts";
import { INT64, isNumber, kindOfField, kindWord } from "./kinds.ts";
import { callFunction } from "./library/call.ts";
import {
  between,
  type Comparison,
  comparison,
  concatenation,
  conditional,
  connective,
  inList,
  like,
  negation,
  nullTest,
} from "./logic.ts";
import { DEPTH_MAX, type Parsed } from "./parse.ts";
import { type Context, quoteText, type Typed, typed } from "./typed.ts";

/** Types and prints one parsed expression. Undefined after reporting what is wrong with it to `context.problem`. */
export function check(context: Context, parsed: Parsed): Typed | undefined {
  return visit({ context, parsed }, parsed.expr, 1);
}

interface Visit {
  readonly context: Context;
  readonly parsed: Parsed;
}

type NodeOf<T extends Expr["type"]> = Extract<Expr, { type: T }>;
type Visitor<T extends Expr["type"]> = (visit: Visit, node: NodeOf<T>, depth: number) => Typed | undefined;

function visit(state: Visit, node: Expr, depth: number): Typed | undefined {
  if (depth > DEPTH_MAX) {
    const message = `the expression is nested deeper than ${DEPTH_MAX} levels`;
    state.context.problem("too_large", message, { ...node.span, length: 0 });
    return undefined;
  }
  const visitor = VISITORS[node.type] as Visitor<Expr["type"]>;
  return visitor(state, node, depth);
}

/** All of them, so that the problems of each are reported; undefined if any is wrong. */
function visitAll(state: Visit, nodes: readonly Expr[], depth: number): Typed[] | undefined {
  const results = nodes.map((node) => visit(state, node, depth + 1));
  return results.every((result) => result !== undefined) ? results : undefined;
}

const forbid =
  <T extends Expr["type"]>(what: string, fix?: string): Visitor<T> =>
  ({ context }, node) => {
    context.problem("forbidden", `${what} is not allowed in an expression`, node.span, fix);
    return undefined;
  };

const NO_CLOCK = "Use as_of(), the instant the row is evaluated for.";
const NO_SUBQUERY = "Declare a join or a window in the view and use its columns.";

/** One line for each node of the syntax tree: what is not here does not get in. */
const VISITORS: { readonly [T in Expr["type"]]: Visitor<T> } = {
  Id: (state, node) => column(state, node.name, node.span),
  NameExpr: (state, node) => column(state, node.name.text, node.span),
  QualifiedExpr: qualified,
  NumericLiteral: (state, node) => number(state, node.value, node.span),
  StringLiteral: (_, node) =>
    typed({
      kind: "string",
      nullable: false,
      run: quoteText(node.value),
      canonical: quoteText(node.value),
      text: node.value,
      span: node.span,
    }),
  NullLiteral: (_, { span }) =>
    typed({ kind: "null", nullable: true, run: "null", canonical: "null", span, direct: () => null }),
  KeywordLiteral: (state, node) => column(state, node.value, node.span),
  BlobLiteral: forbid("a blob literal"),
  CurrentDateLiteral: forbid("current_date: a clock", NO_CLOCK),
  CurrentTimeLiteral: forbid("current_time: a clock", NO_CLOCK),
  CurrentTimestampLiteral: forbid("current_timestamp: a clock", NO_CLOCK),
  VariableExpr: forbid("a parameter"),
  SubqueryExpr: forbid("a subquery", NO_SUBQUERY),
  ExistsExpr: forbid("a subquery", NO_SUBQUERY),
  InSelectExpr: forbid("a subquery", NO_SUBQUERY),
  InTableExpr: forbid("in over a table", "List the values: x in ('a', 'b')."),
  CollateExpr: forbid("collate", "Text is compared by code points; use lower() to ignore case."),
  RaiseExpr: forbid("raise"),
  FunctionCallStarExpr: forbid("an aggregate", "Declare a window in the view and use its columns."),
  CastExpr: cast,
  ParenthesizedExpr: (state, node, depth) => {
    if (node.exprs.length === 1) return visit(state, node.exprs[0]!, depth + 1);
    return forbid("a row value")(state, node as never, depth);
  },
  UnaryExpr: unary,
  BinaryExpr: binary,
  IsNullExpr: (state, node, depth) => tested(state, node.expr, false, node.span, depth),
  NotNullExpr: (state, node, depth) => tested(state, node.expr, true, node.span, depth),
  BetweenExpr: (state, node, depth) => {
    const parts = visitAll(state, [node.lhs, node.start, node.end], depth);
    return parts && between(state.context, parts, node.not, node.span);
  },
  InListExpr: (state, node, depth) => {
    const parts = visitAll(state, [node.lhs, ...(node.rhs ?? [])], depth);
    return parts && inList(state.context, parts, node.not, node.span);
  },
  LikeExpr: (state, node, depth) => {
    if (node.op !== "Like") return forbid(node.op.toLowerCase(), "Use like.")(state, node as never, depth);
    const parts = visitAll(state, [node.lhs, node.rhs, ...(node.escape ? [node.escape] : [])], depth);
    return parts && like(state.context, parts[0]!, parts[1]!, parts[2], node.not, node.span);
  },
  CaseExpr: (state, node, depth) => {
    const base = node.base && visit(state, node.base, depth + 1);
    const parts = visitAll(
      state,
      node.whenThenPairs.flatMap((pair) => [pair.when, pair.then]),
      depth,
    );
    const otherwise = node.elseExpr && visit(state, node.elseExpr, depth + 1);
    if (parts === undefined || (node.base && !base) || (node.elseExpr && !otherwise)) return undefined;
    const branches = node.whenThenPairs.map((_, i) => ({ when: parts[2 * i]!, result: parts[2 * i + 1]! }));
    return conditional(state.context, base, branches, otherwise, node.span);
  },
  FunctionCallExpr: call,
};

function tested(state: Visit, expr: Expr, not: boolean, span: Span, depth: number): Typed | undefined {
  const value = visit(state, expr, depth + 1);
  return value && nullTest(value, not, span);
}

const CONSTANTS: Readonly<Record<string, string>> = { true: "1", false: "0" };

function column({ context, parsed }: Visit, name: string, span: Span): Typed | undefined {
  const quote = parsed.textAt(span)[0]!;
  if (quote === '"') {
    context.problem("double_quoted", `"${name}" is in double quotes`, span);
    return undefined;
  }
  const quoted = quote === "`" || quote === "[";
  const word = name.toLowerCase();
  const sql = quoted ? undefined : CONSTANTS[word];
  if (sql === undefined) return readColumn(context, name, span);
  const shadowed = [...context.scope.columns.keys()].find((key) => key.toLowerCase() === word);
  if (shadowed !== undefined) {
    const fix = `Write \`${shadowed}\` for the column, and 1 = 1 or 1 = 0 for the constant.`;
    context.problem("ambiguous_column", `${name} is a constant, and also a column here`, span, fix);
    return undefined;
  }
  const direct = constant(word === "true");
  return typed({ kind: "boolean", nullable: false, run: sql, canonical: word, span, direct });
}

function qualified({ context, parsed }: Visit, node: NodeOf<"QualifiedExpr">): Typed | undefined {
  const names = [node.schema, node.table, node.column].filter((name) => name !== undefined) as Name[];
  const double = names.find((name) => parsed.textAt(name.span)[0] === '"');
  if (double !== undefined) {
    context.problem("double_quoted", `"${double.text}" is in double quotes`, double.span);
    return undefined;
  }
  return readColumn(context, names.map((name) => name.text).join("."), node.span);
}

function readColumn(context: Context, name: string, span: Span): Typed | undefined {
  const { columns } = context.scope;
  const found = columns.get(name);
  if (found === undefined) {
    const near = nearest(name, columns.keys());
    const fix = near === undefined ? `The columns here are: ${listed(columns.keys())}.` : `Did you mean ${near}?`;
    context.problem("unknown_column", `there is no column ${name}`, span, fix);
    return undefined;
  }
  const lower = name.toLowerCase();
  const twin = [...columns.keys()].find((key) => key !== name && key.toLowerCase() === lower);
  if (twin !== undefined) {
    const message = `columns ${name} and ${twin} differ in case only`;
    context.problem("ambiguous_column", message, span, "Rename one of them.");
    return undefined;
  }
  const kind = kindOfField(found.type);
  context.columns.add(name);
  const run = context.slot(name, kind);
  const direct = readSlot(run, kind);
  return typed({ kind, nullable: found.nullable, run, canonical: printName(name), column: name, span, direct });
}

/** At most a dozen names, for a message. */
function listed(names: Iterable<string>): string {
  const all = [...names];
  const more = all.length > 12 ? `, and ${all.length - 12} more` : "";
  return all.length === 0 ? "none" : all.slice(0, 12).join(", ") + more;
}

/** A column name as the parser reads it back: plain, `alias.column`, or between backticks. */
function printName(name: string): string {
  if (/^[A-Za-z_]\w*(\.[A-Za-z_]\w*)?$/.test(name)) {
    const result = parseStmt(`SELECT ${name}`);
    const select = result.status === "ok" && result.root.type === "SelectStmt" ? result.root.body.select : undefined;
    const first = select?.type === "SelectFrom" ? select.columns[0] : undefined;
    const expr = first?.type === "ExprResultColumn" && first.alias === undefined ? first.expr : undefined;
    if (expr?.type === "QualifiedExpr") return name;
    if (expr?.type === "Id" && CONSTANTS[name.toLowerCase()] === undefined) return name;
  }
  return `\`${name.replaceAll("`", "``")}\``;
}

function number({ context }: Visit, text: string, span: Span): Typed | undefined {
  if (/^(0x[0-9a-f]+|\d+)$/i.test(text)) {
    const value = BigInt(text);
    if (value <= INT64.high) return numberLiteral(value, span);
    context.problem("literal", `${text} does not fit in 64 bits`, span, "Write it as a real number, as in 1e20.");
    return undefined;
  }
  const value = Number(text);
  if (Number.isFinite(value)) return numberLiteral(value, span);
  context.problem("literal", `${text} is beyond the largest double`, span);
  return undefined;
}

function cast(state: Visit, node: NodeOf<"CastExpr">, depth: number): Typed | undefined {
  const value = visit(state, node.expr, depth + 1);
  if (value === undefined) return undefined;
  const target = CASTS[(node.typeName?.name ?? "").toLowerCase()];
  if (target === undefined || node.typeName?.size !== undefined || !(isNumber(value.kind) || value.kind === "null")) {
    const message = `cast from ${kindWord(value.kind)} as ${node.typeName?.name ?? "nothing"} is not allowed`;
    state.context.problem("cast", message, node.span);
    return undefined;
  }
  return callFunction(state.context, target, [value], node.span, node.span);
}

const CASTS: Readonly<Record<string, string>> = {
  int: "int",
  integer: "long",
  bigint: "long",
  long: "long",
  float: "float",
  real: "double",
  double: "double",
  "double precision": "double",
};

function unary(state: Visit, node: NodeOf<"UnaryExpr">, depth: number): Typed | undefined {
  const { context } = state;
  if (node.op === "BitwiseNot") return forbid("~")(state, node as never, depth);
  if (node.op === "Negative" && node.expr.type === "NumericLiteral" && node.expr.value === "9223372036854775808") {
    return numberLiteral(INT64.low, node.span);
  }
  const value = visit(state, node.expr, depth + 1);
  if (value === undefined) return undefined;
  if (node.op === "Not") return negation(context, value, node.span);
  if (node.op === "Negative") return negative(context, value, node.span);
  if (isNumber(value.kind) || value.kind === "duration") return value;
  context.problem("type_mismatch", `+ can't stand before ${kindWord(value.kind)}`, node.span);
  return undefined;
}

const ARITHMETIC: Partial<Record<Operator, "+" | "-" | "*" | "/" | "%">> = {
  Add: "+",
  Subtract: "-",
  Multiply: "*",
  Divide: "/",
  Modulus: "%",
};
const COMPARISONS: Partial<Record<Operator, Comparison>> = {
  Equals: "=",
  NotEquals: "<>",
  Less: "<",
  LessEquals: "<=",
  Greater: ">",
  GreaterEquals: ">=",
  Is: "is",
  IsNot: "is not",
};

function binary(state: Visit, node: NodeOf<"BinaryExpr">, depth: number): Typed | undefined {
  const { context } = state;
  const { op, span } = node;
  if ((op === "Is" || op === "IsNot") && node.right.type === "NullLiteral") {
    return tested(state, node.left, op === "IsNot", span, depth);
  }
  const parts = visitAll(state, [node.left, node.right], depth);
  if (parts === undefined) return undefined;
  const [left, right] = parts as [Typed, Typed];
  const sign = ARITHMETIC[op];
  if (sign !== undefined) return arithmetic(context, sign, left, right, span);
  const compared = COMPARISONS[op];
  if (compared !== undefined) return comparison(context, compared, left, right, span);
  if (op === "And" || op === "Or") return connective(context, op === "And" ? "and" : "or", left, right, span);
  if (op === "Concat") return concatenation(context, left, right, span);
  return forbid("a bit or JSON operator")(state, node as never, depth);
}

function call(state: Visit, node: FunctionCallExpr, depth: number): Typed | undefined {
  const { context, parsed } = state;
  if (node.filterOver !== undefined || node.orderBy !== undefined || node.distinctness !== undefined) {
    const fix = "Declare a window in the view and use its columns.";
    context.problem("forbidden", "a window or aggregate call is not allowed in an expression", node.span, fix);
    return undefined;
  }
  const nodes = node.args ?? [];
  if (node.name.name.toLowerCase() === "age_hours") {
    const alias = nodes.length === 1 && nodes[0]!.type === "Id" ? nodes[0]!.name : undefined;
    return age(context, alias, node.span);
  }
  if (parsed.textAt(node.name.span)[0] === '"') {
    context.problem("double_quoted", "a function name is in double quotes", node.name.span);
    return undefined;
  }
  const values = visitAll(state, nodes, depth);
  return values && callFunction(context, node.name.name, values, node.span, node.name.span);
}

/** `age_hours(alias)`: (as_of - the event time of the row used) in hours; null where no row was. */
function age(context: Context, alias: string | undefined, span: Span): Typed | undefined {
  const times = context.scope.eventTimes ?? new Map<string, string>();
  const name = alias === undefined ? undefined : times.get(alias);
  if (alias === undefined || name === undefined || context.scope.asOf !== true) {
    const near = alias === undefined ? undefined : nearest(alias, times.keys());
    const fix =
      near === undefined ? `The inputs with an event time are: ${listed(times.keys())}.` : `Did you mean ${near}?`;
    context.problem("arguments", "age_hours takes the name of a joined input that has an event time", span, fix);
    return undefined;
  }
  const time = readColumn(context, name, span);
  if (time === undefined) return undefined;
  const at = context.asOfSlot();
  const sql = `(CAST(${at} - ${time.run} AS REAL) / 3600000000.0)`;
  const elapsed = arithmeticOf("-", false, readSlot(at, "timestamp"), time.direct);
  return typed({
    kind: "double",
    nullable: time.nullable,
    run: sql,
    canonical: `age_hours(${printName(alias)})`,
    span,
    direct: arithmeticOf("/", true, elapsed, constant(3_600_000_000)),
  });
}
