import { Database } from "bun:sqlite";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { databasePath, openUnchecked } from "./database.ts";
import { holderOf, LOCK_FILE } from "./lock.ts";
import { openImmutable } from "./read_only.ts";

/**
 * A handle that changes neither `log.db` nor its write-ahead log: not even where a crash left one that the next writer will
 * bring in. (SQLite may make the shared-memory file beside them, which is worth nothing.)
 */
export function openUnchanged(directory: string): Database {
  const path = databasePath(directory);
  const database = existsSync(`${path}-wal`) ? openUnchecked(directory) : openImmutable(path);
  database.run("PRAGMA temp_store = memory");
  return database;
}

/** The process that has the directory open for writing; undefined where none has. */
export function writerOf(directory: string): { readonly process: string } | undefined {
  const path = join(directory, LOCK_FILE);
  if (!existsSync(path)) return undefined;
  const lock = new Database(path, { readonly: true });
  try {
    lock.query("SELECT 1 FROM sqlite_master").all(); // takes a shared lock for a moment: refused where one writes
    return undefined;
  } catch (cause) {
    if ((cause as { code?: string }).code !== "SQLITE_BUSY") throw cause;
    return { process: holderOf(directory) ?? "unknown" };
  } finally {
    lock.close();
  }
}
