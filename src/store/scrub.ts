import { closeSync, existsSync, fstatSync, fsyncSync, openSync, writeSync } from "node:fs";
import { readState, writeState } from "./catalogue.ts";
import { BUSY_TIMEOUT_MS, databasePath } from "./database.ts";
import type { LogWriter } from "./sqlite_log.ts";

const ZEROS_BYTES = 1 << 20;
/** Readers look in short transactions: one that holds on for longer is not waited for. */
const WAIT_MS = 1_000;

/**
 * Writes the database anew, so that no unused place of it holds anything of an earlier row, and overwrites the write-ahead
 * log before it is cut. Then the state says that there is nothing more to do. False, and nothing is lost, where that could
 * not be: a reader holds on to an earlier version, or the disk is full. The next start tries again.
 */
export function scrub({ database, sealer, sums }: LogWriter, directory: string): boolean {
  try {
    database.run(`PRAGMA busy_timeout = ${WAIT_MS}`);
    database.run("VACUUM");
    if (!sums.checkpoint("RESTART")) return false;
    overwrite(`${databasePath(directory)}-wal`);
    if (!sums.checkpoint("TRUNCATE")) return false;
    database
      .transaction(() => {
        const { scrub: _, ...state } = readState(database, sealer);
        writeState(database, sealer, { ...state, generation: state.generation + 1 });
      })
      .immediate();
    return true;
  } catch (cause) {
    if ((cause as { code?: string }).code?.startsWith("SQLITE_") || (cause as { code?: string }).code === "ENOSPC") {
      return false;
    }
    throw cause;
  } finally {
    database.run(`PRAGMA busy_timeout = ${BUSY_TIMEOUT_MS}`);
  }
}

/** All of its frames are in the database, and no reader uses one: zeros in their place are an empty log. */
function overwrite(path: string): void {
  if (!existsSync(path)) return;
  const file = openSync(path, "r+");
  try {
    const { size } = fstatSync(file);
    const zeros = new Uint8Array(ZEROS_BYTES);
    for (let at = 0; at < size; ) at += writeSync(file, zeros, 0, Math.min(zeros.length, size - at), at);
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
}
