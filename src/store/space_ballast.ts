import { closeSync, fstatSync, fsyncSync, openSync, readSync, renameSync, rmSync, writeSync } from "node:fs";
import { join } from "node:path";
import { sha256 } from "../base/digest.ts";
import type { Random } from "../base/random.ts";
import { othersTurn } from "../base/turn.ts";
import type { Finding } from "./check.ts";
import { bytesOf } from "./file_size.ts";

const BALLAST_NAME = "ballast";

/** It is not written anew where it differs by this part: some file systems have another size at each look. */
const NEAR = 8;
/** Written at once; others have a turn in between. */
const STEP_BYTES = 1 << 20;
const HASH_BYTES = 32;
const DAMAGED =
  "its bytes are not what was written; it holds nothing, and `mlpe run` makes it anew where it is not there";

/** A file of bytes that mean nothing: deleting it makes room on a full disk. */
export interface BallastFile {
  /** What it has now; 0 where it is not there, or not whole. */
  bytes(): number;
  /**
   * Writes it, a step at a time; does nothing where it is there, about, or being made. What can't be written whole is removed.
   */
  make(bytes: number): void;
  release(): void;
  close(): void;
}

/**
 * Random bytes, so that no file system stores them as fewer: one step of them with its digest, over and over, so that a changed
 * bit shows. What an earlier version left has no digest, and is made anew.
 */
export function ballastFile(directory: string, random: Random): BallastFile {
  const path = join(directory, BALLAST_NAME);
  const draft = `${path}.tmp`;
  rmSync(draft, { force: true }); // a process was killed while it wrote
  let made = wholeBytes(path);
  let making = 0; // which making runs; a release or a close ends it
  let running = false;
  const write = async (bytes: number, number: number) => {
    const step = stepOf(Math.min(STEP_BYTES, bytes), random);
    const out = openSync(draft, "w", 0o600);
    try {
      for (let at = 0; at < bytes; ) {
        await othersTurn();
        if (making !== number) return false;
        at += writeSync(out, step, at % step.length, Math.min(step.length - (at % step.length), bytes - at));
      }
      fsyncSync(out);
      renameSync(draft, path);
      return true;
    } finally {
      closeSync(out);
    }
  };
  const remove = () => {
    making++;
    made = 0;
    for (const file of [draft, path]) rmSync(file, { force: true });
  };
  return {
    bytes: () => made,
    make(bytes) {
      if (running || Math.abs(made - bytes) <= bytes / NEAR) return;
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

/** Gives up what a closed directory has; false where it has none. */
export function removeBallast(directory: string): boolean {
  const path = join(directory, BALLAST_NAME);
  if (bytesOf(path) === 0) return false;
  rmSync(path);
  return true;
}

/** Says where a bit of the ballast is not as it was written. Reads it a step at a time. */
export function checkBallast(directory: string): Finding[] {
  const file = opened(join(directory, BALLAST_NAME));
  if (file === undefined) return [];
  try {
    const { size } = fstatSync(file);
    if (size <= HASH_BYTES) return [];
    const first = readStep(file, 0, size);
    let same = isStep(first);
    for (let at = first.length; same && at < size; at += first.length) {
      same = Buffer.compare(first.subarray(0, size - at), readStep(file, at, size)) === 0;
    }
    return same ? [] : [{ place: BALLAST_NAME, message: DAMAGED }];
  } finally {
    closeSync(file);
  }
}

/** What a ballast has; 0 where it does not begin with a step of ours. */
function wholeBytes(path: string): number {
  const file = opened(path);
  if (file === undefined) return 0;
  try {
    const { size } = fstatSync(file);
    return isStep(readStep(file, 0, size)) ? size : 0;
  } finally {
    closeSync(file);
  }
}

function opened(path: string): number | undefined {
  try {
    return openSync(path, "r");
  } catch {
    return undefined;
  }
}

function stepOf(bytes: number, random: Random): Uint8Array {
  const step = random.bytes(bytes);
  if (bytes > HASH_BYTES) step.set(sha256(step.subarray(0, -HASH_BYTES)), bytes - HASH_BYTES);
  return step;
}

const isStep = (step: Uint8Array): boolean =>
  step.length > HASH_BYTES && Buffer.compare(sha256(step.subarray(0, -HASH_BYTES)), step.subarray(-HASH_BYTES)) === 0;

function readStep(file: number, at: number, size: number): Buffer {
  const step = Buffer.alloc(Math.min(STEP_BYTES, size - at));
  return step.subarray(0, readSync(file, step, 0, step.length, at));
}
