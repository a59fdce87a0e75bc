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

/** Writes rows one after another into one buffer; the returned bytes hold until the next call. */
function rowWriter(batch: Batch): (index: number, salts: Uint8Array, tombstone: number) => Uint8Array {
  const writers = batch.contract.fields.map((field, i) => fieldWriter(field, batch.columns[i]!));
  const most = batch.columns.reduce((sum, column) => sum + largest(column, batch.length), ROW_START);
  const buffer = new Uint8Array(most);
  const view = new DataView(buffer.buffer);
  return (index, salts, tombstone) => {
    buffer[0] = 0;
    for (let i = 0; i < SALT_BYTES; i++) buffer[1 + i] = salts[index * SALT_BYTES + i]!;
    buffer[ROW_START - 1] = tombstone;
    let at = ROW_START;
    for (let f = 0; f < writers.length; f++) at = writers[f]!(index, buffer, view, at);
    return buffer.subarray(0, at);
  };
}

/** Writes the value of a row at `at` and returns where it ends. */
type FieldWriter = (index: number, buffer: Uint8Array, view: DataView, at: number) => number;

const NUMBER_BYTES = 9;
const BLOB_BYTES = 5;

/** At least the bytes that any value of the column takes. */
function largest(column: Column, length: number): number {
  if (column.kind !== "text" && column.kind !== "bytes") return NUMBER_BYTES;
  let most = 0;
  for (let i = 0; i < length; i++) {
    const value = column.kind === "bytes" ? column.values[i] : column.dictionary[column.codes[i]!];
    if (value && value.length > most) most = value.length;
  }
  // A text has at most three bytes a UTF-16 unit; one with half a surrogate pair a byte and two a unit.
  return BLOB_BYTES + (column.kind === "bytes" ? most : 1 + most * 3);
}

function fieldWriter(field: Field, column: Column): FieldWriter {
  if (column.kind === "text") return textWriter(column.codes, column.dictionary);
  if (column.kind === "bytes") {
    return (index, buffer, view, at) => writeBlob(column.values[index] ?? null, buffer, view, at);
  }
  const { values, valid } = column;
  const isDouble = field.type === "double" || field.type === "float";
  return (index, buffer, view, at) => {
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
  };
}

/** Nearly all texts are ASCII: their bytes are written as they are read, several times faster than by an encoder. */
function textWriter(codes: Int32Array, dictionary: readonly string[]): FieldWriter {
  return (index, buffer, view, at) => {
    const code = codes[index]!;
    if (code < 0) return writeBlob(null, buffer, view, at);
    const text = dictionary[code]!;
    const { length } = text;
    const from = at + BLOB_BYTES;
    for (let i = 0; i < length; i++) {
      const unit = text.charCodeAt(i);
      if (unit >= 0x80) return writeBlob(textBytes(text), buffer, view, at);
      buffer[from + i] = unit;
    }
    buffer[at] = 2;
    view.setUint32(at + 1, length, true);
    return from + length;
  };
}

/** Null is 0; a blob is 2, its length in four bytes, and its bytes. */
function writeBlob(value: Uint8Array | null, buffer: Uint8Array, view: DataView, at: number): number {
  buffer[at] = value ? 2 : 0;
  if (!value) return at + 1;
  view.setUint32(at + 1, value.length, true);
  buffer.set(value, at + BLOB_BYTES);
  return at + BLOB_BYTES + value.length;
}
