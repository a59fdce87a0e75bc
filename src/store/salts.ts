import { createCipheriv } from "node:crypto";
import { ByteReader, ByteWriter } from "../base/bytes.ts";
import type { Random } from "../base/random.ts";

/**
 * The salts of the rows of one append. They come from one seed by a tree of two levels and fan-out 256 (Goldreich,
 * Goldwasser and Micali): child i of a node is block i of the AES-128-CTR key stream under it, from zero. The append's
 * seed gives a seed for each chunk of 256 rows, and that gives the salts of the chunk. Forgetting the seed, and keeping
 * the other chunks' seeds and the other rows' salts, takes one row's salt away for ever, whoever holds which key.
 *
 * In bytes, told apart by length and the first one:
 *
 *   16 bytes                      the first scheme: block i of AES-256-CTR under the store's salt key from these bytes
 *   0x01 | seed (16)              a whole tree
 *   0x02 | rows (varint) | for each chunk 0x00 | seed (16), or 0x01 | which rows have a salt (32) | these salts (16 each)
 */
export const SALT_BYTES = 16;
/** Rows under one seed; also how many leaves a chunk of leaves.ts has. */
export const CHUNK_ROWS = 256;

const WHOLE = 1;
const PUNCTURED = 2;
const CHUNK_SEED = 0;
const CHUNK_SALTS = 1;
const NO_BYTES = new Uint8Array(CHUNK_ROWS * SALT_BYTES);
const ZERO = new Uint8Array(16);

export const isSeed = (salt: Uint8Array): boolean => salt.length === 1 + SALT_BYTES && salt[0] === WHOLE;

export function seedOf(seed: Uint8Array): Uint8Array {
  const salt = new Uint8Array(1 + SALT_BYTES);
  salt[0] = WHOLE;
  salt.set(seed, 1);
  return salt;
}

/** For a new append. */
export const newSalt = (random: Random): Uint8Array => seedOf(random.bytes(SALT_BYTES));

/** Whether the salts of single rows can be forgotten; those of the first scheme come back with the store's salt key. */
export const isPuncturable = (salt: Uint8Array): boolean => salt.length !== SALT_BYTES;

/** Four words a row; zeros where a salt was forgotten. Throws RangeError where the bytes are no salts of so many rows. */
export function saltsOf(saltKey: Uint8Array, salt: Uint8Array, rows: number): Int32Array {
  if (salt.length === SALT_BYTES) {
    const stream = createCipheriv("aes-256-ctr", saltKey, salt).update(new Uint8Array(rows * SALT_BYTES));
    return new Int32Array(aligned(stream).buffer, 0, rows * 4);
  }
  if (rows <= CHUNK_ROWS && isSeed(salt)) {
    const only = children(children(salt.subarray(1), 1), rows);
    return new Int32Array(aligned(only).buffer, 0, rows * 4);
  }
  const salts = new Uint8Array(rows * SALT_BYTES);
  chunksOf(salt, rows).forEach((chunk, index) => {
    const at = index * CHUNK_ROWS;
    const count = Math.min(CHUNK_ROWS, rows - at);
    if (chunk.seed) salts.set(children(chunk.seed, count), at * SALT_BYTES);
    else for (const [row, own] of chunk.salts) if (row < count) salts.set(own, (at + row) * SALT_BYTES);
  });
  return new Int32Array(salts.buffer);
}

/** The salts without those of the rows at `indices`. The first scheme's stay as they are. */
export function puncture(salt: Uint8Array, rows: number, indices: Iterable<number>): Uint8Array {
  if (!isPuncturable(salt)) return salt;
  const chunks = chunksOf(salt, rows);
  for (const index of indices) {
    const at = Math.floor(index / CHUNK_ROWS);
    const chunk = chunks[at]!;
    const salts = chunk.seed ? saltsUnder(chunk.seed, Math.min(CHUNK_ROWS, rows - at * CHUNK_ROWS)) : chunk.salts;
    salts.delete(index % CHUNK_ROWS);
    chunks[at] = { salts };
  }
  const writer = new ByteWriter(64 + chunks.length * (SALT_BYTES + 1));
  writer.u8(PUNCTURED).varint(rows);
  for (const { seed, salts } of chunks) {
    if (seed) writer.u8(CHUNK_SEED).raw(seed);
    else putSalts(writer, salts);
  }
  return writer.finish();
}

type Chunk =
  | { readonly seed: Uint8Array; readonly salts?: undefined }
  | { readonly seed?: undefined; readonly salts: Map<number, Uint8Array> };

function chunksOf(salt: Uint8Array, rows: number): Chunk[] {
  const count = Math.ceil(rows / CHUNK_ROWS);
  if (isSeed(salt)) {
    const seeds = children(salt.subarray(1), count);
    return Array.from({ length: count }, (_, i) => ({ seed: seeds.subarray(i * SALT_BYTES, (i + 1) * SALT_BYTES) }));
  }
  const reader = new ByteReader(salt);
  if (reader.u8() !== PUNCTURED || reader.varint() !== rows) throw new RangeError("these are no salts of these rows");
  const chunks = Array.from({ length: count }, (): Chunk => {
    const kind = reader.u8();
    if (kind === CHUNK_SEED) return { seed: reader.raw(SALT_BYTES) };
    if (kind !== CHUNK_SALTS) throw new RangeError("no such salts");
    return { salts: takeSalts(reader) };
  });
  if (reader.remaining > 0) throw new RangeError("bytes are left after the salts");
  return chunks;
}

/** The first children of a node. */
function children(node: Uint8Array, count: number): Uint8Array {
  const blank = count <= CHUNK_ROWS ? NO_BYTES.subarray(0, count * SALT_BYTES) : new Uint8Array(count * SALT_BYTES);
  return createCipheriv("aes-128-ctr", node, ZERO).update(blank);
}

function saltsUnder(seed: Uint8Array, count: number): Map<number, Uint8Array> {
  const all = children(seed, count);
  return new Map(Array.from({ length: count }, (_, i) => [i, all.subarray(i * SALT_BYTES, (i + 1) * SALT_BYTES)]));
}

function putSalts(writer: ByteWriter, salts: ReadonlyMap<number, Uint8Array>): void {
  const held = new Uint8Array(CHUNK_ROWS / 8);
  for (const row of salts.keys()) held[row >> 3]! |= 1 << (row & 7);
  writer.u8(CHUNK_SALTS).raw(held);
  for (let row = 0; row < CHUNK_ROWS; row++) if (salts.has(row)) writer.raw(salts.get(row)!);
}

function takeSalts(reader: ByteReader): Map<number, Uint8Array> {
  const held = reader.raw(CHUNK_ROWS / 8);
  const salts = new Map<number, Uint8Array>();
  for (let row = 0; row < CHUNK_ROWS; row++) {
    if (((held[row >> 3]! >> (row & 7)) & 1) === 1) salts.set(row, reader.raw(SALT_BYTES));
  }
  return salts;
}

const aligned = (bytes: Uint8Array) => (bytes.byteOffset === 0 ? bytes : new Uint8Array(bytes));
