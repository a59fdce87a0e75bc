import { expect, test } from "bun:test";
import { createCipheriv } from "node:crypto";
import fc from "fast-check";
import { seededRandom } from "../../src/base/random.ts";
import { batchOf } from "../../src/contract/batch.ts";
import { contentHasher, leavesOf } from "../../src/store/leaves.ts";
import { decodeBody, encodeBody } from "../../src/store/record.ts";
import { newSalt, puncture, saltsOf, seedOf } from "../../src/store/salts.ts";
import { plainContract } from "../support/rows.ts";

/*
 * The tree of salts against one that is written out node by node; punctured salts against the whole ones.
 */
const KEY = new Uint8Array(32).fill(7);
const words = (salts: Int32Array, row: number) => Buffer.from(salts.slice(row * 4, row * 4 + 4).buffer).toString("hex");

function child(node: Uint8Array, index: number): Uint8Array {
  const counter = Buffer.alloc(16);
  counter.writeUInt32BE(index, 12);
  return createCipheriv("aes-128-ecb", node, null).setAutoPadding(false).update(counter);
}

test("a salt is the child of its chunk's seed, which is a child of the append's", () => {
  const seed = seededRandom(3).bytes(16);
  for (const rows of [1, 2, 255, 256, 257, 1_000]) {
    const salts = saltsOf(KEY, seedOf(seed), rows);
    expect(salts.length).toBe(rows * 4);
    for (const row of [0, 1, 255, 256, 257, 700, 999].filter((at) => at < rows)) {
      const expected = Buffer.from(child(child(seed, row >> 8), row & 255)).toString("hex");
      expect({ row, salt: words(salts, row) }).toEqual({ row, salt: expected });
    }
  }
});

test("puncturing takes the salts of these rows and no others, in any number of turns", () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 700 }),
      fc.array(fc.array(fc.nat({ max: 699 }), { maxLength: 6 }), { minLength: 1, maxLength: 3 }),
      (rows, turns) => {
        const whole = newSalt(seededRandom(rows));
        let salt = whole;
        for (const turn of turns) {
          const indices = turn.filter((index) => index < rows);
          salt = puncture(salt, rows, indices);
        }
        const gone = new Set(turns.flat());
        const [all, left] = [saltsOf(KEY, whole, rows), saltsOf(KEY, salt, rows)];
        for (let row = 0; row < rows; row++) {
          expect(words(left, row)).toBe(gone.has(row) ? "00".repeat(16) : words(all, row));
        }
        // Neither the seed, nor the seed of a chunk that lost a row, nor a lost salt stands in what is kept.
        const bytes = Buffer.from(salt).toString("hex");
        for (const row of gone) {
          if (row >= rows) continue;
          expect(bytes).not.toContain(words(all, row));
          expect(bytes).not.toContain(Buffer.from(whole.subarray(1)).toString("hex"));
          expect(bytes).not.toContain(Buffer.from(child(whole.subarray(1), row >> 8)).toString("hex"));
        }
      },
    ),
    { numRuns: 60 },
  );
});

test("salts of the first scheme, of 16 bytes, go on giving the same roots, and can't be punctured", () => {
  const old = new Uint8Array(16).fill(9);
  expect(puncture(old, 300, [5])).toEqual(old);
  const stream = createCipheriv("aes-256-ctr", KEY, old).update(Buffer.alloc(300 * 16));
  expect(words(saltsOf(KEY, old, 300), 299)).toBe(stream.subarray(299 * 16).toString("hex"));
});

test("records of either scheme open as they were written", () => {
  for (const salt of [new Uint8Array(16).fill(4), newSalt(seededRandom(1))]) {
    for (const size of [3, 3_000]) {
      const root = new Uint8Array(32).fill(1);
      const appends = [{ salt, root, tombstones: new Uint8Array(0), batch: new Uint8Array(size) }];
      expect(decodeBody(encodeBody({ appends, cursors: { a: "b" }, readers: { r: 3 } }))).toEqual({
        appends,
        cursors: { a: "b" },
        readers: { r: 3 },
      });
    }
  }
});

test("with the kept leaf of an erased row the root is what it was", () => {
  const rows = Array.from({ length: 600 }, (_, i) => ({ kind: `k${i}`, body: null, at: i }));
  const hasher = contentHasher(KEY);
  const salt = newSalt(seededRandom(8));
  const root = hasher(batchOf(plainContract, rows), undefined, salt);
  const leaves = leavesOf(batchOf(plainContract, rows), undefined, saltsOf(KEY, salt, 600));
  const left = rows.map((row, i) => (i === 300 ? { kind: "", body: null, at: 0 } : row));
  const kept = new Map([[300, leaves.slice(300 * 32, 301 * 32)]]);
  const punctured = puncture(salt, 600, [300]);
  expect(hasher(batchOf(plainContract, left), undefined, punctured, kept)).toEqual(root);
  expect(hasher(batchOf(plainContract, rows), undefined, punctured)).not.toEqual(root);
});
