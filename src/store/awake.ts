import type { Clock } from "../base/clock.ts";
import type { Micros } from "../base/time.ts";

/** A thread that was held up this long between two turns shares its core, or has other work: then it may sleep too. */
const HELD_UP: Micros = 100;
/** After as many commits as this, at most, one is waited for awake again. */
const SKIPPED_MAX = 64;

/**
 * A thread that waits for a message of another one sleeps, and waking it takes longer than a small commit. Where commits
 * come one after another, this keeps the thread turning for the moment until the next message, and everything else that
 * the thread has to do goes on meanwhile. Where that was in vain it is tried at every second commit only, then at every
 * fourth, and so on: slow disks, busy machines and lone commits cost next to nothing.
 */
export interface Awake {
  /** A message is expected within that time. */
  expect(within: Micros): void;
  /** It is here. */
  met(): void;
}

/** `clock` must go; `turn` calls back after others had their turn. */
export function awake(clock: Clock, turn: (then: () => void) => void = setImmediate): Awake {
  let until = 0; // 0: nothing is expected
  let last = 0;
  let turning = false;
  let skips = 0; // after the last failure
  let left = 0;
  const look = () => {
    turning = false;
    if (until === 0) return;
    const at = clock.now();
    if (at < until && at >= last && at - last < HELD_UP) {
      last = at;
      again();
      return;
    }
    until = 0;
    skips = Math.min(SKIPPED_MAX, Math.max(1, skips * 2));
    left = skips;
  };
  const again = () => {
    if (turning) return;
    turning = true;
    turn(look);
  };
  return {
    expect(within) {
      if (left > 0) {
        left--;
        return;
      }
      last = clock.now();
      until = last + within;
      again();
    },
    met() {
      if (until === 0) return;
      until = 0;
      skips = 0;
    },
  };
}
