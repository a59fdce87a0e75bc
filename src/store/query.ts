import { Database, SQLiteError } from "bun:sqlite";
import { invariant } from "../base/errors.ts";
import { nearest } from "../base/nearest.ts";
import type { Value } from "../base/row.ts";
import type { Contract, FieldType } from "../contract/contract.ts";
import { storeErrors } from "./errors.ts";
import { type Store, storedRows } from "./port.ts";
import {
  type Budget,
  declaredType,
  type First,
  fillTable,
  type Plan,
  planTable,
  readFirst,
  speller,
} from "./query_load.ts";
import { parseQuery, respell } from "./query_parse.ts";

export interface QueryLimits {
  /** Most rows of the answer; default 10,000. */
  readonly rows?: number;
  /** Most stored rows that are read for it, all tables together; default 20,000,000. */
  readonly read?: number;
  /** Most bytes of memory for the rows that it is answered from, all tables together; default 512 MiB. */
  readonly memory?: number;
  /** Called before SQLite answers from the rows, with what they left of `memory`. */
  readonly answering?: (bytesLeft: number) => void;
}

export interface QueryResult {
  readonly columns: readonly string[];
  /** The type of each column that is one of a table's; double for what SQLite computed so, else undefined. */
  readonly types: readonly (FieldType | undefined)[];
  readonly rows: readonly (readonly Value[])[];
  /** What had to be read for it. */
  readonly read: readonly TableRead[];
}

export interface TableRead {
  readonly table: string;
  readonly stream: string;
  /** Rows that the store holds, and those of them that were read. */
  readonly stored: number;
  readonly read: number;
}

const ROWS_MAX = 10_000;
const READ_MAX = 20_000_000;
const MEMORY_MAX = 512 << 20;

/**
 * Answers one SELECT over the streams of the store, from a copy of the needed rows and columns in an in-memory SQLite.
 *
 * A table is a stream by its name (`"curated/departures"`, `ledger`), or shorter: `departures` for a curated dataset,
 * `features_flight_delay` for `features/flight_delay`. It holds the latest version of each record; with `_versions` after
 * its name every stored row, with `_sequence`, `_commit_no`, `_known_time` and `_tombstone`. Its event time can be called
 * `event_time` too. Timestamps are ISO 8601 texts in UTC, all of one answer equally long, and instants and days in the query
 * that are compared with them are spelled the same, so `<`, `=` and ORDER BY are right; a literal that is no time is refused
 * there. Dates are texts, NaN null. Booleans are 0 and 1 to the query, and true and false where the answer has such a column
 * itself. Rows that no condition on event time or entity lets into the answer are
 * not read (`boundsOf`).
 *
 * Memory: the rows that were read and 32 to 64 bytes a record where records have versions, both under the bound. SQLite's own
 * for sorting and grouping, and the answer, only `queryInThread` bounds. Throws `store.query_invalid`, `query_refused`,
 * `unknown_table` or `query_too_large`.
 */
export async function query(store: Store, text: string, limits: QueryLimits = {}): Promise<QueryResult> {
  const parsed = parseQuery(text);
  // The cutoff makes all tables of a join, and both readings of each, see what was there when the query came.
  const { commitNo: upTo } = await store.head();
  const tables = await knownTables(store);
  const plans = parsed.tables.map((name) => planTable(name, findTable(tables, name), parsed, upTo));
  const budget: Budget = { rows: limits.read ?? READ_MAX, bytes: limits.memory ?? MEMORY_MAX };
  const firsts = new Map<Plan, First>();
  for (const plan of plans) firsts.set(plan, await readFirst(store, plan, budget));
  const spell = speller(parsed, firsts);
  const database = new Database(":memory:", { safeIntegers: true });
  try {
    for (const pragma of ["temp_store = memory", "journal_mode = off"]) database.run(`PRAGMA ${pragma}`);
    const read: TableRead[] = [];
    for (const [plan, first] of firsts) {
      const rows = await fillTable(store, database, { plan, first, spell, budget });
      read.push({ table: plan.name, stream: plan.stream, stored: plan.stored, read: rows });
      firsts.delete(plan); // what told its versions apart is done with
    }
    database.run("PRAGMA query_only = on");
    limits.answering?.(budget.bytes);
    const sql = respell(parsed, { spell, typeOf: (column) => typeIn(plans, column) });
    return { ...answer(database, sql, plans, limits.rows ?? ROWS_MAX), read };
  } finally {
    database.close();
  }
}

/** The type that a column of that name has in every table that has one; undefined where they differ. */
function typeIn(plans: readonly Plan[], column: string): FieldType | undefined {
  const named = plans.flatMap(({ columns }) => columns.filter(({ name }) => name.toLowerCase() === column));
  const types = new Set(named.map(({ type }) => type));
  return types.size === 1 ? [...types][0] : undefined;
}

interface Table {
  readonly stream: string;
  readonly stored: number;
  readonly contracts: readonly Contract[];
  readonly versions: boolean;
}

/** Every name that a query may use -> its stream. */
async function knownTables(store: Store): Promise<ReadonlyMap<string, Table>> {
  const streams = [...(await store.streams())].sort((a, b) => (a.stream < b.stream ? -1 : 1));
  const tables = new Map<string, Table>();
  const add = (name: string, table: Table) => {
    if (!tables.has(name.toLowerCase())) tables.set(name.toLowerCase(), table);
  };
  // Longer names first: a dataset called `ledger` does not hide the ledger.
  for (const versions of [false, true]) {
    const suffix = versions ? "_versions" : "";
    const all = streams.map((info) => ({ ...info, stored: storedRows(info), versions }));
    for (const table of all) add(table.stream + suffix, table);
    for (const table of all) add(table.stream.replace("/", "_") + suffix, table);
    for (const table of all) {
      if (table.stream.startsWith("curated/")) add(table.stream.slice("curated/".length) + suffix, table);
    }
  }
  return tables;
}

function findTable(tables: ReadonlyMap<string, Table>, name: string): Table {
  const table = tables.get(name.toLowerCase());
  if (table) return table;
  const names = [...tables.keys()].filter((known) => !known.endsWith("_versions"));
  const short = names.filter((known) => !known.includes("/") && !known.startsWith("curated_"));
  const near = nearest(name, names);
  const list = short.length === 0 ? "Nothing is stored yet." : `Tables: ${short.sort().join(", ")}.`;
  throw storeErrors.error("unknown_table", `there is no table "${name}"`, {
    fix: near ? `Did you mean ${near}? ${list}` : list,
  });
}

function answer(database: Database, sql: string, plans: readonly Plan[], rowsMax: number): Omit<QueryResult, "read"> {
  const inner = sql.trim().replace(/;+\s*$/, "");
  try {
    const statement = database.prepare(`SELECT * FROM (\n${inner}\n) LIMIT ${rowsMax + 1}`);
    const found = statement.values() as unknown[][];
    if (found.length > rowsMax) {
      throw storeErrors.error("query_too_large", `the query gives more than ${rowsMax} rows`, {
        fix: "Add conditions or a LIMIT, or raise the bound: --rows of `mlpe query`.",
      });
    }
    const types = statement.declaredTypes.map((declared, at) => declaredType(declared) ?? computedType(found, at));
    const rows = found.map(shownRow);
    for (const [at, type] of types.entries()) if (type === "boolean") showBooleans(rows, at);
    return { columns: statement.columnNames, types, rows };
  } catch (error) {
    if (!(error instanceof SQLiteError)) throw error;
    if (error.code === "SQLITE_NOMEM") {
      const message = "this machine has too little memory to sort, group or join that";
      throw storeErrors.error("query_too_large", message, { cause: error });
    }
    const columns = plans.map(({ name, all }) => `${name} has ${all.join(", ") || "no rows"}`);
    const isName = error.message.startsWith("no such column");
    const fix = isName ? `Columns: ${columns.join("; ")}. A text stands in single quotes.` : undefined;
    throw storeErrors.error("query_invalid", `the query can't be run: ${error.message}`, { fix });
  }
}

/** SQLite gives whole numbers as bigint here: a column with any other number holds doubles, whole ones among them too. */
function computedType(rows: readonly (readonly unknown[])[], at: number): FieldType | undefined {
  const kinds = new Set(rows.map((row) => (row[at] === null ? "null" : typeof row[at])));
  return kinds.has("number") && [...kinds].every((kind) => ["number", "bigint", "null"].includes(kind))
    ? "double"
    : undefined;
}

/** In place: an answer may be most of what a query takes. */
function shownRow(row: unknown[]): Value[] {
  for (let i = 0; i < row.length; i++) row[i] = shown(row[i]);
  return row as Value[];
}

/** In place. A UNION may put other numbers under a column of booleans: then all are left as numbers. */
function showBooleans(rows: readonly Value[][], at: number): void {
  const isBoolean = (value: Value | undefined) => value === null || value === 0 || value === 1;
  if (!rows.every((row) => isBoolean(row[at]))) return;
  for (const row of rows) if (row[at] !== null) row[at] = row[at] === 1;
}

function shown(value: unknown): Value {
  if (typeof value === "bigint") {
    const small = Number(value);
    return Number.isSafeInteger(small) ? small : value;
  }
  invariant(
    value === null || typeof value === "number" || typeof value === "string" || value instanceof Uint8Array,
    "SQLite gave a value of another kind",
  );
  return value;
}
