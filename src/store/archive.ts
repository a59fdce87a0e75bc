import { closeSync, fsyncSync, openSync, readSync, writeSync } from "node:fs";
import { inTurns } from "../base/turn.ts";
import { storeErrors } from "./errors.ts";

/**
 * One file of many, as POSIX `ustar` archives are laid out: any `tar` can list and unpack it. Nothing but plain files with
 * short names; every byte of it is either content, checked by its reader, or can have one value only.
 */

const BLOCK = 512;
/** Bytes of content that are in memory at once. */
const PIECE_BYTES = 1 << 20;
const NAME_BYTES_MAX = 99;
const text = new TextEncoder();

/** The header of a file: its place in the archive is all that changes from file to file. */
export function archiveHeader(name: string, size: number): Uint8Array {
  const header = new Uint8Array(BLOCK);
  const put = (at: number, value: string) => header.set(text.encode(value), at);
  const octal = (at: number, digits: number, value: number) => put(at, value.toString(8).padStart(digits, "0"));
  if (text.encode(name).length > NAME_BYTES_MAX || size >= 8 ** 11) {
    throw storeErrors.error("backup_failed", `${name} (${size} bytes) does not fit in an archive`);
  }
  put(0, name);
  octal(100, 7, 0o600);
  octal(108, 7, 0);
  octal(116, 7, 0);
  octal(124, 11, size);
  octal(136, 11, 0);
  put(156, "0");
  put(257, "ustar");
  put(263, "00");
  put(148, " ".repeat(8));
  const sum = header.reduce((total, byte) => total + byte, 0);
  put(148, `${sum.toString(8).padStart(6, "0")}\0 `);
  return header;
}

/** What fills up the last block of a file. */
export const archivePadding = (size: number): Uint8Array => new Uint8Array((BLOCK - (size % BLOCK)) % BLOCK);

/** What ends an archive. */
export const archiveEnd = (): Uint8Array => new Uint8Array(2 * BLOCK);

export interface ArchiveEntry {
  readonly name: string;
  readonly size: number;
  /** The content in pieces: to be read to its end before the next entry. */
  pieces(): Iterable<Uint8Array>;
}

/** What is wrong with an archive: of a file by its path, or of standard input. */
export function badArchive(source: string | 0, what: string): Error {
  const place = source === 0 ? "standard input" : source;
  return storeErrors.error("bad_backup", `${place} is damaged: ${what}`, { place });
}

/** Reads a file or standard input, which need not be seekable: up to `bytes.length`, 0 at its end. */
function readSome(file: number, bytes: Uint8Array): number {
  for (;;) {
    try {
      return readSync(file, bytes, 0, bytes.length, null);
    } catch (cause) {
      // A pipe that was made not to block: whoever writes into it has not come so far.
      if ((cause as { code?: string }).code !== "EAGAIN") throw cause;
      Bun.sleepSync(PIPE_WAIT_MS);
    }
  }
}
const PIPE_WAIT_MS = 5;

/** The files of an archive in order, from a file or standard input (0). Throws `store.bad_backup` where a byte is not what it must be. */
export function* readArchive(source: string | 0): Generator<ArchiveEntry> {
  const file = source === 0 ? 0 : openSync(source, "r");
  let at = 0;
  const bad = (what: string) => badArchive(source, what);
  const take = (length: number): Uint8Array => {
    const bytes = new Uint8Array(length);
    for (let got = 0; got < length; ) {
      const read = readSome(file, bytes.subarray(got));
      if (read === 0) throw bad("it ends too early");
      got += read;
    }
    at += length;
    return bytes;
  };
  const zeros = (length: number) => {
    if (take(length).some((byte) => byte !== 0)) throw bad(`there is something at byte ${at - length} or after`);
  };
  try {
    for (;;) {
      const header = take(BLOCK);
      if (header[0] === 0) {
        if (header.some((byte) => byte !== 0)) throw bad(`there is something at byte ${at - BLOCK} or after`);
        zeros(BLOCK);
        if (readSome(file, new Uint8Array(1)) > 0) throw bad("it goes on after its end");
        return;
      }
      const name = Buffer.from(header.subarray(0, 100)).toString("latin1").replace(/\0.*$/s, "");
      const size = Number.parseInt(Buffer.from(header.subarray(124, 135)).toString("latin1"), 8);
      // Whoever knows name and size knows the whole header: any other byte is damage.
      const sound = /^[\w./-]{1,99}$/.test(name) && Number.isSafeInteger(size) && size >= 0;
      if (!sound || Buffer.compare(archiveHeader(name, size), header) !== 0) throw bad(`no header at ${at - BLOCK}`);
      const end = at + size;
      yield {
        name,
        size,
        *pieces() {
          while (at < end) yield take(Math.min(PIECE_BYTES, end - at));
        },
      };
      if (at !== end) throw bad(`${name} was not read`);
      zeros(archivePadding(size).length);
    }
  } finally {
    if (source !== 0) closeSync(file);
  }
}

/** The content of an open file, in pieces, from its beginning. */
export function* piecesOf(file: number, size: number): Generator<Uint8Array> {
  for (let at = 0; at < size; ) {
    const piece = new Uint8Array(Math.min(PIECE_BYTES, size - at));
    const read = readSync(file, piece, 0, piece.length, at);
    if (read === 0) throw storeErrors.error("backup_failed", "a file became shorter while it was copied");
    at += read;
    yield piece.subarray(0, read);
  }
}

/** Writes a new file whole and synced, readable by its owner only. */
export function writeWhole(path: string, pieces: Iterable<Uint8Array>): void {
  const steps = writing(path, pieces);
  while (!steps.next().done);
}

/** The same; others have turns meanwhile. */
export const writeInTurns = (path: string, pieces: Iterable<Uint8Array>): Promise<void> =>
  inTurns(writing(path, pieces));

function* writing(path: string, pieces: Iterable<Uint8Array>): Generator<void, void> {
  const file = openSync(path, "wx", 0o600);
  try {
    for (const piece of pieces) {
      for (let at = 0; at < piece.length; ) at += writeSync(file, piece, at);
      yield;
    }
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
}
