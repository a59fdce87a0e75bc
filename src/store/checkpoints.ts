import type { SumsKeeper } from "./sums.ts";

/** The write-ahead log is moved into log.db once this much was committed since, about, ... */
const CHECKPOINT_BYTES = 2 << 20;
/** ... and nobody has committed for this long. */
const IDLE_MS = 100;
/** A log that is never idle is moved once so many pages of it wait, and commits wait for that. */
const WAITING_MAX = 1_000;
/** Where a reader was in the way it is tried again after so many more. */
const WAITING_MORE = 250;

/**
 * Keeps checkpoints out of commits, which would wait for them: they are made in the moments between. `writtenBytes` says
 * how much was committed so far. Call `changed` after each transaction.
 */
export function checkpointsOf(sums: SumsKeeper, writtenBytes: () => number) {
  let copied = 0;
  let seen = 0;
  let most = WAITING_MAX;
  let timer: ReturnType<typeof setTimeout> | undefined;
  const move = () => {
    copied = writtenBytes();
    try {
      return sums.checkpoint("PASSIVE");
    } catch {
      return false; // A full disk, say: it stays where it is, and is read from there.
    }
  };
  const look = () => {
    timer = undefined;
    const written = writtenBytes();
    if (written > seen) {
      seen = written;
      wait();
    } else move();
  };
  const wait = () => {
    timer = setTimeout(look, IDLE_MS);
    timer.unref();
  };
  return {
    changed() {
      const waiting = sums.waiting();
      if (waiting >= most) most = move() ? WAITING_MAX : waiting + WAITING_MORE;
      else if (timer === undefined && writtenBytes() - copied >= CHECKPOINT_BYTES) wait();
    },
    close: () => clearTimeout(timer),
  };
}
