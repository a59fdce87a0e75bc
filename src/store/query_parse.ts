import { parseStmt, type Span } from "sqlite3-parser";
import { storeErrors } from "./errors.ts";
import {
  columnOf,
  comparedTimes,
  type Edit,
  loneTime,
  type Node,
  type Spelling,
  type TimeText,
  timeEdits,
} from "./query_times.ts";

/** A query that was found to be one SELECT, and what it reads. */
export interface ParsedQuery {
  readonly sql: string;
  /** Tables as written, common table expressions left out. */
  readonly tables: readonly string[];
  /** Every place that reads a table, with what must hold of each row that it gives. */
  readonly references: readonly Reference[];
  /** Every name in the query, in lower case: no other column is needed, unless `everything`. */
  readonly names: ReadonlySet<string>;
  /** True where a `*` or a natural join takes columns without naming them. */
  readonly everything: boolean;
  /** Literals and functions that may have to be spelled as stored times are. */
  readonly times: readonly TimeText[];
  /** Columns of the answer or of a subquery that are another column under a new name, both in lower case. */
  readonly aliases: ReadonlyMap<string, string>;
  /** Names in double quotes: where no column has one, SQLite would take it for a text. */
  readonly quoted: readonly Span[];
}

interface Reference {
  /** As written. */
  readonly table: string;
  readonly conditions: readonly Condition[];
}

/** `column operator literal`, which stands alone in a WHERE or under nothing but AND. */
export interface Condition {
  /** In lower case. */
  readonly column: string;
  readonly operator: Operator;
  readonly literal: string | number;
}

type Operator = "<" | "<=" | ">" | ">=" | "=";

const LENGTH_MAX = 100_000;
/** Levels of a tree that are looked into: beyond them a query is refused. */
const DEPTH_MAX = 1_000;
const TABLE_FUNCTIONS: ReadonlySet<string> = new Set(["json_each", "json_tree"]);
/** The bit of a join's type that says NATURAL. */
const NATURAL = 4;

/** Throws `store.query_invalid` or `store.query_refused`. */
export function parseQuery(sql: string): ParsedQuery {
  const root = parsed(sql);
  const tables = new Set<string>();
  const names = new Set<string>();
  const common = new Set<string>();
  const references: Reference[] = [];
  const times: TimeText[] = [];
  const taken = new Set<number>();
  const aliases = new Map<string, string>();
  const quoted: Span[] = [];
  let everything = false;
  walk(root, (node) => {
    const type = node.type as string;
    if (type === "CommonTableExpr") common.add(nameOf(node.tblName).toLowerCase());
    else if (type === "TableSelectTable") tables.add(tableName(node.tblName as Node));
    else if (type === "TableCallSelectTable") checkTableFunction(node.tblName as Node);
    else if (type === "SelectFrom") references.push(...referencesOf(node));
    else if (type === "InTableExpr") {
      everything = true;
      tables.add(tableName(node.rhs as Node));
      references.push({ table: tableName(node.rhs as Node), conditions: [] });
    } else if (type.endsWith("StarResultColumn")) everything = true;
    else if (type === "TypedJoinJoinOperator") everything ||= (Number(node.joinType ?? 0) & NATURAL) !== 0;
    else if (type === "Name") names.add(String(node.text).toLowerCase());
    else if (type === "Id") names.add(String(node.name).toLowerCase());
    else if (type === "VariableExpr")
      throw storeErrors.error("query_refused", "the query has a parameter, and takes none");
    else if (type === "StringLiteral") {
      const lone = taken.has((node.span as Span).offset) ? undefined : loneTime(node);
      if (lone) times.push(lone);
      // SQLite reads a quoted name as a text, and a text as a name, where only the other makes sense.
      names.add(String(node.value).toLowerCase());
    }
    for (const time of comparedTimes(node)) {
      times.push(time);
      taken.add(time.span.offset); // a comparison comes before its sides
    }
    if (type === "ExprResultColumn") {
      const [alias, column] = [nameOf((node.alias as Node | undefined)?.name), columnOf(node.expr as Node)];
      if (alias !== "" && column) aliases.set(alias.toLowerCase(), column.column);
    }
    if ((type === "Id" || type === "Name") && sql[(node.span as Span).offset] === '"') quoted.push(node.span as Span);
  });
  const named = [...tables].filter((table) => !common.has(table.toLowerCase()));
  return { sql, tables: named, references, names, everything, times, aliases, quoted };
}

function parsed(sql: string): Node {
  if (sql.length > LENGTH_MAX || sql.includes("\0")) {
    throw storeErrors.error("query_invalid", `the query is longer than ${LENGTH_MAX} characters, or holds a NUL`);
  }
  const result = parseStmt(sql);
  if (result.status === "error") {
    const { message, span, hints } = result.errors[0]!;
    const several = message.includes("single statement");
    const hint = hints?.[0]?.message;
    const said = `the query is not one SELECT: ${message}${hint === undefined ? "" : `, ${hint}`}`;
    const fix = several ? undefined : "Correct the query; a name that SQL itself uses stands in double quotes.";
    const place = `query:${span.line}:${span.col + 1}`;
    throw storeErrors.error(several ? "query_refused" : "query_invalid", said, { place, fix });
  }
  if (result.root.type === "SelectStmt") return result.root as unknown as Node;
  const kind = result.root.type.replace(/Stmt$/, "");
  throw storeErrors.error("query_refused", `the query is ${kind.toUpperCase()}, and only SELECT is answered`);
}

/**
 * The query with its times spelled as the stored ones are, and its quoted names so that they can only be names. Throws as
 * `timeEdits` does.
 */
export function respell(query: ParsedQuery, { spell, typeOf }: Spelling): string {
  const named = (column: string) => typeOf(column) ?? typeOf(query.aliases.get(column) ?? "");
  const edits: Edit[] = [
    ...timeEdits(query.sql, query.times, { spell, typeOf: named }),
    ...query.quoted.map(({ offset, length }) => {
      const name = query.sql.slice(offset + 1, offset + length - 1).replaceAll('""', '"');
      return { from: offset, to: offset + length, text: `\`${name.replaceAll("`", "``")}\`` };
    }),
  ];
  let sql = query.sql;
  for (const { from, to, text } of edits.sort((a, b) => b.from - a.from))
    sql = sql.slice(0, from) + text + sql.slice(to);
  return sql;
}

function walk(node: unknown, visit: (node: Node) => void, depth = 0): void {
  if (depth > DEPTH_MAX) throw storeErrors.error("query_invalid", "the query is nested too deep");
  if (Array.isArray(node)) {
    for (const item of node) walk(item, visit, depth + 1);
  } else if (node !== null && typeof node === "object") {
    if (typeof (node as Node).type === "string") visit(node as Node);
    for (const value of Object.values(node)) walk(value, visit, depth + 1);
  }
}

/**
 * The tables of one SELECT's FROM, with the conditions of its WHERE that can only be of theirs. A row that fails one is in no
 * answer, whatever the joins: a comparison is never true of the nulls that an outer join puts in place of a row.
 */
function referencesOf(select: Node): Reference[] {
  const items: Node[] = [];
  const collect = (from: Node | undefined) => {
    const joins = (from?.joins as readonly Node[] | undefined) ?? [];
    for (const item of [from?.select as Node | undefined, ...joins.map((join) => join.table as Node)]) {
      if (item?.type === "SubSelectTable") collect(item.from as Node);
      else if (item !== undefined) items.push(item);
    }
  };
  collect(select.from as Node | undefined);
  const comparisons = conjuncts(select.whereClause as Node | undefined).flatMap(comparisonsOf);
  return items
    .filter((item) => item.type === "TableSelectTable")
    .map((item) => {
      const table = tableName(item.tblName as Node);
      const alias = nameOf((item.alias as Node | undefined)?.name).toLowerCase() || table.toLowerCase();
      const own = comparisons.filter(({ of }) => (of === undefined ? items.length === 1 : of === alias));
      return { table, conditions: own.map(({ column, operator, literal }) => ({ column, operator, literal })) };
    });
}

function conjuncts(node: Node | undefined): Node[] {
  if (node === undefined) return [];
  if (node.type === "BinaryExpr" && node.op === "And") {
    return [...conjuncts(node.left as Node), ...conjuncts(node.right as Node)];
  }
  const inner = node.type === "ParenthesizedExpr" ? (node.exprs as readonly Node[]) : [];
  return inner.length === 1 ? conjuncts(inner[0]) : [node];
}

const OPERATORS: Readonly<Record<string, Operator>> = {
  Less: "<",
  LessEquals: "<=",
  Greater: ">",
  GreaterEquals: ">=",
  Equals: "=",
};
const TURNED: Readonly<Record<Operator, Operator>> = { "<": ">", "<=": ">=", ">": "<", ">=": "<=", "=": "=" };

interface Comparison extends Condition {
  /** The table or alias before the column, in lower case. */
  readonly of: string | undefined;
}

function comparisonsOf(node: Node): Comparison[] {
  const made = (left: unknown, operator: Operator | undefined, right: unknown): Comparison[] => {
    const column = columnOf(left as Node);
    const literal = literalOf(right as Node);
    return column && operator && literal !== undefined ? [{ ...column, operator, literal }] : [];
  };
  if (node.type === "BetweenExpr" && node.not === false) {
    return [...made(node.lhs, ">=", node.start), ...made(node.lhs, "<=", node.end)];
  }
  const operator = node.type === "BinaryExpr" ? OPERATORS[String(node.op)] : undefined;
  if (operator === undefined) return [];
  return [...made(node.left, operator, node.right), ...made(node.right, TURNED[operator], node.left)];
}

function literalOf(node: Node): string | number | undefined {
  if (node.type === "StringLiteral") return String(node.value);
  if (node.type === "UnaryExpr" && node.op === "Negative") {
    const literal = literalOf(node.expr as Node);
    return typeof literal === "number" ? -literal : undefined;
  }
  return node.type === "NumericLiteral" ? Number(node.value) : undefined;
}

const nameOf = (node: unknown): string => String((node as Node | undefined)?.text ?? "");

function tableName(qualified: Node): string {
  const name = nameOf(qualified.objName);
  if (qualified.dbName === undefined) return name;
  const message = `"${nameOf(qualified.dbName)}.${name}" names a database, and there is only one`;
  throw storeErrors.error("query_refused", message, { fix: `Write ${name}, or "stream/name" in double quotes.` });
}

function checkTableFunction(qualified: Node): void {
  const name = nameOf(qualified.objName).toLowerCase();
  if (TABLE_FUNCTIONS.has(name) && qualified.dbName === undefined) return;
  throw storeErrors.error("query_refused", `the table function ${name} is not offered`, {
    fix: "Use json_each or json_tree.",
  });
}
