import type { Database } from "bun:sqlite";

/** The write-ahead log is copied into the database once this much was committed since, about, ... */
const CHECKPOINT_BYTES = 4 << 20;
/** ... and nobody has committed for this long. A log that is never idle is copied by SQLite: see database.ts. */
const IDLE_MS = 100;

/**
 * Keeps checkpoints out of commits, which would wait for them: they are made in the moments between. `writtenBytes` says
 * how much was committed so far. Call `committed` after each transaction.
 */
export function idleCheckpoints(database: Database, writtenBytes: () => number) {
  let copied = 0;
  let seen = 0;
  let timer: ReturnType<typeof setTimeout> | undefined;
  const look = () => {
    timer = undefined;
    const written = writtenBytes();
    if (written > seen) {
      seen = written;
      wait();
      return;
    }
    copied = written;
    try {
      database.run("PRAGMA wal_checkpoint(PASSIVE)");
    } catch {
      // A full disk, say: it stays where it is, and is read from there.
    }
  };
  const wait = () => {
    timer = setTimeout(look, IDLE_MS);
    timer.unref();
  };
  return {
    committed() {
      if (timer === undefined && writtenBytes() - copied >= CHECKPOINT_BYTES) wait();
    },
    close: () => clearTimeout(timer),
  };
}
