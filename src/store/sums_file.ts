import { join } from "node:path";
import { ByteReader, ByteWriter, toHex } from "../base/bytes.ts";
import { sha256 } from "../base/digest.ts";
import { boundTo, type Sealer } from "./catalogue.ts";

/** The page size of database.ts: what is damaged is told by its page. */
export const PAGE_BYTES = 4_096;
/** Of SHA-256. They are sealed, so nobody without the key can make others that fit. */
export const DIGEST_BYTES = 16;
export const MARK_BYTES = 16;

const SALTS_BYTES = 8;
export const FRAME_SUM_BYTES = 8;
const LENGTH_BYTES = 4;
const FORMAT = 1;

/** What the bytes of a store are. */
export interface Base {
  /** Length of log.db. */
  readonly bytes: number;
  /** Bytes of one part of it; the last may be shorter. A page, but in large files of earlier versions. */
  readonly partBytes: number;
  /** A digest of each part, one behind the other. */
  readonly parts: Uint8Array;
  /** Segment files that no row names, replaced a moment before closing: readers may still have been about to open them. */
  readonly loose: ReadonlyMap<string, Uint8Array>;
  /** Somebody has the log open for writing, or was killed. */
  readonly open: boolean;
  /** What the operating system calls its run since it was started; empty where it has no name for it. */
  readonly boot: string;
  readonly frames: readonly MovedFrames[];
}

/** Frames of the write-ahead log that were moved into log.db, one behind the other: they stand until others take their place. */
export interface MovedFrames {
  /** The salts of the log that they are of. */
  readonly salts: Uint8Array;
  /** The place of the first, from 0. */
  readonly from: number;
  /** `FRAME_SUM_BYTES` for each: damage shows by them, which nobody would do on purpose to what nothing reads. */
  readonly sums: Uint8Array;
}

/** What one checkpoint makes of log.db. */
export interface Move {
  readonly bytes: number;
  /** By number, from 1. */
  readonly pages: ReadonlyMap<number, Uint8Array>;
  readonly frames: MovedFrames;
}

/** A `log.sums` as it is read. */
export interface ReadSums {
  readonly base: Base;
  /** Length and parts of log.db after all that is recorded. */
  readonly bytes: number;
  readonly parts: Uint8Array;
  /** Of several for one place the last counts. */
  readonly frames: readonly MovedFrames[];
  /** Pages of checkpoints that may not have come to their end, and their digests before (undefined: there was none). */
  readonly moving: ReadonlyMap<number, Uint8Array | undefined>;
  /** Where the last entry that opens ends, and how many there are. */
  readonly end: number;
  readonly entries: number;
  /** The mark of an entry is neither there, nor missing, nor a part of both, as a power cut may leave it. */
  readonly badMark: boolean;
  /** More stands behind the last entry that opens: one that was cut off, or is damaged. */
  readonly rest: boolean;
}

export const sumsPath = (directory: string) => join(directory, "log.sums");
export const digestOf = (bytes: Uint8Array) => sha256(bytes).slice(0, DIGEST_BYTES);
export const digestAt = (parts: Uint8Array, part: number): Uint8Array | undefined =>
  (part + 1) * DIGEST_BYTES <= parts.length
    ? parts.subarray(part * DIGEST_BYTES, (part + 1) * DIGEST_BYTES)
    : undefined;
export const isSame = (one: Uint8Array | undefined, other: Uint8Array | undefined): boolean =>
  one !== undefined && other !== undefined && Buffer.compare(one, other) === 0;

/** A whole file without entries: 0, which no sealed blob begins with, and the base. Gives the base's digest too. */
export function encodeBase({ bytes, partBytes, parts, loose, open, boot, frames }: Base, sealer: Sealer) {
  const plain = new ByteWriter(64 + parts.length);
  plain
    .u8(FORMAT)
    .varint(bytes)
    .varint(partBytes)
    .varint(parts.length / DIGEST_BYTES)
    .raw(parts)
    .varint(loose.size);
  for (const [name, sum] of loose) plain.text(name).raw(sum);
  plain
    .u8(open ? 1 : 0)
    .text(boot)
    .varint(frames.length);
  for (const moved of frames) writeFrames(plain, moved);
  const sealed = sealer.keyring.seal(plain.finish(), boundBase(sealer));
  const file = new ByteWriter(sealed.length + 1 + LENGTH_BYTES).u8(0).u32(sealed.length).raw(sealed).finish();
  return { file, base: digestOf(sealed) };
}

/** The entry behind `entries` others: its length, what is sealed, and room for the mark that it is given once it came true. */
export function encodeMove({ bytes, pages, frames }: Move, sealer: Sealer, base: Uint8Array, entries: number) {
  const writer = new ByteWriter(64 + pages.size * (DIGEST_BYTES + 3)).varint(bytes).varint(pages.size);
  let last = 0;
  for (const [page, sum] of [...pages].sort(([a], [b]) => a - b)) {
    writer.varint(page - last).raw(sum);
    last = page;
  }
  writeFrames(writer, frames);
  const plain = writer.finish();
  const sealed = sealer.keyring.seal(plain, boundMove(sealer, base, entries));
  const entry = new ByteWriter(sealed.length + LENGTH_BYTES + MARK_BYTES).u32(sealed.length).raw(sealed);
  return { entry: entry.raw(new Uint8Array(MARK_BYTES)).finish(), mark: markOf(plain) };
}

/** Undefined where the file is damaged. */
export function decodeSums(file: Uint8Array, sealer: Sealer): ReadSums | undefined {
  if (file[0] !== 0) {
    const base = openBase(file, sealer); // the form of earlier versions
    return base && startOf(base, file.length);
  }
  const first = blobAt(file, 1, 0);
  const base = first && openBase(first, sealer);
  if (!base) return undefined;
  const id = digestOf(first);
  let read = startOf(base, 1 + LENGTH_BYTES + first.length);
  for (;;) {
    const next = withEntry(read, file, id, sealer);
    if (next === undefined) return { ...read, rest: read.end < file.length };
    read = next;
  }
}

/** The parts of log.db after a checkpoint. */
export function afterMove(parts: Uint8Array, { bytes, pages }: Pick<Move, "bytes" | "pages">): Uint8Array {
  const count = bytes / PAGE_BYTES;
  const next = new Uint8Array(count * DIGEST_BYTES);
  next.set(parts.subarray(0, next.length));
  if (next.length > parts.length) {
    // A page that is free before it was ever written is nowhere: the file has zeros there.
    const zeros = digestOf(new Uint8Array(PAGE_BYTES));
    for (let at = parts.length; at < next.length; at += DIGEST_BYTES) next.set(zeros, at);
  }
  for (const [page, sum] of pages) if (page <= count) next.set(sum, (page - 1) * DIGEST_BYTES);
  return next;
}

/** No byte of it is one bit away from zero, which is what was there. */
const markOf = (plain: Uint8Array): Uint8Array =>
  sha256("mark", plain)
    .slice(0, MARK_BYTES)
    .map((byte) => byte | 0xc0);

const boundBase = ({ storeId }: Sealer) => boundTo(storeId, "sums");
/** An entry fits behind the very base that it was written for, in its place. */
const boundMove = ({ storeId }: Sealer, base: Uint8Array, entry: number) =>
  boundTo(storeId, `sums ${toHex(base)} ${entry}`);

const startOf = (base: Base, end: number): ReadSums => ({
  base,
  bytes: base.bytes,
  parts: base.parts,
  frames: base.frames,
  moving: new Map(),
  end,
  entries: 0,
  badMark: false,
  rest: false,
});

/** The sealed blob whose length stands at `at`; undefined where it and `behind` bytes more are not all there. */
function blobAt(file: Uint8Array, at: number, behind: number): Uint8Array | undefined {
  const from = at + LENGTH_BYTES;
  if (from > file.length) return undefined;
  const length = new ByteReader(file.subarray(at, from)).u32();
  return from + length + behind <= file.length ? file.subarray(from, from + length) : undefined;
}

function openBase(sealed: Uint8Array, sealer: Sealer): Base | undefined {
  const opened = sealer.keyring.open(sealed, boundBase(sealer));
  if (!opened) return undefined;
  const reader = new ByteReader(opened);
  const format = reader.u8();
  if (format !== FORMAT) throw new RangeError(`log.sums has the format ${format}, not ${FORMAT}`);
  const [bytes, partBytes, count] = [reader.varint(), reader.varint(), reader.varint()];
  const parts = reader.raw(count * DIGEST_BYTES);
  const loose = new Map<string, Uint8Array>();
  for (let left = reader.varint(); left > 0; left--) loose.set(reader.text(), reader.raw(DIGEST_BYTES));
  if (reader.remaining === 0) return { bytes, partBytes, parts, loose, open: false, boot: "", frames: [] };
  const [open, boot] = [reader.u8() === 1, reader.text()];
  const frames = Array.from({ length: reader.varint() }, () => readFrames(reader));
  return { bytes, partBytes, parts, loose, open, boot, frames };
}

function writeFrames(writer: ByteWriter, { salts, from, sums }: MovedFrames): void {
  writer.raw(salts).varint(from).bytes(sums);
}

const readFrames = (reader: ByteReader): MovedFrames => ({
  salts: reader.raw(SALTS_BYTES),
  from: reader.varint(),
  sums: reader.bytes(),
});

/** With the next entry; undefined where none opens. */
function withEntry(read: ReadSums, file: Uint8Array, id: Uint8Array, sealer: Sealer): ReadSums | undefined {
  const sealed = blobAt(file, read.end, MARK_BYTES);
  const opened = sealed && sealer.keyring.open(sealed, boundMove(sealer, id, read.entries));
  if (!opened) return undefined;
  const reader = new ByteReader(opened);
  const mark = markOf(opened);
  const bytes = reader.varint();
  const pages = new Map<number, Uint8Array>();
  let page = 0;
  for (let left = reader.varint(); left > 0; left--) {
    page += reader.varint();
    pages.set(page, reader.raw(DIGEST_BYTES));
  }
  const frames = readFrames(reader);
  const markAt = read.end + LENGTH_BYTES + sealed.length;
  const found = file.subarray(markAt, markAt + MARK_BYTES);
  const done = isSame(found, mark);
  return {
    ...read,
    bytes,
    parts: afterMove(read.parts, { bytes, pages }),
    frames: [...read.frames, frames],
    moving: done ? new Map() : movingWith(read, bytes, pages),
    end: markAt + MARK_BYTES,
    entries: read.entries + 1,
    badMark: read.badMark || found.some((byte, i) => byte !== 0 && byte !== mark[i]),
  };
}

function movingWith({ parts, moving }: ReadSums, bytes: number, pages: ReadonlyMap<number, Uint8Array>) {
  const all = new Map(moving);
  const add = (page: number) => {
    if (!all.has(page)) all.set(page, digestAt(parts, page - 1));
  };
  for (const page of pages.keys()) add(page);
  // The file is made longer or shorter at the end.
  const counts = [bytes / PAGE_BYTES, parts.length / DIGEST_BYTES];
  for (let page = Math.min(...counts) + 1; page <= Math.max(...counts); page++) add(page);
  return all;
}
