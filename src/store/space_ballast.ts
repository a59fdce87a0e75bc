import { closeSync, fsyncSync, openSync, statSync, unlinkSync, writeSync } from "node:fs";
import { join } from "node:path";
import type { Random } from "../base/random.ts";
import { othersTurn } from "../base/turn.ts";

const BALLAST_NAME = "ballast";

/** Written at once; others have a turn in between. */
const STEP_BYTES = 1 << 20;

/** A file of bytes that mean nothing: deleting it makes room on a full disk. */
export interface BallastFile {
  /** What it has now; 0 where it is not there, or not whole. */
  bytes(): number;
  /** Writes it, a step at a time; does nothing where it is there or being made. What can't be written whole is removed. */
  make(bytes: number): void;
  release(): void;
  close(): void;
}

/** Random bytes, so that no file system stores them as fewer. */
export function ballastFile(directory: string, random: Random): BallastFile {
  const path = join(directory, BALLAST_NAME);
  let made = sizeOf(path);
  let making = 0; // which making runs; a release or a close ends it
  let running = false;
  const write = async (bytes: number, number: number) => {
    const step = random.bytes(Math.min(STEP_BYTES, bytes));
    const out = openSync(path, "w", 0o600);
    try {
      for (let at = 0; at < bytes; ) {
        await othersTurn();
        if (making !== number) return false;
        at += writeSync(out, step, 0, Math.min(step.length, bytes - at));
      }
      fsyncSync(out);
      return true;
    } finally {
      closeSync(out);
    }
  };
  const remove = () => {
    making++;
    made = 0;
    try {
      unlinkSync(path);
    } catch {
      // not there
    }
  };
  return {
    bytes: () => made,
    make(bytes) {
      if (running || made === bytes) return;
      if (made > 0) remove(); // another size is wanted
      const number = ++making;
      running = true;
      write(bytes, number)
        .then(
          (whole) => {
            if (whole && making === number) made = bytes;
            else if (making === number) remove();
          },
          () => remove(), // no room after all
        )
        .finally(() => {
          running = false;
        });
    },
    release: () => {
      if (made > 0 || running) remove();
    },
    close() {
      if (running) remove();
    },
  };
}

function sizeOf(path: string): number {
  try {
    return statSync(path).size;
  } catch {
    return 0;
  }
}
