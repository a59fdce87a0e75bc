import { closeSync, openSync, readSync } from "node:fs";
import { databasePath } from "./database.ts";
import { digestOf, FRAME_SUM_BYTES, type Move, PAGE_BYTES } from "./sums_file.ts";

const HEADER_BYTES = 32;
export const FRAME_HEADER_BYTES = 24;
const FRAME_BYTES = FRAME_HEADER_BYTES + PAGE_BYTES;
/** Frames that are read at once. */
const FRAMES_AT_ONCE = 64;

/** One page in the write-ahead log. */
export interface Frame {
  readonly page: number;
  /** Pages of the database after the transaction that it ends; 0 where it ends none. */
  readonly pagesAfter: number;
  /** The header of the log as it is now. */
  readonly header: Buffer;
  /** The salts in it. Where the frame has others, it was left from before. */
  readonly salts: Uint8Array;
  readonly own: boolean;
  /** Its header and the page: good until the next is read. */
  readonly whole: Buffer;
}

const pageIn = ({ whole }: Frame): Uint8Array => whole.subarray(FRAME_HEADER_BYTES);

/**
 * What moving these frames of the write-ahead log into log.db makes of it: the last version of each page. They must all be
 * whole, and the last end a transaction. Undefined where that is not how the file looks.
 */
export function moveOf(directory: string, from: number, to: number): Move | undefined {
  const pages = new Map<number, Uint8Array>();
  const sums = new Uint8Array((to - from) * FRAME_SUM_BYTES);
  let index = to;
  let pagesAfter = 0;
  let salts: Uint8Array = sums;
  // From the end: the first version of a page that comes is its last, and commits wait for each page that is digested.
  for (const frame of framesBackwards(directory, from, to)) {
    if (!frame.own || frame.page === 0) return undefined;
    if (index === to) ({ pagesAfter, salts } = frame);
    index--;
    sums.set(frameSum(frame.whole), (index - from) * FRAME_SUM_BYTES);
    if (frame.page <= pagesAfter && !pages.has(frame.page)) pages.set(frame.page, digestOf(pageIn(frame)));
  }
  if (index !== from || pagesAfter === 0) return undefined;
  return { bytes: pagesAfter * PAGE_BYTES, pages, frames: { salts: salts.slice(), from, sums } };
}

/** Of these pages, those whose bytes in log.db, by their digests, stand in the write-ahead log for just that page. */
export function foundInLog(directory: string, pages: ReadonlyMap<number, Uint8Array>): ReadonlySet<number> {
  const found = new Set<number>();
  for (const frame of framesOf(directory)) {
    const { page } = frame;
    const sum = pages.get(page);
    if (sum && !found.has(page) && Buffer.compare(digestOf(pageIn(frame)), sum) === 0) found.add(page);
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

/** Whether the frame at this place bears the salts of the log as it is now. */
export function isOwnFrame(directory: string, place: number): boolean {
  for (const { own } of framesBackwards(directory, place, place + 1)) return own;
  return false;
}

/** The format is that of https://sqlite.org/fileformat2.html#the_write_ahead_log. No lock of SQLite hangs on the file. */
export const framesOf = (directory: string): Generator<Frame> =>
  inLog(directory, function* (read) {
    for (let done = 0; ; ) {
      const frames = read(done, FRAMES_AT_ONCE);
      if (frames.length === 0) return;
      for (let i = 0; i < frames.length; i++) yield frames.at(i);
      done += frames.length;
    }
  });

/** The same of those from `from` up to `to`, the last one first. Ends before a frame that the file does not have. */
const framesBackwards = (directory: string, from: number, to: number): Generator<Frame> =>
  inLog(directory, function* (read) {
    for (let end = to; end > from; ) {
      const start = Math.max(from, end - FRAMES_AT_ONCE);
      const frames = read(start, end - start);
      if (frames.length < end - start) return;
      for (let i = frames.length - 1; i >= 0; i--) yield frames.at(i);
      end = start;
    }
  });

/** As many of the frames from a place on as are there, up to `count`, which is FRAMES_AT_ONCE at most. */
type Read = (from: number, count: number) => { readonly length: number; at(index: number): Frame };

function* inLog(directory: string, frames: (read: Read) => Generator<Frame>): Generator<Frame> {
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
    const bytes = Buffer.allocUnsafeSlow(FRAMES_AT_ONCE * FRAME_BYTES);
    yield* frames((from, count) => {
      const read = readSync(file, bytes, 0, count * FRAME_BYTES, HEADER_BYTES + from * FRAME_BYTES);
      return { length: Math.floor(read / FRAME_BYTES), at: (index) => frameAt(bytes, index * FRAME_BYTES, header) };
    });
  } finally {
    closeSync(file);
  }
}

const frameAt = (bytes: Buffer, at: number, header: Buffer): Frame => ({
  page: bytes.readUInt32BE(at),
  pagesAfter: bytes.readUInt32BE(at + 4),
  header,
  salts: header.subarray(16, 24),
  own: bytes.compare(header, 16, 24, at + 8, at + 16) === 0,
  whole: bytes.subarray(at, at + FRAME_BYTES),
});
