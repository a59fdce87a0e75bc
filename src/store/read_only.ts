import { constants, Database } from "bun:sqlite";
import { accessSync, copyFileSync, constants as files, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { storeErrors } from "./errors.ts";
import { bytesOf } from "./file_size.ts";

/** A catalogue with its tail takes some megabytes; a log beyond this was left by compaction that failed for long. */
const COPIED_BYTES_MAX = 1 << 30;

/** Whether this user can't make files in the directory: no right to, or a file system that takes none. */
export function isReadOnly(directory: string): boolean {
  try {
    accessSync(directory, files.W_OK);
    return false;
  } catch {
    return true;
  }
}

/**
 * A handle for reading a directory that can't be written: SQLite wants to make two files beside `log.db` first. Without a
 * write-ahead log nothing is missing from `log.db`, and SQLite is told that it does not change. One that a kill left is read
 * together with a copy of `log.db` in the temporary folder, sealed as it is, whose names are gone before this returns.
 * Throws store.read_only_directory.
 */
export function openReadOnly(path: string): Database {
  const log = `${path}-wal`;
  if (bytesOf(log) === 0) return openImmutable(path);
  const bytes = bytesOf(path) + bytesOf(log);
  if (bytes > COPIED_BYTES_MAX) throw unreadable(path, `${bytes} bytes are too many to copy`);
  let copies: string | undefined;
  let database: Database | undefined;
  try {
    copies = mkdtempSync(join(tmpdir(), "mlpe-read-")); // mode 0700
    const copy = join(copies, "log.db");
    for (const end of ["", "-wal"]) copyFileSync(path + end, copy + end);
    database = new Database(copy, { readwrite: true, create: false });
    database.run("PRAGMA wal_autocheckpoint = 0");
    database.query("SELECT 1 FROM sqlite_master").get(); // takes hold of all files
    return database;
  } catch (cause) {
    database?.close();
    throw unreadable(path, "its write-ahead log can't be copied to the temporary folder", cause);
  } finally {
    if (copies !== undefined) rmSync(copies, { recursive: true, force: true });
  }
}

/** Reads `log.db` as a file that nobody changes: right only where it has no write-ahead log. */
export function openImmutable(path: string): Database {
  const { SQLITE_OPEN_READONLY, SQLITE_OPEN_URI } = constants;
  return new Database(`${pathToFileURL(path)}?immutable=1`, SQLITE_OPEN_READONLY | SQLITE_OPEN_URI);
}

function unreadable(path: string, why: string, cause?: unknown): Error {
  return storeErrors.error("read_only_directory", `${path} lies in a directory that can't be written, and ${why}`, {
    place: path,
    cause,
  });
}
