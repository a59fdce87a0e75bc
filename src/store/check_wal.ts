import { closeSync, openSync, readSync } from "node:fs";
import { databasePath } from "./database.ts";
import { FRAME_HEADER_BYTES, framesOf } from "./wal_frames.ts";

const MAGIC = 0x377f0682; // and one more where checksums are of big-endian words
/** A writer may be in the middle of a frame: what is wrong must still be wrong after a moment. */
const LOOKS = 3;
const BETWEEN_LOOKS_MS = 20;

/**
 * What SQLite passes over in silence: it takes the write-ahead log up to the first frame whose checksum is wrong, as if
 * nothing had been written after it. That is how a write that was cut off looks too, so only commits beyond such a frame
 * are damage; that the last commit is lost shows against a kept checkpoint. Undefined where nothing is passed over.
 */
export function checkWal(directory: string): string | undefined {
  let said: string | undefined;
  for (let look = 0; look < LOOKS; look++) {
    const found = lostIn(directory);
    if (found === undefined || (look > 0 && found !== said)) return look === 0 ? undefined : found;
    said = found;
    Bun.sleepSync(BETWEEN_LOOKS_MS);
  }
  return said;
}

/** The bytes of the database's header that are zero in every store: versions of others, and room for later formats. */
export function databaseHeader(directory: string): Uint8Array {
  const file = openSync(databasePath(directory), "r");
  try {
    const header = new Uint8Array(100);
    readSync(file, header, 0, header.length, 0);
    return Uint8Array.of(...header.subarray(52, 56), ...header.subarray(60, 92));
  } finally {
    closeSync(file);
  }
}

/** The format is that of https://sqlite.org/fileformat2.html#the_write_ahead_log. One frame is in memory at a time. */
function lostIn(directory: string): string | undefined {
  let sum: WalSum | undefined;
  let broken: string | undefined;
  let number = 0;
  for (const { header, pagesAfter, own, whole } of framesOf(directory)) {
    number++;
    if (!sum) {
      sum = walSum(header.readUInt32BE(0) === MAGIC + 1);
      sum.add(header, 0, 24);
      if (!sum.is(header, 24)) broken = "its header is damaged";
    }
    if (broken === undefined) {
      sum.add(whole, 0, 8);
      sum.add(whole, FRAME_HEADER_BYTES, whole.length);
      if (!sum.is(whole, 16) || !own) broken = `frame ${number} is damaged`;
    } else if (isHalfOwn(header, whole) && pagesAfter !== 0) {
      return `${broken}, and commits that stand after it are passed over`;
    }
  }
  return undefined;
}

/** One half of the salts is enough: the other may be what was damaged. */
const isHalfOwn = (header: Buffer, frame: Buffer): boolean =>
  header.readUInt32BE(16) === frame.readUInt32BE(8) || header.readUInt32BE(20) === frame.readUInt32BE(12);

type WalSum = ReturnType<typeof walSum>;

/** The checksum that runs through the log, over words of the one order or the other; it is stored in big-endian ones. */
function walSum(isBig: boolean) {
  let [first, second] = [0, 0];
  return {
    add(bytes: Buffer, from: number, to: number): void {
      for (let at = from; at < to; at += 8) {
        const [word, next] = isBig
          ? [bytes.readUInt32BE(at), bytes.readUInt32BE(at + 4)]
          : [bytes.readUInt32LE(at), bytes.readUInt32LE(at + 4)];
        first = (first + word + second) >>> 0;
        second = (second + next + first) >>> 0;
      }
    },
    is: (bytes: Buffer, at: number): boolean =>
      first === bytes.readUInt32BE(at) && second === bytes.readUInt32BE(at + 4),
  };
}
