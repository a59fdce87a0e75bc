import { Database } from "bun:sqlite";
import { chmodSync, existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { storeErrors } from "./errors.ts";

export const LOCK_FILE = "writer.lock";
const HOLDER_FILE = "writer.pid";

/** The number of the process that has the lock, or that was killed with it; undefined where none is left. */
export function holderOf(directory: string): string | undefined {
  const path = join(directory, HOLDER_FILE);
  return (existsSync(path) && readFileSync(path, "utf8").trim()) || undefined;
}

/** Locks of this process: a database that nothing refers to is closed with the next garbage collection. */
const taken = new Set<Database>();

/**
 * One writer for a directory: an exclusive lock on a file of its own, which the operating system drops with the
 * process, however it ends. Throws store.locked naming the holder.
 */
export function takeWriterLock(directory: string): () => void {
  const path = join(directory, LOCK_FILE);
  const holderPath = join(directory, HOLDER_FILE);
  if (!existsSync(path)) writeFileSync(path, "", { mode: 0o600 });
  const lock = new Database(path, { readwrite: true, create: false });
  try {
    lock.run("PRAGMA journal_mode = MEMORY");
    lock.run("BEGIN EXCLUSIVE");
    writeFileSync(holderPath, `${process.pid}\n`, { mode: 0o600 });
    chmodSync(holderPath, 0o600);
  } catch (cause) {
    lock.close();
    if ((cause as { code?: string }).code !== "SQLITE_BUSY") throw cause;
    const holder = holderOf(directory);
    const named = holder === undefined ? "another process" : `process ${holder}`;
    throw storeErrors.error("locked", `${directory} is open for writing in ${named}`, { place: directory, cause });
  }
  taken.add(lock);
  return () => {
    try {
      rmSync(holderPath, { force: true }); // no one holds it: what is left of a closed directory all means something
    } finally {
      taken.delete(lock);
      lock.run("ROLLBACK");
      lock.close();
    }
  };
}
