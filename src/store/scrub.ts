import { closeSync, existsSync, fstatSync, fsyncSync, openSync, writeSync } from "node:fs";
import { othersTurn } from "../base/turn.ts";
import { readState, writeState } from "./catalogue.ts";
import type { Compactor } from "./compact.ts";
import { databasePath, waitingAtMost } from "./database.ts";
import type { LogWriter } from "./sqlite_log.ts";

const ZEROS_BYTES = 1 << 20;
/** Of the write-ahead log. */
const HEADER_BYTES = 32;
/** Readers look in short transactions. Commits wait so long for one that is in the way, ... */
const WAIT_MS = 10;
/** ... and then have their turn for so long, before it is tried again, so often. */
const PAUSE_MS = 20;
const CUT_TRIES_MAX = 50;

/** After an erasure: the old files go, and what could not be scrubbed at once is tried again, later and later. */
const TIDY_AFTER_MS = 11_000;
const LONGEST_TIDY_MS = 600_000;

/** The scrubbing of an open log. */
export interface Scrubbing {
  /** Has the database scrubbed now. False where a reader is in the way: then `later` tries again. */
  now(): Promise<boolean>;
  /** Has replaced files removed, and the database scrubbed where that is still to be done, a while from now. */
  later(afterMs?: number): void;
  /** What is under way is left to the next start. */
  close(): Promise<void>;
}

export function scrubbing(log: LogWriter, directory: string, alone: Compactor["alone"]): Scrubbing {
  let running: Promise<unknown> = Promise.resolve();
  let timer: ReturnType<typeof setTimeout> | undefined;
  let closed = false;
  // One at a time; who asks meanwhile has it done once more, as rows may have gone since.
  const now = (): Promise<boolean> => {
    const mine = running.then(() => scrub(log, directory, () => closed));
    running = mine.catch(() => {});
    return mine;
  };
  // Each turn alone removes replaced files that are due.
  const later = (afterMs = TIDY_AFTER_MS): void => {
    if (closed) return;
    const isDone = () => !readState(log.database, log.sealer).scrub || now();
    const again = () => later(Math.min(LONGEST_TIDY_MS, Math.max(TIDY_AFTER_MS, afterMs * 2)));
    clearTimeout(timer);
    timer = setTimeout(() => alone(async () => isDone()).then((done) => done || again(), again), afterMs);
    timer.unref();
  };
  return {
    now,
    later,
    async close() {
      closed = true;
      clearTimeout(timer);
      await running;
    },
  };
}

/**
 * Writes the database anew, so that no unused place of it holds anything of an earlier row, and overwrites the write-ahead
 * log before it is cut. Then the state says that there is nothing more to do. Commits go on between the steps, each of which
 * takes as long as writing the rows of the catalogue and the tail, or the write-ahead log, once. False, and nothing is lost,
 * where that could not be: a reader holds on to an earlier version, the system refuses it, or the log is `closing`. The next
 * start tries again.
 */
export async function scrub(log: LogWriter, directory: string, closing = () => false): Promise<boolean> {
  const { database, sums } = log;
  try {
    sums.checkpoint("PASSIVE"); // so that what the log has is not moved in one step with all that follows
    await othersTurn();
    if (closing()) return false;
    database.run("VACUUM");
    for (let tries = 0; tries < CUT_TRIES_MAX; tries++) {
      await othersTurn();
      if (closing()) return false;
      if (overwritten(log, directory)) {
        settled(log);
        return true;
      }
      await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
    }
    return false;
  } catch (cause) {
    if (REFUSALS.test(String((cause as { code?: unknown }).code))) return false;
    throw cause;
  }
}

/** What SQLite or the system refuses: a quota, too many open files, a disk that fails. */
const REFUSALS = /^(?:SQLITE_|E[A-Z])/;

/** No commit comes between its parts: what one would write into the log would be overwritten. */
function overwritten({ database, sums }: LogWriter, directory: string): boolean {
  return waitingAtMost(database, WAIT_MS, () => {
    if (!sums.checkpoint("RESTART")) return false;
    overwrite(`${databasePath(directory)}-wal`);
    return sums.checkpoint("TRUNCATE");
  });
}

/** The state's generation stays, so that a compaction under way goes on. */
function settled({ database, sealer }: LogWriter): void {
  database
    .transaction(() => {
      const { scrub: _, ...state } = readState(database, sealer);
      writeState(database, sealer, state);
    })
    .immediate();
}

/**
 * All of its frames are in the database, and no reader uses one: zeros in their place are an empty log. Its header
 * goes first, durably: before that, frames up to the first zeros would be taken for newer than the database after a power cut.
 */
export function overwrite(path: string, sync = fsyncSync): void {
  if (!existsSync(path)) return;
  const file = openSync(path, "r+");
  try {
    const { size } = fstatSync(file);
    const zeros = new Uint8Array(ZEROS_BYTES);
    for (let at = 0; at < size; ) {
      at += writeSync(file, zeros, 0, Math.min(at === 0 ? HEADER_BYTES : zeros.length, size - at), at);
      if (at === HEADER_BYTES) sync(file);
    }
    sync(file);
  } finally {
    closeSync(file);
  }
}
