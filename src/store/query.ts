import { Database } from "bun:sqlite";
import { invariant } from "../base/errors.ts";
import { nearest } from "../base/nearest.ts";
import type { Value } from "../base/row.ts";
import { formatDay, formatInstant, MICROS_PER_SECOND } from "../base/time.ts";
import { columnNamed, valueAt } from "../contract/batch.ts";
import type { Field, FieldType } from "../contract/contract.ts";
import { storeErrors } from "./errors.ts";
import type { Store, StoredRows } from "./port.ts";
import { type ParsedQuery, parseQuery, respell } from "./query_parse.ts";

export interface QueryLimits {
  /** Most rows of the answer; default 10,000. */
  readonly rows?: number;
  /** Most stored rows that are read for it, all tables together; default 2,000,000. */
  readonly read?: number;
}

export interface QueryResult {
  readonly columns: readonly string[];
  readonly rows: readonly (readonly Value[])[];
}

const ROWS_MAX = 10_000;
const READ_MAX = 2_000_000;

/**
 * Answers one SELECT over the streams of the store, from a copy of the needed columns in an in-memory SQLite.
 *
 * A table is a stream by its name (`"curated/departures"`, `ledger`), or shorter: `departures` for a curated dataset,
 * `features_flight_delay` for `features/flight_delay`. It holds the latest version of each record; with `_versions` after
 * its name every stored row, with `_sequence`, `_commit_no`, `_known_time` and `_tombstone`. Timestamps are ISO 8601 texts
 * in UTC, all of one answer equally long, and instants in the query are spelled the same, so `<`, `=` and ORDER BY are
 * right; `'2013-01-31'` alone compares as the text that its instants begin with. Dates are texts, booleans 0 and 1, NaN null.
 *
 * Throws `store.query_invalid`, `query_refused`, `unknown_table` or `query_too_large`.
 */
export async function query(store: Store, sql: string, limits: QueryLimits = {}): Promise<QueryResult> {
  const parsed = parseQuery(sql);
  const tables = await knownTables(store);
  // The cutoff makes all tables of a join, and both scans of each, see what was there when the query came.
  const { commitNo: upTo } = await store.head();
  let room = limits.read ?? READ_MAX;
  const loaded: Loaded[] = [];
  for (const name of parsed.tables) {
    const table = await load(store, { name, table: findTable(tables, name), upTo, room }, parsed);
    room -= table.read;
    loaded.push(table);
  }
  const spell = speller(parsed, loaded);
  const database = new Database(":memory:", { safeIntegers: true });
  try {
    database.run("PRAGMA temp_store = memory");
    for (const table of loaded) fill(database, table, spell);
    database.run("PRAGMA query_only = on");
    return answer(database, respell(parsed, spell), loaded, limits.rows ?? ROWS_MAX);
  } finally {
    database.close();
  }
}

interface Table {
  readonly stream: string;
  readonly versions: boolean;
}

/** Every name that a query may use -> its stream. */
async function knownTables(store: Store): Promise<ReadonlyMap<string, Table>> {
  const streams = (await store.streams()).map((info) => info.stream).sort();
  const tables = new Map<string, Table>();
  const add = (name: string, table: Table) => {
    if (!tables.has(name.toLowerCase())) tables.set(name.toLowerCase(), table);
  };
  // Longer names first: a dataset called `ledger` does not hide the ledger.
  for (const versions of [false, true]) {
    const suffix = versions ? "_versions" : "";
    for (const stream of streams) add(stream + suffix, { stream, versions });
    for (const stream of streams) add(stream.replace("/", "_") + suffix, { stream, versions });
    for (const stream of streams) {
      if (stream.startsWith("curated/")) add(stream.slice("curated/".length) + suffix, { stream, versions });
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

interface Loaded {
  readonly name: string;
  /** Stored rows that were read. */
  readonly read: number;
  readonly fields: readonly Field[];
  readonly pages: readonly StoredRows[];
  /** Pairs of page and row, in order of sequence. */
  readonly picked: readonly (readonly [page: number, row: number])[];
  readonly versions: boolean;
}

interface Reading {
  readonly name: string;
  readonly table: Table;
  /** The commit number that the query sees, the same for every table. */
  readonly upTo: number;
  /** Rows that may still be read. */
  readonly room: number;
}

async function load(store: Store, { name, table, upTo, room }: Reading, query: ParsedQuery): Promise<Loaded> {
  const pages: StoredRows[] = [];
  let fields: readonly Field[] = [];
  let columns: readonly string[] | undefined;
  let read = 0;
  for await (const { batch } of store.scan(table.stream, { columns: [], upTo })) {
    const { recordId } = batch.contract;
    const identity =
      recordId === "position" ? [] : recordId === "content" ? batch.contract.fields.map((f) => f.name) : recordId;
    const wanted = batch.contract.fields.filter(
      (field) => query.everything || query.names.has(field.name.toLowerCase()),
    );
    fields = merged(fields, wanted);
    columns = [
      ...new Set([...(columns ?? []), ...wanted.map((field) => field.name), ...(table.versions ? [] : identity)]),
    ];
    read += batch.length;
    if (read > room) {
      const message = `"${name}" has more rows than the query may still read (${room})`;
      throw storeErrors.error("query_too_large", message);
    }
  }
  for await (const page of store.scan(table.stream, { columns: columns ?? [], upTo })) pages.push(page);
  return { name, read, fields, pages, picked: pick(pages, table.versions), versions: table.versions };
}

function merged(known: readonly Field[], more: readonly Field[]): readonly Field[] {
  const names = new Set(known.map((field) => field.name));
  return [...known, ...more.filter((field) => !names.has(field.name))];
}

/** All rows, or per record id the one with the greatest sequence, unless that withdraws it. */
function pick(pages: readonly StoredRows[], versions: boolean): (readonly [number, number])[] {
  const latest = new Map<string | number, readonly [number, number]>();
  pages.forEach((page, pageIndex) => {
    const { contract } = page.batch;
    const names = contract.recordId === "content" ? contract.fields.map((field) => field.name) : contract.recordId;
    const key = versions || names === "position" ? undefined : keyReader(page, names as readonly string[]);
    for (let row = 0; row < page.batch.length; row++) {
      const sequence = page.sequences[row]!;
      const id = key === undefined ? sequence : key(row);
      const known = latest.get(id);
      if (known === undefined || pages[known[0]]!.sequences[known[1]]! < sequence) latest.set(id, [pageIndex, row]);
    }
  });
  const live = [...latest.values()].filter(([page, row]) => versions || pages[page]!.tombstones[row] !== 1);
  return live.sort(([pageA, a], [pageB, b]) => pages[pageA]!.sequences[a]! - pages[pageB]!.sequences[b]!);
}

function keyReader(page: StoredRows, names: readonly string[]): (row: number) => string {
  const readers = names.map((name) => reader(page, name));
  return (row) => {
    // Each value with its length before it, so that no two lists of values make one text.
    let key = "";
    for (const read of readers) {
      const value = read(row);
      const text = value instanceof Uint8Array ? Buffer.from(value).toString("hex") : String(value);
      key += `${value === null ? "-" : text.length}:${text}`;
    }
    return key;
  };
}

/** Reads a field of a page; a field that its contract does not have yet is null. */
function reader(page: StoredRows, name: string): (row: number) => Value {
  const field = page.batch.contract.fields.find((candidate) => candidate.name === name);
  if (!field) return () => null;
  const column = columnNamed(page.batch, name);
  return (row) => valueAt(column, field.type, row);
}

/** Whole seconds where all instants are, else six digits: texts of one length order as the instants do. */
function speller(query: ParsedQuery, tables: readonly Loaded[]): (micros: number) => string {
  let whole = query.instants.every(({ micros }) => micros % MICROS_PER_SECOND === 0);
  for (const { fields, pages, versions } of tables) {
    if (versions && query.everything) whole = false;
    if (query.names.has("_known_time")) whole = false;
    const times = fields.filter((field) => field.type === "timestamp");
    for (const page of whole ? pages : []) {
      for (const field of times) {
        const read = reader(page, field.name);
        for (let row = 0; row < page.batch.length && whole; row++) {
          whole = ((read(row) as number | null) ?? 0) % MICROS_PER_SECOND === 0;
        }
      }
    }
  }
  if (whole) return formatInstant;
  return (micros) => {
    const [second, fraction = ""] = formatInstant(micros).slice(0, -1).split(".");
    return `${second}.${fraction.padEnd(6, "0")}Z`;
  };
}

const AFFINITY: Readonly<Record<FieldType, string>> = {
  boolean: "INTEGER",
  int: "INTEGER",
  long: "INTEGER",
  float: "REAL",
  double: "REAL",
  string: "TEXT",
  enum: "TEXT",
  bytes: "BLOB",
  timestamp: "TEXT",
  date: "TEXT",
};

const quoted = (name: string): string => `"${name.replaceAll('"', '""')}"`;

function fill(database: Database, table: Loaded, spell: (micros: number) => string): void {
  const { fields, pages, picked, versions } = table;
  const declared = fields.map((field) => `${quoted(field.name)} ${AFFINITY[field.type]}`);
  if (versions) declared.push("_sequence INTEGER", "_commit_no INTEGER", "_known_time TEXT", "_tombstone INTEGER");
  // A table needs a column; a count needs only rows.
  if (declared.length === 0) declared.push("_nothing");
  database.run(`CREATE TABLE ${quoted(table.name)} (${declared.join(", ")})`);
  const insert = database.prepare(`INSERT INTO ${quoted(table.name)} VALUES (${declared.map(() => "?").join(", ")})`);
  const readers = pages.map((page) => fields.map((field) => reader(page, field.name)));
  database.transaction(() => {
    for (const [page, row] of picked) {
      const values: (null | number | bigint | string | Uint8Array)[] = fields.map((field, index) =>
        bound(readers[page]![index]!(row), field.type, spell),
      );
      const { sequences, commitNos, knownTimes, tombstones } = pages[page]!;
      if (versions) values.push(sequences[row]!, commitNos[row]!, spell(knownTimes[row]!), tombstones[row]!);
      if (values.length === 0) values.push(null);
      insert.run(...values);
    }
  })();
}

function bound(
  value: Value,
  type: FieldType,
  spell: (micros: number) => string,
): null | number | bigint | string | Uint8Array {
  if (value === null) return null;
  if (type === "timestamp") return spell(value as number);
  if (type === "date") return formatDay(value as number);
  return typeof value === "boolean" ? Number(value) : value;
}

function answer(database: Database, sql: string, tables: readonly Loaded[], rowsMax: number): QueryResult {
  const inner = sql.trim().replace(/;+\s*$/, "");
  try {
    const statement = database.prepare(`SELECT * FROM (\n${inner}\n) LIMIT ${rowsMax + 1}`);
    const found = statement.values() as unknown[][];
    if (found.length > rowsMax) {
      throw storeErrors.error("query_too_large", `the query gives more than ${rowsMax} rows`);
    }
    return { columns: statement.columnNames, rows: found.map((row) => row.map(shown)) };
  } catch (error) {
    if (!(error instanceof Error) || error.name !== "SQLiteError") throw error;
    const columns = tables.map(
      (table) =>
        `${table.name} has ${table.pages[0]?.batch.contract.fields.map((f) => f.name).join(", ") ?? "no rows"}`,
    );
    const fix = error.message.startsWith("no such column") ? `Columns: ${columns.join("; ")}.` : undefined;
    throw storeErrors.error("query_invalid", `the query can't be run: ${error.message}`, { fix });
  }
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
