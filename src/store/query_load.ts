import { type Database, SQLiteError } from "bun:sqlite";
import type { Value } from "../base/row.ts";
import { formatDay, formatInstant, MICROS_PER_SECOND, type Micros } from "../base/time.ts";
import { type Column, valueAt } from "../contract/batch.ts";
import type { Contract, FieldType } from "../contract/contract.ts";
import { storeErrors } from "./errors.ts";
import { identityOf, type LatestRows, latestRows } from "./latest.ts";
import type { ScanOptions, Store, StoredRows } from "./port.ts";
import { boundsOf, EVENT_TIME, hasOwnEventTime } from "./query_bounds.ts";
import type { ParsedQuery } from "./query_parse.ts";

/** How one table of a query is read. */
export interface Plan {
  /** As the query writes it. */
  readonly name: string;
  readonly stream: string;
  /** Rows that the store holds of it. */
  readonly stored: number;
  readonly contracts: readonly Contract[];
  readonly versions: boolean;
  /** Those that the query needs. */
  readonly columns: readonly { readonly name: string; readonly type: FieldType }[];
  /** The field that the query calls `event_time`. */
  readonly eventTime: string | undefined;
  /** The names of all that it could ask for. */
  readonly all: readonly string[];
  readonly scan: ScanOptions;
}

/** What may still be used, of all tables together. */
export interface Budget {
  rows: number;
  bytes: number;
}

/** What is known of a table after its first reading. */
export interface First {
  /** Undefined where every row is shown. */
  readonly latest?: LatestRows;
  /** Whether all its instants are whole seconds. */
  readonly whole: boolean;
}

interface Described {
  readonly stream: string;
  readonly stored: number;
  readonly contracts: readonly Contract[];
  readonly versions: boolean;
}

export function planTable(name: string, table: Described, query: ParsedQuery, upTo: number): Plan {
  const { contracts, versions } = table;
  const fields = new Map<string, FieldType>();
  for (const field of contracts.flatMap((contract) => contract.fields)) {
    if (!fields.has(field.name)) fields.set(field.name, field.type);
  }
  const times = new Set(contracts.map(({ eventTime }) => eventTime));
  const [time] = times;
  const named = times.size === 1 && !contracts.some(hasOwnEventTime) ? time : undefined;
  const eventTime = query.names.has(EVENT_TIME) ? named : undefined;
  const wanted = [...fields].filter(
    ([field]) => query.everything || query.names.has(field.toLowerCase()) || field === eventTime,
  );
  const columns = wanted.map(([field, type]) => ({ name: field, type }));
  if (versions) for (const [field, type] of VERSION_COLUMNS) columns.push({ name: field, type });
  if (eventTime !== undefined) columns.push({ name: EVENT_TIME, type: "timestamp" });
  return {
    name,
    ...table,
    columns,
    eventTime,
    all: [...fields.keys(), ...(named === undefined ? [] : [EVENT_TIME])],
    scan: { upTo, ...boundsOf(query, name, contracts, versions) },
  };
}

const VERSION_COLUMNS = [
  ["_sequence", "long"],
  ["_commit_no", "long"],
  ["_known_time", "timestamp"],
  ["_tombstone", "boolean"],
] as const satisfies readonly (readonly [string, FieldType])[];

const OWN: ReadonlySet<string> = new Set([...VERSION_COLUMNS.map(([name]) => name), EVENT_TIME]);

/** The columns that are fields of the stored rows. */
const fieldsOf = ({ columns, versions, eventTime }: Plan) =>
  columns.filter(({ name }) => !(OWN.has(name) && (versions || (name === EVENT_TIME && eventTime !== undefined))));

/**
 * Looks which rows are the latest versions, and how exact the instants are. Reads only the fields for that, and nothing where
 * every row is shown and no timestamp is.
 */
export async function readFirst(store: Store, plan: Plan, budget: Budget): Promise<First> {
  const identity = plan.versions ? [] : [...new Set(plan.contracts.flatMap(identityOf))];
  const picks = !plan.versions && plan.contracts.some(({ recordId }) => recordId !== "position");
  const times = fieldsOf(plan).filter(({ type }) => type === "timestamp");
  const latest = latestRows();
  let whole = true;
  let rows = 0;
  if (!picks && times.length === 0) return { whole };
  const columns = [...identity, ...times.map(({ name }) => name)];
  for await (const stored of store.scan(plan.stream, { ...plan.scan, columns })) {
    rows += stored.batch.length;
    if (rows > budget.rows) throw tooManyRows(plan, budget);
    whole &&= times.every(({ name }) => isWhole(stored, name));
    if (picks) latest.add(stored);
    if (latest.bytes() > budget.bytes) throw tooManyBytes(plan, budget);
    if (!picks && !whole) break;
  }
  if (!picks) return { whole };
  budget.bytes -= latest.bytes();
  return { whole, latest };
}

function isWhole({ batch }: StoredRows, name: string): boolean {
  const column = columnOf(batch.contract, batch.columns, name)?.column;
  if (column?.kind !== "number") return true;
  const { values, valid } = column;
  for (let row = 0; row < batch.length; row++) {
    if (values[row]! % MICROS_PER_SECOND !== 0 && valid?.[row] !== 0) return false;
  }
  return true;
}

function columnOf(contract: Contract, columns: readonly Column[], name: string) {
  const at = contract.fields.findIndex((field) => field.name === name);
  return at < 0 ? undefined : { column: columns[at]!, type: contract.fields[at]!.type };
}

/** Whole seconds where all instants are, else six digits: texts of one length order as the instants do. */
export function speller(query: ParsedQuery, firsts: ReadonlyMap<Plan, First>): (micros: Micros) => string {
  const every = query.everything && [...firsts.keys()].some(({ versions }) => versions);
  const stated = query.times.every(({ micros = 0 }) => micros % MICROS_PER_SECOND === 0);
  const whole = stated && [...firsts.values()].every((first) => first.whole);
  if (whole && !every && !query.names.has("_known_time")) return formatInstant;
  return (micros) => {
    const [second, fraction = ""] = formatInstant(micros).slice(0, -1).split(".");
    return `${second}.${fraction.padEnd(6, "0")}Z`;
  };
}

/** SQLite goes by what is in a declared type (TEXT, INT, REAL, BLOB); the rest of it says what a column of an answer is. */
const DECLARED: Readonly<Record<FieldType, string>> = {
  boolean: "INTEGER_BOOLEAN",
  int: "INTEGER_SHORT",
  long: "INTEGER",
  float: "REAL_SHORT",
  double: "REAL",
  string: "TEXT",
  enum: "TEXT",
  bytes: "BLOB",
  timestamp: "TEXT_TIMESTAMP",
  date: "TEXT_DATE",
};

/** The type of a column that SQLite says was declared so; undefined for what was computed. */
export function declaredType(declared: string | null): FieldType | undefined {
  return (Object.keys(DECLARED) as FieldType[]).find((type) => DECLARED[type] === declared);
}

const quoted = (name: string): string => `"${name.replaceAll('"', '""')}"`;

interface Filling {
  readonly plan: Plan;
  readonly first: First;
  readonly spell: (micros: Micros) => string;
  readonly budget: Budget;
}

/** Makes the table and copies its rows, in order of sequence whatever the order they are read in; gives how many were read. */
export async function fillTable(store: Store, database: Database, filling: Filling): Promise<number> {
  const { plan, first, budget } = filling;
  const room = Math.floor(budget.bytes / PAGE_BYTES);
  const before = pagesOf(database);
  if (room < 1) throw tooManyBytes(plan, budget);
  database.run(`PRAGMA max_page_count = ${before + room}`);
  let read = 0;
  try {
    const insert = createTable(database, filling);
    const columns = fieldsOf(plan).map(({ name }) => name);
    for await (const stored of store.scan(plan.stream, { ...plan.scan, columns })) {
      read += stored.batch.length;
      if (read > budget.rows) throw tooManyRows(plan, budget);
      insert(stored);
    }
  } catch (cause) {
    if (cause instanceof SQLiteError && cause.code === "SQLITE_FULL") throw tooManyBytes(plan, budget);
    throw cause;
  }
  budget.rows -= read;
  budget.bytes += (first.latest?.bytes() ?? 0) - (pagesOf(database) - before) * PAGE_BYTES;
  return read;
}

const PAGE_BYTES = 4096;

const pagesOf = (database: Database): number =>
  Number((database.query("PRAGMA page_count").get() as { page_count: bigint }).page_count);

type Bound = null | number | bigint | string | Uint8Array;

/** Creates the table; gives what inserts the rows of a part that are to be seen. */
function createTable(database: Database, { plan, first, spell }: Filling): (stored: StoredRows) => void {
  const fields = fieldsOf(plan);
  const declared = fields.map(({ name, type }) => `${quoted(name)} ${DECLARED[type]}`);
  if (plan.versions) declared.push(...VERSION_COLUMNS.map(([name, type]) => `${name} ${DECLARED[type]}`));
  const stored = declared.length;
  if (plan.eventTime !== undefined) {
    declared.push(`${EVENT_TIME} ${DECLARED.timestamp} GENERATED ALWAYS AS (${quoted(plan.eventTime)}) VIRTUAL`);
  }
  // A table needs a column; a count needs only rows.
  if (declared.length === 0) declared.push("_nothing");
  database.run(`CREATE TABLE ${quoted(plan.name)} (${declared.join(", ")})`);
  const taken = new Set(plan.columns.map(({ name }) => name.toLowerCase()));
  const rowid = ["rowid", "oid", "_rowid_"].find((name) => !taken.has(name));
  const names = [...fields.map(({ name }) => quoted(name)), ...(plan.versions ? [...OWN_VERSION] : [])];
  const places = rowid === undefined ? names : [rowid, ...names];
  const insert = database.prepare(
    `INSERT INTO ${quoted(plan.name)} (${places.join(", ")}) VALUES (${places.map(() => "?").join(", ")})`,
  );
  return (part) => {
    const readers = fields.map(({ name }) => readerOf(part, name, spell));
    const { sequences, commitNos, knownTimes, tombstones } = part;
    const values = new Array<Bound>(stored + (rowid === undefined ? 0 : 1));
    database.transaction(() => {
      for (let row = 0; row < part.batch.length; row++) {
        const sequence = sequences[row]!;
        if (first.latest ? !first.latest.isLatest(sequence) : !plan.versions && tombstones[row] === 1) continue;
        let at = 0;
        if (rowid !== undefined) values[at++] = sequence;
        for (let field = 0; field < readers.length; field++) values[at++] = readers[field]!(row);
        if (plan.versions) {
          values[at++] = sequence;
          values[at++] = commitNos[row]!;
          values[at++] = spell(knownTimes[row]!);
          values[at++] = tombstones[row]!;
        }
        insert.run(...values);
      }
    })();
  };
}

const OWN_VERSION = VERSION_COLUMNS.map(([name]) => name);

/** Reads a field of a part as SQLite is given it; a field that its contract does not have yet is null. */
function readerOf({ batch }: StoredRows, name: string, spell: (micros: Micros) => string): (row: number) => Bound {
  const found = columnOf(batch.contract, batch.columns, name);
  if (!found) return () => null;
  const { column, type } = found;
  const shown = (value: Exclude<Value, null>): Bound => {
    if (type === "timestamp") return spell(value as number);
    if (type === "date") return formatDay(value as number);
    return typeof value === "boolean" ? Number(value) : value;
  };
  return (row) => {
    const value = valueAt(column, type, row);
    return value === null ? null : shown(value);
  };
}

const NARROWER =
  "A condition on event_time, or on the whole entity by =, that stands alone or under AND lets less be read, as do fewer columns";

function tooManyRows({ name, stream }: Plan, { rows }: Budget): Error {
  const message = `"${name}" has more rows than the query may still read (${rows})`;
  return storeErrors.error("query_too_large", message, {
    place: stream,
    fix: `${NARROWER}; or raise the bound: --read of \`mlpe query\`, in rows.`,
  });
}

function tooManyBytes({ name, stream }: Plan, { bytes }: Budget): Error {
  const mebibytes = (bytes / (1 << 20)).toFixed(bytes < 10 << 20 ? 1 : 0);
  return storeErrors.error(
    "query_too_large",
    `"${name}" needs more memory than the query has left (${mebibytes} MiB)`,
    {
      place: stream,
      fix: `${NARROWER}; or raise the bound: --memory of \`mlpe query\`, in MiB.`,
    },
  );
}
