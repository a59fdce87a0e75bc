import { readFileSync } from "node:fs";
import { FRAME_SUM_BYTES, isSame, type MovedFrames } from "./sums_file.ts";
import { frameSum, framesOf } from "./wal_frames.ts";

/** A writer may be in the middle of a frame: what is wrong must be wrong in the same way after a moment. */
const BETWEEN_LOOKS_MS = 20;

/** One place of the write-ahead log, and what was moved from there last. */
interface Moved {
  readonly salts: Uint8Array;
  readonly sum: Uint8Array;
}

/** What the operating system calls its run since it was started: where it is the same, no power cut came between. */
export function bootOf(): string {
  try {
    return readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim();
  } catch {
    return ""; // this system does not say
  }
}

/**
 * Places of the write-ahead log, from 0, whose frame was moved into log.db before and is not as it was then: nothing reads
 * it any more. A frame of the log as it is now that took the place of one is not looked at: its own checksum is.
 */
export function otherFrames(directory: string, frames: readonly MovedFrames[]): number[] {
  const found = lookAtFrames(directory, frames);
  if (found.size === 0) return [];
  Bun.sleepSync(BETWEEN_LOOKS_MS);
  const again = lookAtFrames(directory, frames);
  return [...found].filter(([place, sum]) => isSame(sum, again.get(place))).map(([place]) => place);
}

function lookAtFrames(directory: string, frames: readonly MovedFrames[]): Map<number, Uint8Array> {
  const moved = byPlace(frames);
  const found = new Map<number, Uint8Array>();
  let place = 0;
  for (const { salts, own, whole } of framesOf(directory)) {
    const known = moved[place++];
    if (!known || (own && !isSame(known.salts, salts))) continue;
    const sum = frameSum(whole);
    if (!isSame(sum, known.sum)) found.set(place - 1, sum);
  }
  return found;
}

/** The same in as few parts as can be, of the first so many places. */
export function laidOver(frames: readonly MovedFrames[], places: number): MovedFrames[] {
  const all: { salts: Uint8Array; from: number; sums: Uint8Array[] }[] = [];
  let next = -1;
  byPlace(frames).forEach(({ salts, sum }, place) => {
    if (place >= places) return;
    const last = all.at(-1);
    if (last && place === next && isSame(last.salts, salts)) last.sums.push(sum);
    else all.push({ salts, from: place, sums: [sum] });
    next = place + 1;
  });
  return all.map(({ salts, from, sums }) => ({ salts, from, sums: Buffer.concat(sums) }));
}

/** What was never moved is missing. */
function byPlace(frames: readonly MovedFrames[]): Moved[] {
  const moved: Moved[] = [];
  for (const { salts, from, sums } of frames) {
    for (let at = 0; at < sums.length; at += FRAME_SUM_BYTES) {
      moved[from + at / FRAME_SUM_BYTES] = { salts, sum: sums.subarray(at, at + FRAME_SUM_BYTES) };
    }
  }
  return moved;
}
