import { createCipheriv } from "node:crypto";
import { sha256 } from "../base/digest.ts";
import type { Batch, Column } from "../contract/batch.ts";
import { textBytes } from "../contract/codec.ts";
import type { Field } from "../contract/contract.ts";
import { HASH_BYTES, SALT_BYTES } from "./record.ts";

/**
 * Content roots: what the audit tree commits to. Row leaf = SHA-256(0x00 || salt || tombstone || canonical row); chunks
 * of 256 leaves are hashed under 0x01, chunk hashes with the row count under 0x02. The salt of row i of an append is
 * block i of an AES-256-CTR key stream under the store's salt key from the append's 16 random bytes: nothing is stored
 * a row, and a leaf says nothing about its row to one without the key.
 */
const CHUNK = 256;
const ROW_START = 1 + SALT_BYTES + 1;

/** The root of the rows in their order; `tombstones` has one byte a row. */
export function contentRoot(batch: Batch, tombstones: Uint8Array | undefined, saltKey: Uint8Array, salt: Uint8Array) {
  const salts = saltStream(saltKey, salt, batch.length);
  const write = rowWriter(batch);
  const chunks: Uint8Array[] = [];
  const digest = new Uint8Array(HASH_BYTES);
  for (let from = 0; from < batch.length; from += CHUNK) {
    const count = Math.min(CHUNK, batch.length - from);
    const leaves = new Uint8Array(1 + count * HASH_BYTES);
    leaves[0] = 1;
    for (let i = 0; i < count; i++) {
      const index = from + i;
      const row = write(index, salts, tombstones?.[index] ?? 0);
      Bun.SHA256.hash(row, digest);
      leaves.set(digest, 1 + i * HASH_BYTES);
    }
    chunks.push(sha256(leaves));
  }
  const hasher = new Bun.CryptoHasher("sha256");
  hasher.update(Uint8Array.of(2));
  hasher.update(String(batch.length));
  for (const chunk of chunks) hasher.update(chunk);
  return new Uint8Array(hasher.digest());
}

function saltStream(key: Uint8Array, salt: Uint8Array, rows: number): Uint8Array {
  return createCipheriv("aes-256-ctr", key, salt).update(new Uint8Array(rows * SALT_BYTES));
}

/** Writes rows one after another into one growing buffer; the returned bytes hold until the next call. */
function rowWriter(batch: Batch): (index: number, salts: Uint8Array, tombstone: number) => Uint8Array {
  let buffer = new Uint8Array(512);
  let view = new DataView(buffer.buffer);
  const writers = batch.contract.fields.map((field, i) => fieldWriter(field, batch.columns[i]!));
  return (index, salts, tombstone) => {
    let need = ROW_START;
    for (const writer of writers) need += writer.size(index);
    if (need > buffer.length) {
      buffer = new Uint8Array(need * 2);
      view = new DataView(buffer.buffer);
    }
    buffer[0] = 0;
    for (let i = 0; i < SALT_BYTES; i++) buffer[1 + i] = salts[index * SALT_BYTES + i]!;
    buffer[ROW_START - 1] = tombstone;
    let at = ROW_START;
    for (const writer of writers) at = writer.write(index, buffer, view, at);
    return buffer.subarray(0, at);
  };
}

interface FieldWriter {
  /** At least the bytes that the value takes. */
  size(index: number): number;
  /** Writes the value at `at` and returns where it ends. */
  write(index: number, buffer: Uint8Array, view: DataView, at: number): number;
}

const NUMBER_BYTES = 9;

function fieldWriter(field: Field, column: Column): FieldWriter {
  if (column.kind === "text") {
    const entries: Uint8Array[] = [];
    const entry = (code: number) => (entries[code] ??= textBytes(column.dictionary[code]!));
    return blobWriter((index) => (column.codes[index]! < 0 ? null : entry(column.codes[index]!)));
  }
  if (column.kind === "bytes") return blobWriter((index) => column.values[index] ?? null);
  const { values, valid } = column;
  const isDouble = field.type === "double" || field.type === "float";
  return {
    size: () => NUMBER_BYTES,
    write(index, buffer, view, at) {
      if (valid && valid[index] === 0) {
        buffer[at] = 0;
        return at + 1;
      }
      buffer[at] = 1;
      const value = values[index]!;
      if (typeof value === "bigint") view.setBigInt64(at + 1, value, true);
      else if (isDouble || !Number.isSafeInteger(value)) view.setFloat64(at + 1, value, true);
      else {
        view.setInt32(at + 1, value | 0, true);
        view.setInt32(at + 5, Math.floor(value / 2 ** 32), true);
      }
      return at + NUMBER_BYTES;
    },
  };
}

/** Null is 0; a blob is 2, its length in four bytes, and its bytes. */
function blobWriter(valueAt: (index: number) => Uint8Array | null): FieldWriter {
  return {
    size: (index) => 5 + (valueAt(index)?.length ?? 0),
    write(index, buffer, view, at) {
      const value = valueAt(index);
      buffer[at] = value ? 2 : 0;
      if (!value) return at + 1;
      view.setUint32(at + 1, value.length, true);
      if (value.length > 32) buffer.set(value, at + 5);
      else for (let i = 0; i < value.length; i++) buffer[at + 5 + i] = value[i]!;
      return at + 5 + value.length;
    },
  };
}
