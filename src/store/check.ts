import { Database } from "bun:sqlite";
import { contractOf } from "../contract/contract.ts";
import {
  type Names,
  namesOf,
  readIdentity,
  readSecret,
  readState,
  readWrappedKeys,
  SECRETS,
  type Sealer,
  type SecretName,
} from "./catalogue.ts";
import { checkWal, databaseHeader } from "./check_wal.ts";
import { checkFolds } from "./folds.ts";
import type { LogReader } from "./log_reader.ts";
import { checkMigrations, migrate, migrations } from "./migrations.ts";
import { readSegmentInfos } from "./segment_info.ts";
import { readStreamKeys } from "./stream_keys.ts";
import { readUpkeep } from "./upkeep.ts";

/** One thing that a check found wrong. */
export interface Finding {
  readonly place: string;
  readonly message: string;
}

type Catalogue = Pick<LogReader, "database" | "directory">;

/**
 * The database's own structure: SQLite's look at every page and index, bytes of the header that have one value, and a
 * write-ahead log that ends where it should. What no row can be read from (free pages, unused parts of pages, pages that
 * the write-ahead log replaces) is not looked at.
 */
export function checkPages({ database, directory }: Catalogue): Finding[] {
  const found: Finding[] = [];
  try {
    const said = database.query<{ integrity_check: string }, []>(`PRAGMA integrity_check(${PAGES_SAID})`).all();
    for (const { integrity_check: message } of said) if (message !== "ok") found.push({ place: "log.db", message });
  } catch (cause) {
    found.push({ place: "log.db", message: cause instanceof Error ? cause.message : String(cause) });
  }
  if (databaseHeader(directory).some((byte) => byte !== 0)) {
    found.push({ place: "log.db", message: "fixed bytes of its header are others" });
  }
  const lost = checkWal(directory);
  if (lost !== undefined) found.push({ place: "log.db-wal", message: lost });
  return found;
}

/** Complaints of SQLite about pages, at most. */
const PAGES_SAID = 3;

/**
 * Reads every row of the catalogue but the commits: each must open and say what the others say, in one read transaction,
 * since a server beside may be changing several of them.
 */
export function checkCatalogue(reader: Catalogue, sealer: Sealer): Finding[] {
  const { database, directory } = reader;
  const found = database.transaction(() => checkRows(reader, sealer))();
  checkFolds(directory, database, sealer, (place, message) => found.push({ place, message }));
  return found;
}

function checkRows(reader: Catalogue, sealer: Sealer): Finding[] {
  const { database } = reader;
  const found: Finding[] = [];
  const check = (place: string, look: () => string | undefined) => {
    try {
      const message = look();
      if (message !== undefined) found.push({ place, message });
    } catch (cause) {
      found.push({ place, message: cause instanceof Error ? cause.message : String(cause) });
    }
  };
  check("table migrations", () => (rowOfMigrationMissing(database) ? "a row is missing" : undefined));
  check("table sqlite_schema", () => (isOwnSchema(database) ? undefined : "it is not what the migrations make"));
  check("table store", () => {
    const identity = readIdentity(database);
    return identity && Buffer.compare(identity.storeId, sealer.storeId) === 0 ? undefined : "it names another store";
  });
  const keys = readWrappedKeys(database);
  if (keys.length === 0) found.push({ place: "table data_keys", message: "it is empty" });
  for (const key of keys) {
    check(`data key ${key.keyId}`, () => (sealer.keyring.holds(key) ? undefined : "its row was altered"));
  }
  for (const { keyId, key } of readStreamKeys(database, sealer)) {
    check(`stream key ${keyId}`, () => (key ? undefined : "it does not open"));
  }
  for (const name of Object.keys(SECRETS) as SecretName[]) {
    check(`secret ${name}`, () => (readSecret(database, sealer, name) ? undefined : "it is missing"));
  }
  checkNames(reader, sealer, check);
  check("the list of segments", () => {
    const stated = [...readState(database, sealer).segments].sort((a, b) => a - b);
    const rows = readSegmentInfos(database, sealer).map((info) => info.segmentId);
    return stated.join() === rows.join()
      ? undefined
      : `there should be ${stated.length} rows, and there are ${rows.length}`;
  });
  check("table upkeep", () => void readUpkeep(database, sealer));
  return found;
}

/** Later migrations need not be applied to a store that is only read; but where their tables are, their row must be. */
function rowOfMigrationMissing(database: Database): boolean {
  const later = migrations.slice(checkMigrations(database)).map(({ sql }) => sql);
  const made = later.flatMap((sql) => [...sql.matchAll(/^CREATE TABLE (\w+)/gm)].map((match) => match[1]!));
  const there = database.query<{ name: string }, []>("SELECT name FROM sqlite_master WHERE type = 'table'").all();
  return there.some(({ name }) => made.includes(name));
}

/** The texts of tables and indexes are those that the applied migrations make: SQLite reads columns by them. */
function isOwnSchema(database: Database): boolean {
  const applied = checkMigrations(database);
  const made = new Database(":memory:");
  try {
    migrate(made, migrations.slice(0, applied));
    const schemaOf = (one: Database) =>
      JSON.stringify(one.query("SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY type, name").all());
    return schemaOf(database) === schemaOf(made);
  } finally {
    made.close();
  }
}

type Check = (place: string, look: () => string | undefined) => void;

/** Streams and contracts are numbered from 0 without gaps, and a contract has the fingerprint of its schema. */
function checkNames(reader: Catalogue, sealer: Sealer, check: Check): void {
  const { database } = reader;
  const fresh: Names = namesOf(database, sealer);
  const ids = (table: string, column: string) =>
    database.query<{ id: number }, []>(`SELECT ${column} AS id FROM ${table} ORDER BY ${column}`).all();
  for (const [place, table, column] of [
    ["stream", "streams", "stream_id"],
    ["contract", "contracts", "contract_id"],
  ] as const) {
    ids(table, column).forEach(({ id }, index) => {
      check(`${place} ${index}`, () => {
        if (id !== index) return "its row is missing";
        if (place === "stream") return fresh.streamOf(id) === undefined ? "it has no name" : undefined;
        const contract = fresh.contractOf(id);
        const own = contractOf(contract.schema, `stored contract ${id}`).fingerprint;
        return own === contract.fingerprint ? undefined : "its fingerprint is not that of its schema";
      });
    });
  }
}
