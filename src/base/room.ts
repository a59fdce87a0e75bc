import type { Pace } from "./turn.ts";

/**
 * Memory that nobody cleared, to be written before it is read. Of a large array clearing alone takes milliseconds: each of
 * its pages is made then, and not when something is put there.
 */
export const uncleared = (bytes: number): ArrayBuffer => Buffer.allocUnsafeSlow(bytes).buffer as ArrayBuffer;

/** Bytes that are cleared before it is asked whether others should have a turn: a few pages of memory. */
const CLEARED_AT_ONCE = 1 << 16;

/** Cleared memory, of which each page is there already: others have turns while it is cleared. */
export async function cleared(bytes: number, steps: Pace): Promise<ArrayBuffer> {
  const whole = new Uint8Array(uncleared(bytes));
  for (let at = 0; at < bytes; at += CLEARED_AT_ONCE) {
    whole.fill(0, at, at + CLEARED_AT_ONCE);
    if (steps.due()) await steps.turn();
  }
  return whole.buffer;
}
