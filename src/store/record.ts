import { ByteReader, ByteWriter } from "../base/bytes.ts";
import { sha256 } from "../base/digest.ts";
import { isSeed, SALT_BYTES, seedOf } from "./salts.ts";

/**
 * A commit as it is handed to the log and as it rests. The rows, cursors and positions are one sealed blob, made by
 * the thread that commits; the log adds what only it can know: number, time and sequences.
 */
export interface EncodedCommit {
  readonly appends: readonly EncodedAppend[];
  readonly cursors: Readonly<Record<string, string>>;
  readonly readers: Readonly<Record<string, number>>;
  readonly expect: {
    readonly cursors?: Readonly<Record<string, string>>;
    readonly readers?: Readonly<Record<string, number>>;
  };
  readonly score: boolean;
  /** Acknowledged before it is synced: see relaxed.ts. */
  readonly relaxed: boolean;
  /** Neither of scores nor of the pipeline: small facts, which are taken below the hard mark too. */
  readonly urgent: boolean;
  /** The sealed RecordBody. */
  readonly record: Uint8Array;
}

export interface EncodedAppend {
  readonly stream: string;
  readonly fingerprint: string;
  /** The contract's schema as JSON, where the log may not have it yet. */
  readonly schema?: string;
  readonly rows: number;
  readonly root: Uint8Array;
}

export interface RecordBody {
  readonly appends: readonly RecordAppend[];
  readonly cursors: Readonly<Record<string, string>>;
  readonly readers: Readonly<Record<string, number>>;
}

export interface RecordAppend {
  /** What the salts of the rows are derived from: see salts.ts. */
  readonly salt: Uint8Array;
  /** The content root of the rows: see leaves.ts. */
  readonly root: Uint8Array;
  /** A bit a row, or empty where none is a tombstone. */
  readonly tombstones: Uint8Array;
  /** From contract/codec. */
  readonly batch: Uint8Array;
}

/** Which rows of which stream an append of a commit holds. */
export interface Range {
  readonly streamId: number;
  readonly contractId: number;
  readonly firstSequence: number;
  readonly rows: number;
}

export const HASH_BYTES = 32;

const COMPRESS_FROM = 128; // smaller bodies gain nothing from zstd's frame

/** A bit of the flag byte of a record whose salts are seeds of trees; without it they are those of the first scheme. */
const SEEDS = 2;

/** The salts must all be of one scheme, and whole. */
export function encodeBody({ appends, cursors, readers }: RecordBody): Uint8Array {
  const seeds = appends.some(({ salt }) => isSeed(salt));
  const writer = new ByteWriter(256 + appends.reduce((sum, append) => sum + append.batch.length + 64, 0));
  writer.u8(seeds ? SEEDS : 0).varint(appends.length);
  for (const append of appends) writeAppend(writer, append);
  return finishBody(writer, cursors, readers);
}

/** The parts of a body that is written bit by bit: this, `writeAppend` for each append, and `finishBody`. */
export const beginBody = (writer: ByteWriter, appends: number): ByteWriter => writer.u8(SEEDS).varint(appends);

export function writeAppend(writer: ByteWriter, { salt, root, tombstones, batch }: RecordAppend): void {
  writer
    .raw(isSeed(salt) ? salt.subarray(1) : salt)
    .raw(root)
    .bytes(tombstones)
    .bytes(batch);
}

/** The body, good until more is written. */
export function finishBody(
  writer: ByteWriter,
  cursors: RecordBody["cursors"],
  readers: RecordBody["readers"],
): Uint8Array {
  const ofCursors = Object.entries(cursors);
  writer.varint(ofCursors.length);
  for (const [name, cursor] of ofCursors) writer.text(name).text(cursor);
  const ofReaders = Object.entries(readers);
  writer.varint(ofReaders.length);
  for (const [name, position] of ofReaders) writer.text(name).varint(position);
  const plain = writer.written();
  const packed = packedIfShorter(plain.subarray(1));
  return packed ? flagged(plain[0]! | 1, packed) : plain;
}

/** Throws RangeError (or zstd's error) on bytes that are no body. */
export function decodeBody(bytes: Uint8Array): RecordBody {
  return bodyIn(decompress(bytes, SEEDS), hasSeeds(bytes));
}

/** The same, unpacked beside this thread. */
export async function decodeBodyBeside(bytes: Uint8Array): Promise<RecordBody> {
  const packed = (bytes[0]! & ~SEEDS) === 1;
  return bodyIn(packed ? await Bun.zstdDecompress(bytes.subarray(1)) : decompress(bytes, SEEDS), hasSeeds(bytes));
}

const hasSeeds = (bytes: Uint8Array): boolean => ((bytes[0] ?? 0) & SEEDS) !== 0;

function bodyIn(bytes: Uint8Array, seeds: boolean): RecordBody {
  const reader = new ByteReader(bytes);
  const appends: RecordAppend[] = [];
  for (let count = reader.varint(); count > 0; count--) {
    const salt = seeds ? seedOf(reader.raw(SALT_BYTES)) : reader.raw(SALT_BYTES);
    const root = reader.raw(HASH_BYTES);
    appends.push({ salt, root, tombstones: reader.bytes(), batch: reader.bytes() });
  }
  const cursors: Record<string, string> = {};
  for (let count = reader.varint(); count > 0; count--) cursors[reader.text()] = reader.text();
  const readers: Record<string, number> = {};
  for (let count = reader.varint(); count > 0; count--) readers[reader.text()] = reader.varint();
  if (reader.remaining > 0) throw new RangeError("bytes are left after the record");
  return { appends, cursors, readers };
}

/** A flag byte, then the bytes as they are or as a zstd frame, whichever is shorter. */
export function compress(bytes: Uint8Array, level = 1): Uint8Array {
  const packed = packedIfShorter(bytes, level);
  return packed ? flagged(1, packed) : flagged(0, bytes);
}

function packedIfShorter(bytes: Uint8Array, level = 1): Uint8Array | undefined {
  if (bytes.length < COMPRESS_FROM) return undefined;
  const packed = Bun.zstdCompressSync(bytes, { level });
  return packed.length < bytes.length ? packed : undefined;
}

function flagged(flags: number, bytes: Uint8Array): Uint8Array {
  const whole = new Uint8Array(bytes.length + 1);
  whole[0] = flags;
  whole.set(bytes, 1);
  return whole;
}

/** Bits of the flag byte in `others` say something else. */
export function decompress(bytes: Uint8Array, others = 0): Uint8Array {
  const body = bytes.subarray(1);
  const flag = (bytes[0] ?? 255) & ~others;
  if (flag === 0) return body;
  if (flag !== 1) throw new RangeError("no such compression");
  return Bun.zstdDecompressSync(body);
}

export function encodeRanges(ranges: readonly Range[]): Uint8Array {
  const writer = new ByteWriter(8 + ranges.length * 8);
  writer.varint(ranges.length);
  for (const { streamId, contractId, firstSequence, rows } of ranges) {
    writer.varint(streamId).varint(contractId).varint(firstSequence).varint(rows);
  }
  return writer.finish();
}

export function decodeRanges(bytes: Uint8Array): Range[] {
  const reader = new ByteReader(bytes);
  const ranges: Range[] = [];
  for (let count = reader.varint(); count > 0; count--) {
    const streamId = reader.varint();
    const contractId = reader.varint();
    const firstSequence = reader.varint();
    ranges.push({ streamId, contractId, firstSequence, rows: reader.varint() });
  }
  if (reader.remaining > 0) throw new RangeError("bytes are left after the ranges");
  return ranges;
}

/** What a commit says of itself in the audit tree. */
export interface Statement {
  readonly commitNo: number;
  readonly knownTime: number;
  readonly appends: readonly {
    readonly stream: string;
    readonly fingerprint: string;
    readonly firstSequence: number;
    readonly rows: number;
    readonly root: Uint8Array;
  }[];
}

/** The leaf of a commit: SHA-256(0x00 || statement), as RFC 6962 hashes leaves. */
export function leafOf(statement: Statement): Uint8Array {
  return sha256(Uint8Array.of(0), encodeStatement(statement));
}

/** The canonical bytes of a statement: the entry of the transparency log. */
function encodeStatement({ commitNo, knownTime, appends }: Statement): Uint8Array {
  const writer = new ByteWriter(64 + appends.length * 128);
  writer.text("mlpe/commit/1").varint(commitNo).varint(knownTime).varint(appends.length);
  for (const { stream, fingerprint, firstSequence, rows, root } of appends) {
    writer.text(stream).text(fingerprint).varint(firstSequence).varint(rows).raw(root);
  }
  return writer.finish();
}
