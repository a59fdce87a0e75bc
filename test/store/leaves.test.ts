import { describe, expect, test } from "bun:test";
import { createCipheriv, createHash } from "node:crypto";
import fc from "fast-check";
import type { Row, Value } from "../../src/base/row.ts";
import { type Batch, batchOf, concatBatches, rowsOf, sliceRows } from "../../src/contract/batch.ts";
import { decodeBatch, encodeBatch } from "../../src/contract/codec.ts";
import { textBytes } from "../../src/contract/codec_texts.ts";
import { streamContract } from "../../src/contract/contract.ts";
import { contentHasher } from "../../src/store/leaves.ts";
import { streams, timedContract } from "../support/rows.ts";

const KEY = new Uint8Array(32).fill(7);
const SALT = new Uint8Array(16).fill(9);
const digest = (...parts: readonly Uint8Array[]) => {
  const hash = createHash("sha256");
  for (const part of parts) hash.update(part);
  return hash.digest();
};
const root = (batch: Batch, tombstones?: Uint8Array) =>
  Buffer.from(contentHasher(KEY)(batch, tombstones, SALT)).toString("hex");

/** The row's bytes, written one field after another as ARCHITECTURE.md says. */
function plainLeaf(batch: Batch, row: Row, tombstone: number, salt: Uint8Array): Buffer {
  const kinds = [0, tombstone];
  const numbers: Buffer[] = [];
  const lengths: Buffer[] = [];
  const blobs: Uint8Array[] = [];
  for (const { name, type } of batch.contract.fields) {
    const value = row[name] as Value;
    if (["string", "enum", "bytes"].includes(type)) {
      const bytes = value === null ? new Uint8Array(0) : typeof value === "string" ? textBytes(value) : value;
      kinds.push(value === null ? 0 : 2);
      const length = Buffer.alloc(4);
      length.writeUInt32LE((bytes as Uint8Array).length);
      lengths.push(length);
      blobs.push(bytes as Uint8Array);
      continue;
    }
    const slot = Buffer.alloc(8);
    const isWide = typeof value === "bigint" && (value > 2n ** 53n || value < -(2n ** 53n));
    if (isWide) slot.writeBigInt64LE(value);
    else if (value !== null) slot.writeDoubleLE(Number(value));
    kinds.push(value === null ? 0 : isWide ? 3 : 1);
    numbers.push(slot);
  }
  while (kinds.length % 8 > 0) kinds.push(0);
  const body = Buffer.concat([Buffer.from(kinds), salt, ...numbers, ...lengths, ...blobs]);
  const padding = Buffer.alloc((64 - ((body.length + 9) % 64)) % 64);
  return digest(body, padding);
}

function plainRoot(batch: Batch, tombstones: Uint8Array): string {
  const salts = createCipheriv("aes-256-ctr", KEY, SALT).update(Buffer.alloc(batch.length * 16));
  const leaves = rowsOf(batch).map((row, i) =>
    plainLeaf(batch, row, tombstones[i]!, salts.subarray(i * 16, i * 16 + 16)),
  );
  const chunks: Buffer[] = [];
  for (let at = 0; at < leaves.length; at += 256) chunks.push(digest(Buffer.of(1), ...leaves.slice(at, at + 256)));
  return digest(Buffer.of(2), Buffer.from(String(batch.length)), ...chunks).toString("hex");
}

describe("content roots", () => {
  for (const [stream, { contract, row }] of Object.entries(streams)) {
    test(`of ${stream} are those of rows hashed one by one, also by a hasher that was used before`, () => {
      const hasher = contentHasher(KEY);
      fc.assert(
        fc.property(
          fc.array(row, { maxLength: 12 }),
          fc.infiniteStream(fc.integer({ min: 0, max: 1 })),
          (rows, bits) => {
            const batch = batchOf(contract, rows);
            const tombstones = Uint8Array.from(rows, () => bits.next().value as number);
            const found = Buffer.from(hasher(batch, tombstones, SALT)).toString("hex");
            expect(found).toBe(plainRoot(batch, tombstones));
          },
        ),
        { numRuns: 200 },
      );
    });
  }

  test("of more rows than a chunk, with texts and blobs of any length", () => {
    const contract = streamContract({
      name: "long",
      fields: { text: "string?", body: "bytes?", n: "long?" },
      recordId: "position",
    });
    const rows = Array.from({ length: 700 }, (_, i) => ({
      text: i % 7 ? "ä".repeat(i % 50) + "x".repeat(i === 300 ? 5_000 : i % 90) : null,
      body: i % 5 ? new Uint8Array(i).fill(i) : null,
      n: i % 3 ? BigInt(i) ** 7n : null,
    }));
    const batch = batchOf(contract, rows);
    expect(root(batch)).toBe(plainRoot(batch, new Uint8Array(batch.length)));
    const slice = sliceRows(batch, 250, 620);
    expect(root(slice)).toBe(plainRoot(slice, new Uint8Array(slice.length)));
  });

  test("do not depend on how rows are held: joined, cut, encoded and decoded", () => {
    const row = (count: number | bigint, note: string) => ({ ...NO_ROW, id: "r", at: 1, count, note });
    const plain = batchOf(timedContract, [row(5, "a"), row(-(2 ** 53) + 1, "b")] as Row[]);
    const wide = batchOf(timedContract, [row(2n ** 60n, "c")] as Row[]);
    const cut = sliceRows(concatBatches([wide, plain]), 1, 3); // whole numbers in a column of 64-bit integers
    expect(cut.columns.some((column) => column.kind === "bigint")).toBe(true);
    expect(root(cut)).toBe(root(plain));
    expect(root(decodeBatch(encodeBatch(plain), timedContract))).toBe(root(plain));
  });

  test("change with every value, null, tombstone, order and count", () => {
    const base: Row = { ...NO_ROW, id: "r", place: "JFK", at: 1, amount: 0 };
    const others: Row[][] = [
      [{ ...base, id: "s" }],
      [{ ...base, place: null, note: "JFK" }],
      [{ ...base, place: "" }],
      [{ ...base, amount: null }],
      [{ ...base, amount: -0 }],
      [{ ...base, gate: 0 }],
      [{ ...base, payload: new Uint8Array(0) }],
      [base, base],
      [],
    ];
    const roots = [root(batchOf(timedContract, [base])), ...others.map((rows) => root(batchOf(timedContract, rows)))];
    roots.push(root(batchOf(timedContract, [base]), Uint8Array.of(1)));
    expect(new Set(roots).size).toBe(others.length + 2);
  });
});

const NO_ROW = Object.fromEntries(timedContract.fields.map(({ name }) => [name, null])) as Row;
