import { parseStmt, type Span } from "sqlite3-parser";
import { parseInstant } from "../base/time.ts";
import { storeErrors } from "./errors.ts";

/** A query that was found to be one SELECT, and what it reads. */
export interface ParsedQuery {
  readonly sql: string;
  /** Tables as written, common table expressions left out. */
  readonly tables: readonly string[];
  /** Every name in the query, in lower case: no other column is needed, unless `everything`. */
  readonly names: ReadonlySet<string>;
  /** True where a `*` or a natural join takes columns without naming them. */
  readonly everything: boolean;
  /** Texts that are instants: they are compared with stored timestamps. */
  readonly instants: readonly { readonly span: Span; readonly micros: number }[];
}

type Node = Readonly<Record<string, unknown>>;

const LENGTH_MAX = 100_000;
const TABLE_FUNCTIONS: ReadonlySet<string> = new Set(["json_each", "json_tree"]);

/** Throws `store.query_invalid` or `store.query_refused`. */
export function parseQuery(sql: string): ParsedQuery {
  if (sql.length > LENGTH_MAX || sql.includes("\0")) {
    throw storeErrors.error("query_invalid", `the query is longer than ${LENGTH_MAX} characters, or holds a NUL`);
  }
  const result = parseStmt(sql);
  if (result.status === "error") {
    const { message, span, hints } = result.errors[0]!;
    const several = message.includes("single statement");
    throw storeErrors.error(several ? "query_refused" : "query_invalid", `the query is not one SELECT: ${message}`, {
      place: `query:${span.line}:${span.col + 1}`,
      fix: hints?.[0]?.message,
    });
  }
  if (result.root.type !== "SelectStmt") {
    const kind = result.root.type.replace(/Stmt$/, "");
    throw storeErrors.error("query_refused", `the query is ${kind.toUpperCase()}, and only SELECT is answered`);
  }
  const found = { tables: new Set<string>(), names: new Set<string>(), common: new Set<string>(), everything: false };
  const instants: { span: Span; micros: number }[] = [];
  walk(result.root as unknown as Node, (node) => {
    const type = node.type as string;
    if (type === "CommonTableExpr") found.common.add(nameOf(node.tblName).toLowerCase());
    else if (type === "TableSelectTable") found.tables.add(tableName(node.tblName as Node));
    else if (type === "TableCallSelectTable") checkTableFunction(node.tblName as Node);
    else if (type.endsWith("StarResultColumn")) found.everything = true;
    else if (type.endsWith("JoinOperator") && JSON.stringify(node).toLowerCase().includes("natural"))
      found.everything = true;
    else if (type === "Name") found.names.add(String(node.text).toLowerCase());
    else if (type === "Id") found.names.add(String(node.name).toLowerCase());
    else if (type === "VariableExpr")
      throw storeErrors.error("query_refused", "the query has a parameter, and takes none");
    else if (type === "StringLiteral") {
      const text = String(node.value);
      const micros = text.length > 10 ? parseInstant(text) : undefined;
      if (micros !== undefined) instants.push({ span: node.span as Span, micros });
      // SQLite reads a quoted name as a text, and a text as a name, where only the other makes sense.
      found.names.add(text.toLowerCase());
    }
  });
  const tables = [...found.tables].filter((table) => !found.common.has(table.toLowerCase()));
  return { sql, tables, names: found.names, everything: found.everything, instants };
}

/** The query with its instants spelled as the stored ones are. */
export function respell(query: ParsedQuery, spell: (micros: number) => string): string {
  let sql = query.sql;
  for (const { span, micros } of [...query.instants].sort((a, b) => b.span.offset - a.span.offset)) {
    sql = `${sql.slice(0, span.offset)}'${spell(micros)}'${sql.slice(span.offset + span.length)}`;
  }
  return sql;
}

function walk(node: unknown, visit: (node: Node) => void): void {
  if (Array.isArray(node)) {
    for (const item of node) walk(item, visit);
  } else if (node !== null && typeof node === "object") {
    if (typeof (node as Node).type === "string") visit(node as Node);
    for (const value of Object.values(node)) walk(value, visit);
  }
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
