import { Database } from "bun:sqlite";
import { accessSync, chmodSync, constants, existsSync, mkdirSync, readdirSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { storeErrors } from "./errors.ts";
import { bytesOf } from "./file_size.ts";
import { isFull } from "./full.ts";
import { isReadOnly, openReadOnly } from "./read_only.ts";

const BUSY_TIMEOUT_MS = 5_000;
const LEAST_VERSION = [3, 51, 3] as const; // first with the fix for the WAL reset race

export const databasePath = (directory: string) => join(directory, "log.db");
export const segmentsPath = (directory: string) => join(directory, "segments");

/** The folder that a restore works in, inside of a directory that was there: without a `log.db` beside it, it is unfinished. */
export const RESTORING = ".restoring";

/** Throws EACCES where this user may not look: a store may well be there. */
export const hasStore = (directory: string): boolean => {
  try {
    return statSync(databasePath(directory)).isFile();
  } catch (cause) {
    if (["EACCES", "EPERM"].includes((cause as { code: string }).code)) throw cause;
    return false;
  }
};

/**
 * What is left of a store whose `log.db` is gone or holds no tables, in words; undefined where nothing is. Whoever made a
 * new store there would sweep its segments.
 */
export function remainsOf(directory: string): string | undefined {
  const path = databasePath(directory);
  const isEmpty = bytesOf(path) === 0;
  if (isEmpty && bytesOf(`${path}-wal`) > 0) return "a write-ahead log";
  if (isEmpty && existsSync(join(directory, "log.sums"))) return "log.sums";
  const segments = existsSync(segmentsPath(directory)) ? readdirSync(segmentsPath(directory)).length : 0;
  return segments > 0 ? `${segments} files in segments/` : undefined;
}

/** What to do where `remainsOf` finds something. */
export const REMAINS_FIX =
  "Put log.db back, with log.db-wal if there was one, or restore a backup into another directory. Nothing was changed.";

/** Throws store.damaged where `log.db` has no store though the rest of one is there. */
export function checkRemains(directory: string, database?: Database): void {
  const made = database?.query("SELECT 1 FROM sqlite_master WHERE name = 'store'").get();
  if (!made && existsSync(join(directory, RESTORING))) {
    const message = `${directory} holds an unfinished restore: nothing of it was proven, or not all of it is there`;
    throw storeErrors.error("unfinished_restore", message, { place: directory });
  }
  const remains = made ? undefined : remainsOf(directory);
  if (remains === undefined) return;
  const message = `log.db of ${directory} is gone or empty, though there is ${remains}`;
  throw storeErrors.error("damaged", message, { place: databasePath(directory), fix: REMAINS_FIX });
}

/** The handle of the one writer. Makes the directory (0700) and the file (0600). Throws store.damaged as `checkRemains`, and store.failed_write. */
export function openWriterDatabase(directory: string): Database {
  if (bytesOf(databasePath(directory)) === 0) checkRemains(directory);
  mkdirSync(segmentsPath(directory), { recursive: true, mode: 0o700 });
  chmodSync(directory, 0o700);
  const path = databasePath(directory);
  checkWritable(directory);
  if (!existsSync(path)) writeFileSync(path, "", { mode: 0o600 });
  const database = patientDatabase(path, "write");
  try {
    checkVersion(database);
    for (const pragma of WRITER_PRAGMAS) database.run(`PRAGMA ${pragma}`);
    checkRemains(directory, database);
    return database;
  } catch (cause) {
    closeWithoutMoving(database);
    throw cause;
  }
}

const WRITER_PRAGMAS = [
  "page_size = 4096",
  "journal_mode = WAL",
  "synchronous = FULL",
  "temp_store = memory",
  "secure_delete = ON",
  "journal_size_limit = 16777216",
  "wal_autocheckpoint = 0", // whoever writes says first what a checkpoint will do: see sums.ts
  "foreign_keys = ON",
];

/**
 * Throws store.failed_write where this user may not write what SQLite writes. To be asked before SQLite opens `log.db`, as it
 * would make the other two with the rights of that.
 */
export function checkWritable(directory: string): void {
  for (const end of ["", "-wal", "-shm"]) refuseUnwritable(databasePath(directory) + end);
}

function refuseUnwritable(path: string): void {
  try {
    accessSync(path, constants.W_OK);
  } catch (cause) {
    const { code } = cause as { code: string };
    if (code === "ENOENT") return;
    if (code !== "EACCES" && code !== "EPERM") throw cause;
    const fix = `Run it as the user that the data directory belongs to, or let that user write again: chmod u+rw ${path}`;
    throw storeErrors.error("failed_write", `this user may not write ${path}`, { place: path, cause, fix });
  }
}

function checked(directory: string, database: Database): Database {
  try {
    checkRemains(directory, database);
    return database;
  } catch (cause) {
    closeWithoutMoving(database);
    throw cause;
  }
}

/** A handle that only reads, beside a writer or without one. No statement of it stays open after a call. */
export function openReaderDatabase(directory: string): Database {
  if (!hasStore(directory)) {
    checkRemains(directory);
    throw storeErrors.error("not_a_store", `${directory} holds no store`, { place: directory });
  }
  // SQLite's read-only mode: another handle, if it is the last to go, moves the write-ahead log into log.db on closing.
  // Before a store was ever made, a power cut may leave a journal of another kind, which only one that writes can roll back.
  const database = openUnchecked(directory, existsSync(`${databasePath(directory)}-journal`) ? "write" : "read");
  database.run("PRAGMA temp_store = memory");
  database.run("PRAGMA query_only = ON");
  return checked(directory, database);
}

/** Whether a handle for reading sees the log as it was, and never what is committed later. */
export const isFixed = (directory: string, { filename }: Database): boolean => filename !== databasePath(directory);

/** What SQLite says of a header that names a format of tables it does not know: one of ours never does. */
const FOREIGN_FORMAT = "unsupported file format";

function foreignFormat(directory: string, cause: unknown): Error {
  const message = "log.db is damaged: its header is not what was written";
  return storeErrors.error("damaged", message, { place: databasePath(directory), cause });
}

/**
 * A handle that may hold anything; where SQLite can't make its files because the directory is read-only or the disk full, so
 * that nobody writes, one that needs no file there.
 */
export function openUnchecked(directory: string, mode: "read" | "write" = "read"): Database {
  const database = patientDatabase(databasePath(directory), mode);
  try {
    checkVersion(database); // preparing any statement looks at the file
    return database;
  } catch (cause) {
    const refused = /^SQLITE_(READONLY|CANTOPEN)/.test(String((cause as { code?: string }).code));
    const readOnly = mode === "read" && ((refused && isReadOnly(directory)) || isFull(cause));
    if (readOnly) database.close();
    else closeWithoutMoving(database);
    if (!readOnly) throw (cause as Error).message === FOREIGN_FORMAT ? foreignFormat(directory, cause) : cause;
    return openReadOnly(databasePath(directory));
  }
}

/**
 * Closes a handle that may write, and leaves the write-ahead log where it is: SQLite moves it into log.db when the last
 * handle goes, and one that only reads can't.
 */
export function closeWithoutMoving(database: Database): void {
  let last: Database | undefined;
  try {
    last = new Database(database.filename, { readonly: true });
    last.query("SELECT count(*) FROM sqlite_schema").get();
  } catch {
    // What can't be read is not moved either.
  }
  database.close();
  last?.close();
}

/** Waits from its first statement on: another process may be recovering the log after a kill, or closing it. */
function patientDatabase(path: string, mode: "read" | "write"): Database {
  const database = new Database(path, mode === "read" ? { readonly: true } : { readwrite: true, create: false });
  database.run(`PRAGMA busy_timeout = ${BUSY_TIMEOUT_MS}`);
  return database;
}

/** What `act` gives, which waits no longer than this for a reader or a writer that is in the way. */
export function waitingAtMost<T>(database: Database, ms: number, act: () => T): T {
  database.run(`PRAGMA busy_timeout = ${ms}`);
  try {
    return act();
  } finally {
    database.run(`PRAGMA busy_timeout = ${BUSY_TIMEOUT_MS}`);
  }
}

function checkVersion(database: Database): void {
  const { version } = database.query<{ version: string }, []>("SELECT sqlite_version() AS version").get()!;
  const parts = version.split(".").map(Number);
  const order = LEAST_VERSION.map((least, i) => (parts[i] ?? 0) - least).find((difference) => difference !== 0) ?? 0;
  if (order < 0) throw storeErrors.error("old_engine", `SQLite ${version} is older than ${LEAST_VERSION.join(".")}`);
}
