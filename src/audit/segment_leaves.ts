import { sha256 } from "../base/digest.ts";
import { type Canvas, rowPainter } from "../store/canonical_rows.ts";
import { HASH_BYTES } from "../store/record.ts";
import { CHUNK_ROWS } from "../store/salts.ts";
import type { SegmentFile } from "../store/segment_read.ts";
import { ERASED } from "../store/select.ts";

/** The leaf of every row of a segment, by sequence, 32 bytes each. */
export interface SegmentLeaves {
  readonly leaves: Uint8Array;
  /** The rows, from the segment's first, that are empty places. */
  readonly erased: readonly number[];
  /** False where sequences are missing, or there twice. */
  readonly gapless: boolean;
}

const WORDS = HASH_BYTES / 4;
const SALT_WORDS = 4;

/**
 * Hashes the rows of a segment as they stand, block by block, and puts each leaf at its sequence: nothing is sorted, and one
 * block is in memory. `salts` has four words a row, by sequence. Every chunk of the file is opened.
 */
export function segmentLeaves(file: SegmentFile, salts: Int32Array, canvas: Canvas): SegmentLeaves {
  const { info, footer } = file;
  const words = new Int32Array(info.rows * WORDS);
  const seen = new Uint8Array(info.rows);
  const erased: number[] = [];
  let gapless = true;
  const leaf = new Int32Array(WORDS);
  const leafBytes = new Uint8Array(leaf.buffer);
  file.filter();
  for (let block = 0; block < footer.blockRows.length; block++) {
    const { batch, sequences, tombstones: flags } = file.rows(block);
    const own = new Int32Array(batch.length * SALT_WORDS);
    const places = new Int32Array(batch.length);
    for (let row = 0; row < batch.length; row++) {
      const place = sequences[row]! - info.firstSequence;
      if (!(place >= 0 && place < info.rows) || seen[place] === 1) {
        gapless = false;
        places[row] = 0;
        continue;
      }
      seen[place] = 1;
      places[row] = place;
      if ((flags[row]! & ERASED) !== 0) erased.push(place);
      for (let word = 0; word < SALT_WORDS; word++) own[row * SALT_WORDS + word] = salts[place * SALT_WORDS + word]!;
    }
    const paint = rowPainter(batch, flags, own, canvas);
    for (let from = 0; from < batch.length; from += CHUNK_ROWS) {
      paint(from, Math.min(CHUNK_ROWS, batch.length - from), (row, i) => {
        Bun.SHA256.hash(row, leafBytes);
        const at = places[from + i]! * WORDS;
        for (let word = 0; word < WORDS; word++) words[at + word] = leaf[word]!;
      });
    }
  }
  return { leaves: new Uint8Array(words.buffer), erased, gapless };
}

/** The content root of an append over the leaves of its rows. */
export function rootOfLeaves(leaves: Uint8Array): Uint8Array {
  const rows = leaves.length / HASH_BYTES;
  const hasher = new Bun.CryptoHasher("sha256");
  hasher.update(Uint8Array.of(2));
  hasher.update(String(rows));
  for (let from = 0; from < leaves.length; from += CHUNK_ROWS * HASH_BYTES) {
    hasher.update(sha256(Uint8Array.of(1), leaves.subarray(from, from + CHUNK_ROWS * HASH_BYTES)));
  }
  return new Uint8Array(hasher.digest());
}
