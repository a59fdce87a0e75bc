import { closeSync, existsSync, openSync, readFileSync, readSync } from "node:fs";
import { databasePath } from "./database.ts";

const HEADER_BYTES = 32;
const FRAME_HEADER_BYTES = 24;
const FRAME_BYTES = FRAME_HEADER_BYTES + 4_096; // the page size of database.ts
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
  const path = `${databasePath(directory)}-wal`;
  let said: string | undefined;
  for (let look = 0; look < LOOKS; look++) {
    if (!existsSync(path)) return undefined;
    const found = lostIn(readFileSync(path));
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

/** The format is that of https://sqlite.org/fileformat2.html#the_write_ahead_log. */
function lostIn(bytes: Buffer): string | undefined {
  if (bytes.length < HEADER_BYTES) return undefined;
  const isBig = bytes.readUInt32BE(0) === MAGIC + 1;
  const word = (at: number) => (isBig ? bytes.readUInt32BE(at) : bytes.readUInt32LE(at));
  let [first, second] = [0, 0];
  const add = (from: number, to: number) => {
    for (let at = from; at < to; at += 8) {
      first = (first + word(at) + second) >>> 0;
      second = (second + word(at + 4) + first) >>> 0;
    }
  };
  const isSum = (at: number) => first === bytes.readUInt32BE(at) && second === bytes.readUInt32BE(at + 4);
  // One half of the salts is enough: the other may be what was damaged.
  const isOwn = (at: number) =>
    bytes.readUInt32BE(16) === bytes.readUInt32BE(at + 8) || bytes.readUInt32BE(20) === bytes.readUInt32BE(at + 12);
  add(0, 24);
  let broken = isSum(24) ? undefined : "its header is damaged";
  for (let at = HEADER_BYTES, frame = 1; at + FRAME_BYTES <= bytes.length; at += FRAME_BYTES, frame++) {
    if (broken === undefined) {
      add(at, at + 8);
      add(at + FRAME_HEADER_BYTES, at + FRAME_BYTES);
      if (!isSum(at + 16) || bytes.compare(bytes, 16, 24, at + 8, at + 16) !== 0) broken = `frame ${frame} is damaged`;
    } else if (isOwn(at) && bytes.readUInt32BE(at + 4) !== 0) {
      return `${broken}, and commits that stand after it are passed over`;
    }
  }
  return undefined;
}
