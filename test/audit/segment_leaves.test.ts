import { expect, test } from "bun:test";
import { segmentLeaves } from "../../src/audit/segment_leaves.ts";
import { batchOf, sliceRows } from "../../src/contract/batch.ts";
import { streamContract } from "../../src/contract/contract.ts";
import { canvasFor } from "../../src/store/canonical_rows.ts";
import { leavesOf } from "../../src/store/leaves.ts";
import { CHUNK_ROWS } from "../../src/store/salts.ts";
import type { SegmentFile } from "../../src/store/segment_read.ts";

const contract = streamContract({
  name: "readings",
  fields: { place: "string", reading: "double" },
  recordId: "position",
});
const ROWS = CHUNK_ROWS + 3;
const batch = batchOf(
  contract,
  Array.from({ length: ROWS }, (_, i) => ({ place: `P${i % 7}`, reading: i / 4 })),
);

/** A segment of one block whose rows have these sequences; it says that it begins at 10. */
const withSequences = (sequences: Float64Array, rows = sequences.length) =>
  ({
    info: { firstSequence: 10, rows },
    footer: { blockRows: Float64Array.of(sequences.length) },
    filter: () => undefined,
    rows: () => ({
      batch: sliceRows(batch, 0, sequences.length),
      sequences,
      tombstones: new Uint8Array(sequences.length),
    }),
  }) as unknown as SegmentFile;

const salts = Int32Array.from({ length: ROWS * 4 }, (_, i) => i * 0x9e3779b1);
const canvas = canvasFor(CHUNK_ROWS);
const backwards = () => Float64Array.from({ length: ROWS }, (_, i) => 10 + ROWS - 1 - i);

test("each leaf stands at its sequence, under the salt of its sequence", () => {
  const { leaves, gapless } = segmentLeaves(withSequences(backwards()), salts, canvas);
  const turned = Int32Array.from(salts, (_, i) => salts[(ROWS - 1 - (i >> 2)) * 4 + (i & 3)]!);
  const expected = leavesOf(batch, undefined, turned);
  expect(gapless).toBe(true);
  for (let row = 0; row < ROWS; row++) {
    const at = (ROWS - 1 - row) * 32;
    expect(leaves.subarray(at, at + 32)).toEqual(expected.subarray(row * 32, row * 32 + 32));
  }
});

test("a sequence that is there twice, missing, none of the segment or no whole number is told", () => {
  const changed = (change: (sequences: Float64Array) => void) => {
    const sequences = backwards();
    change(sequences);
    return segmentLeaves(withSequences(sequences), salts, canvas).gapless;
  };
  expect(changed(() => {})).toBe(true);
  expect(changed((all) => all.fill(all[5]!, 4, 5))).toBe(false);
  expect(changed((all) => all.fill(9, 4, 5))).toBe(false);
  expect(changed((all) => all.fill(10 + ROWS, 4, 5))).toBe(false);
  expect(changed((all) => all.fill(all[4]! + 0.5, 4, 5))).toBe(false);
  expect(segmentLeaves(withSequences(backwards().subarray(1), ROWS), salts, canvas).gapless).toBe(false);
});
