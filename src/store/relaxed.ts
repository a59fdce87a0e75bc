import type { Database } from "bun:sqlite";
import { closeSync, existsSync, fsyncSync, openSync } from "node:fs";
import { dirname } from "node:path";
import { storeErrors } from "./errors.ts";
import { syncDirectory } from "./segment_write.ts";

/** What was acknowledged before it was synced is synced no later than this after the first of it. */
const SYNC_WITHIN_MS = 1_000;

/**
 * Commits with the durability `process`: acknowledged once SQLite has written them, which outlives the process, and synced
 * by the next commit that waits for it, or here within a second. A power cut takes the end of the log with it, never a
 * part from the middle: frames of the write-ahead log count only as far as every one before is whole.
 */
export interface RelaxedCommits {
  /**
   * Runs a transaction that waits for no sync, and rolls it back where it throws. Any other transaction of the handle syncs as
   * ever, and all before it.
   */
  run<T>(transaction: () => T): T;
  /** Throws store.failed_write where the system once refused to sync: what it then kept nobody knows. */
  check(): void;
  /** Syncs what was not synced yet. */
  close(): void;
}

export function relaxedCommits(
  database: Database,
  sync: () => void = () => syncLog(database.filename),
  withinMs: number = SYNC_WITHIN_MS,
): RelaxedCommits {
  let timer: ReturnType<typeof setTimeout> | undefined;
  let failure: unknown;
  const syncNow = () => {
    timer = undefined;
    try {
      sync();
    } catch (cause) {
      failure = cause;
    }
  };
  return {
    run(transaction) {
      database.run("PRAGMA synchronous = NORMAL");
      try {
        return transaction();
      } catch (cause) {
        if (database.inTransaction) database.run("ROLLBACK"); // in a transaction SQLite refuses to sync again
        throw cause;
      } finally {
        database.run("PRAGMA synchronous = FULL");
        timer ??= setTimeout(syncNow, withinMs);
      }
    },
    check() {
      if (failure === undefined) return;
      const message = "the system refused to sync commits that were acknowledged; start again to see what was kept";
      throw storeErrors.error("failed_write", message, { cause: failure });
    },
    close() {
      if (timer === undefined) return;
      clearTimeout(timer);
      syncNow();
    },
  };
}

/** Makes durable what stands in the write-ahead log. (No lock of SQLite hangs on that file: closing it here takes none.) */
function syncLog(databaseFile: string): void {
  const path = `${databaseFile}-wal`;
  if (!existsSync(path)) return; // moved into the database and synced there
  const file = openSync(path, "r");
  try {
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
  syncDirectory(dirname(path)); // it may be new
}
