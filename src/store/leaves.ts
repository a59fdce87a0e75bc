import { createCipheriv } from "node:crypto";
import { sha256 } from "../base/digest.ts";
import type { Batch } from "../contract/batch.ts";
import { canvasFor, rowPainter } from "./canonical_rows.ts";
import { HASH_BYTES, SALT_BYTES } from "./record.ts";

/**
 * Content roots: what the audit tree commits to. Row leaf = SHA-256(canonical row), which begins with 0x00 and holds a
 * salt: see canonical_rows.ts. Chunks of 256 leaves are hashed under 0x01, chunk hashes with the row count under 0x02.
 * The salt of row i of an append is block i of an AES-256-CTR key stream under the store's salt key from the append's
 * 16 random bytes: nothing is stored a row, and a leaf says nothing about its row to one without the key.
 */
const CHUNK = 256;

/**
 * Gives the root of the rows of a batch in their order; `tombstones` has one byte a row. Keeps the memory it works in:
 * one for each thread that hashes.
 */
export type ContentHasher = (batch: Batch, tombstones: Uint8Array | undefined, salt: Uint8Array) => Uint8Array;

export function contentHasher(saltKey: Uint8Array): ContentHasher {
  const canvas = canvasFor(CHUNK);
  const leaves = new Uint8Array(1 + CHUNK * HASH_BYTES);
  leaves[0] = 1;
  // Each leaf is hashed right into its place.
  const places = Array.from({ length: CHUNK }, (_, i) => leaves.subarray(1 + i * HASH_BYTES, 1 + (i + 1) * HASH_BYTES));
  const take = (row: Uint8Array, i: number) => void Bun.SHA256.hash(row, places[i]!);
  return (batch, tombstones, salt) => {
    const paint = rowPainter(batch, tombstones, saltStream(saltKey, salt, batch.length), canvas);
    const hasher = new Bun.CryptoHasher("sha256");
    hasher.update(Uint8Array.of(2));
    hasher.update(String(batch.length));
    for (let from = 0; from < batch.length; from += CHUNK) {
      const count = Math.min(CHUNK, batch.length - from);
      paint(from, count, take);
      hasher.update(sha256(leaves.subarray(0, 1 + count * HASH_BYTES)));
    }
    return new Uint8Array(hasher.digest());
  };
}

function saltStream(key: Uint8Array, salt: Uint8Array, rows: number): Int32Array {
  const stream = createCipheriv("aes-256-ctr", key, salt).update(new Uint8Array(rows * SALT_BYTES));
  if (stream.byteOffset % 4 === 0) return new Int32Array(stream.buffer, stream.byteOffset, rows * (SALT_BYTES / 4));
  return new Int32Array(new Uint8Array(stream).buffer);
}
