import { sha256 } from "../base/digest.ts";
import { type Canvas, rowPainter } from "../store/canonical_rows.ts";
import { placesIn } from "../store/leaves.ts";
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
  const erased: number[] = [];
  let placed = 0;
  const hashed = new Int32Array(CHUNK_ROWS * WORDS);
  const each = placesIn(new Uint8Array(hashed.buffer), CHUNK_ROWS);
  const hash = (row: Uint8Array, i: number) => void Bun.SHA256.hash(row, each[i]!);
  file.filter();
  for (let block = 0; block < footer.blockRows.length; block++) {
    const { batch, sequences, tombstones: flags } = file.rows(block);
    const places = placesOf(sequences, info);
    takeErased(flags, places, erased);
    const own = saltsAt(salts, places);
    const paint = rowPainter(batch, flags, own, canvas);
    for (let from = 0; from < batch.length; from += CHUNK_ROWS) {
      const rows = Math.min(CHUNK_ROWS, batch.length - from);
      paint(from, rows, hash);
      placed += putLeaves(hashed, places.subarray(from, from + rows), words);
    }
  }
  return { leaves: new Uint8Array(words.buffer), erased, gapless: placed === info.rows };
}

/** Which rows of the segment, from its first, the sequences are; -1 where one is none of it. */
function placesOf(sequences: Float64Array, { firstSequence, rows }: SegmentFile["info"]): Int32Array {
  const places = new Int32Array(sequences.length);
  for (let row = 0; row < sequences.length; row++) {
    const place = sequences[row]! - firstSequence;
    places[row] = place >= 0 && place < rows && (place | 0) === place ? place : -1;
  }
  return places;
}

function takeErased(flags: Uint8Array, places: Int32Array, erased: number[]): void {
  for (let row = 0; row < flags.length; row++) {
    if ((flags[row]! & ERASED) !== 0 && places[row]! >= 0) erased.push(places[row]!);
  }
}

function saltsAt(salts: Int32Array, places: Int32Array): Int32Array {
  const own = new Int32Array(places.length * SALT_WORDS);
  for (let row = 0; row < places.length; row++) {
    const at = places[row]! * SALT_WORDS;
    if (at < 0) continue;
    for (let word = 0; word < SALT_WORDS; word++) own[row * SALT_WORDS + word] = salts[at + word]!;
  }
  return own;
}

/** Apart from hashing: the places are far apart, and waiting for memory then overlaps. Gives how many were empty before. */
function putLeaves(leaves: Int32Array, places: Int32Array, words: Int32Array): number {
  let placed = 0;
  for (let row = 0; row < places.length; row++) {
    const at = places[row]! * WORDS;
    if (at < 0) continue;
    let there = 0; // all zeros are no leaf
    for (let word = 0; word < WORDS; word++) {
      there |= words[at + word]!;
      words[at + word] = leaves[row * WORDS + word]!;
    }
    if (there === 0) placed++;
  }
  return placed;
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
