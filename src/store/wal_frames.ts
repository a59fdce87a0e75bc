import { closeSync, openSync, readSync } from "node:fs";
import { databasePath } from "./database.ts";
import { digestOf, FRAME_SUM_BYTES, type Move, PAGE_BYTES } from "./sums_file.ts";

const HEADER_BYTES = 32;
const FRAME_HEADER_BYTES = 24;
const FRAME_BYTES = FRAME_HEADER_BYTES + PAGE_BYTES;
/** Frames that are read at once. */
const FRAMES_AT_ONCE = 256;

/** One page in the write-ahead log. */
interface Frame {
  readonly page: number;
  /** Pages of the database after the transaction that it ends; 0 where it ends none. */
  readonly pagesAfter: number;
  /** The salts of the log as it is now. Where the frame has others, it was left from before. */
  readonly salts: Uint8Array;
  readonly own: boolean;
  /** The page, and the frame around it: good until the next is read. */
  readonly bytes: Uint8Array;
  readonly whole: Uint8Array;
}

/**
 * What moving these frames of the write-ahead log into log.db makes of it: the last version of each page. They must all be
 * whole, and the last end a transaction. Undefined where that is not how the file looks.
 */
export function moveOf(directory: string, from: number, to: number): Move | undefined {
  const last = new Map<number, number>();
  const sums = new Uint8Array((to - from) * FRAME_SUM_BYTES);
  let index = from;
  let pagesAfter = 0;
  let salts: Uint8Array = new Uint8Array(0);
  for (const frame of framesOf(directory, from, to)) {
    if (!frame.own || frame.page === 0) return undefined;
    sums.set(frameSum(frame.whole), (index - from) * FRAME_SUM_BYTES);
    last.set(frame.page, index++);
    ({ pagesAfter, salts } = frame);
  }
  if (index !== to || pagesAfter === 0) return undefined;
  const pages = new Map<number, Uint8Array>();
  index = from;
  for (const { page, bytes } of framesOf(directory, from, to)) {
    if (last.get(page) === index++ && page <= pagesAfter) pages.set(page, digestOf(bytes));
  }
  return { bytes: pagesAfter * PAGE_BYTES, pages, frames: { salts: salts.slice(), from, sums } };
}

/** Of these pages, those whose bytes in log.db, by their digests, stand in the write-ahead log for just that page. */
export function foundInLog(directory: string, pages: ReadonlyMap<number, Uint8Array>): ReadonlySet<number> {
  const found = new Set<number>();
  for (const { page, bytes } of framesOf(directory)) {
    const sum = pages.get(page);
    if (sum && !found.has(page) && Buffer.compare(digestOf(bytes), sum) === 0) found.add(page);
  }
  return found;
}

/** Frames in a file of so many bytes. */
export const framesIn = (bytes: number): number => Math.max(0, Math.floor((bytes - HEADER_BYTES) / FRAME_BYTES));

export const frameSum = (whole: Uint8Array): Uint8Array => {
  const sum = new Uint8Array(FRAME_SUM_BYTES);
  new DataView(sum.buffer).setBigUint64(0, Bun.hash.xxHash64(whole));
  return sum;
};

/** The format is that of https://sqlite.org/fileformat2.html#the_write_ahead_log. No lock of SQLite hangs on the file. */
export function* framesOf(directory: string, from = 0, to = Number.POSITIVE_INFINITY): Generator<Frame> {
  let file: number;
  try {
    file = openSync(`${databasePath(directory)}-wal`, "r");
  } catch (cause) {
    if ((cause as { code?: string }).code === "ENOENT") return;
    throw cause;
  }
  try {
    const header = Buffer.alloc(HEADER_BYTES);
    if (readSync(file, header, 0, HEADER_BYTES, 0) < HEADER_BYTES) return;
    const bytes = Buffer.alloc(FRAMES_AT_ONCE * FRAME_BYTES);
    for (let done = from; done < to; ) {
      const read = readSync(file, bytes, 0, bytes.length, HEADER_BYTES + done * FRAME_BYTES);
      const whole = Math.min(Math.floor(read / FRAME_BYTES), to - done);
      if (whole === 0) return;
      for (let at = 0; at < whole * FRAME_BYTES; at += FRAME_BYTES) {
        yield {
          page: bytes.readUInt32BE(at),
          pagesAfter: bytes.readUInt32BE(at + 4),
          salts: header.subarray(16, 24),
          own: bytes.compare(header, 16, 24, at + 8, at + 16) === 0,
          bytes: bytes.subarray(at + FRAME_HEADER_BYTES, at + FRAME_BYTES),
          whole: bytes.subarray(at, at + FRAME_BYTES),
        };
      }
      done += whole;
    }
  } finally {
    closeSync(file);
  }
}
