import type { Batch } from "../contract/batch.ts";
import { canvasFor, rowPainter } from "./canonical_rows.ts";
import { HASH_BYTES } from "./record.ts";
import { CHUNK_ROWS, saltsOf } from "./salts.ts";

/**
 * Content roots: what the audit tree commits to. Row leaf = SHA-256(canonical row), which begins with 0x00 and holds a
 * salt: see canonical_rows.ts and salts.ts. Chunks of 256 leaves are hashed under 0x01, chunk hashes with the row count
 * under 0x02. A leaf says nothing about its row to one without the salt.
 */

/** Leaves that are taken as they were kept, by the row's place in the append: of rows that were erased. */
export type KeptLeaves = ReadonlyMap<number, Uint8Array>;

/**
 * Gives the root of the rows of a batch in their order; `tombstones` has one byte a row. Keeps the memory it works in:
 * one for each thread that hashes.
 */
export type ContentHasher = (
  batch: Batch,
  tombstones: Uint8Array | undefined,
  salt: Uint8Array,
  kept?: KeptLeaves,
) => Uint8Array;

export function contentHasher(saltKey: Uint8Array): ContentHasher {
  const canvas = canvasFor(CHUNK_ROWS);
  const leaves = new Uint8Array(1 + CHUNK_ROWS * HASH_BYTES);
  leaves[0] = 1;
  // Each leaf is hashed right into its place.
  const places = placesIn(leaves.subarray(1), CHUNK_ROWS);
  const take = (row: Uint8Array, i: number) => void Bun.SHA256.hash(row, places[i]!);
  return (batch, tombstones, salt, kept) => {
    const paint = rowPainter(batch, tombstones, saltsOf(saltKey, salt, batch.length), canvas);
    const count = String(batch.length);
    const chunks = Math.ceil(batch.length / CHUNK_ROWS);
    const top = new Uint8Array(1 + count.length + chunks * HASH_BYTES);
    top[0] = 2;
    for (let i = 0; i < count.length; i++) top[1 + i] = count.charCodeAt(i);
    for (let chunk = 0; chunk < chunks; chunk++) {
      const from = chunk * CHUNK_ROWS;
      const rows = Math.min(CHUNK_ROWS, batch.length - from);
      paint(from, rows, take);
      if (kept) for (let i = 0; i < rows; i++) putKept(kept.get(from + i), places[i]!);
      const at = 1 + count.length + chunk * HASH_BYTES;
      Bun.SHA256.hash(leaves.subarray(0, 1 + rows * HASH_BYTES), top.subarray(at, at + HASH_BYTES));
    }
    const root = new Uint8Array(HASH_BYTES);
    Bun.SHA256.hash(top, root);
    return root;
  };
}

function putKept(leaf: Uint8Array | undefined, place: Uint8Array): void {
  if (leaf) place.set(leaf);
}

/** The leaves of rows, 32 bytes each, under salts of four words a row. */
export function leavesOf(batch: Batch, tombstones: Uint8Array | undefined, salts: Int32Array): Uint8Array {
  const leaves = new Uint8Array(batch.length * HASH_BYTES);
  const canvas = canvasFor(CHUNK_ROWS);
  const paint = rowPainter(batch, tombstones, salts, canvas);
  const places = placesIn(leaves, batch.length);
  for (let from = 0; from < batch.length; from += CHUNK_ROWS) {
    const count = Math.min(CHUNK_ROWS, batch.length - from);
    paint(from, count, (row, i) => void Bun.SHA256.hash(row, places[from + i]!));
  }
  return leaves;
}

/** A view of each leaf. */
export const placesIn = (leaves: Uint8Array, count: number): Uint8Array[] =>
  Array.from({ length: count }, (_, i) => leaves.subarray(i * HASH_BYTES, (i + 1) * HASH_BYTES));
