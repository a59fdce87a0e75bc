import { keyText } from "../base/row.ts";
import { columnNamed, valueAt } from "../contract/batch.ts";
import type { Contract } from "../contract/contract.ts";
import type { StoredRows } from "./port.ts";

/** Which rows of a stream are the latest version of their record, once all of them were added. */
export interface LatestRows {
  /** Rows in any order, with the fields of `identityOf` their contract. */
  add(stored: StoredRows): void;
  isLatest(sequence: number): boolean;
  /** Memory that it takes. */
  bytes(): number;
}

/** The fields that tell records of a contract apart; none where every row is a record of its own. */
export function identityOf({ recordId, fields }: Contract): readonly string[] {
  if (recordId === "position") return [];
  return recordId === "content" ? fields.map(({ name }) => name) : recordId;
}

/**
 * Finds the latest versions: of each record id the row with the greatest sequence, unless that withdraws the record. Takes
 * 24 bytes a record in flat arrays, slots of four bytes at no more than half load that find them, and a bit a row. Records
 * are told apart by the first 128 bits of SHA-256 of their id, so that no sender can make two look like one.
 */
export function latestRows(): LatestRows {
  const records = recordTable();
  let superseded = new Uint8Array(1 << 12);
  const mark = (sequence: number) => {
    const at = Math.floor(sequence / 8);
    if (at >= superseded.length) {
      const grown = new Uint8Array(Math.max(at + 1, superseded.length * 2));
      grown.set(superseded);
      superseded = grown;
    }
    superseded[at]! |= 1 << (sequence % 8);
  };
  return {
    add(stored) {
      const key = keyReader(stored);
      for (let row = 0; row < stored.batch.length; row++) {
        const sequence = stored.sequences[row]!;
        if (stored.tombstones[row] === 1) mark(sequence);
        if (key === undefined) continue;
        const older = records.put(key(row), sequence);
        if (older >= 0) mark(older);
      }
    },
    isLatest: (sequence) => ((superseded[Math.floor(sequence / 8)] ?? 0) & (1 << (sequence % 8))) === 0,
    bytes: () => records.bytes() + superseded.length,
  };
}

function keyReader({ batch }: StoredRows): ((row: number) => string) | undefined {
  const names = identityOf(batch.contract);
  if (names.length === 0) return undefined;
  const parts = names.map((name) => {
    const column = columnNamed(batch, name);
    const { type } = batch.contract.fields.find((field) => field.name === name)!;
    return (row: number) => valueAt(column, type, row);
  });
  return (row) => keyText(parts.map((part) => part(row)));
}

const WORDS = 4;

/** The greatest sequence of each key: open addressing over digests of the keys. */
function recordTable() {
  let capacity = 512;
  let size = 0;
  let words = new Uint32Array(capacity * WORDS);
  let sequences = new Float64Array(capacity);
  let slots = new Int32Array(capacity * 2);
  const digest = new Uint8Array(32);
  const key = new Uint32Array(digest.buffer);
  const sameKey = (entry: number) => {
    for (let i = 0; i < WORDS; i++) if (words[entry * WORDS + i] !== key[i]) return false;
    return true;
  };
  const grow = () => {
    capacity *= 2;
    const [wider, longer] = [new Uint32Array(capacity * WORDS), new Float64Array(capacity)];
    wider.set(words);
    longer.set(sequences);
    [words, sequences, slots] = [wider, longer, new Int32Array(capacity * 2)];
    for (let entry = 0; entry < size; entry++) {
      let slot = words[entry * WORDS]! & (slots.length - 1);
      while (slots[slot] !== 0) slot = (slot + 1) & (slots.length - 1);
      slots[slot] = entry + 1;
    }
  };
  return {
    /** Gives the lesser sequence where the key was there, which is superseded; -1 where it is new. */
    put(text: string, sequence: number): number {
      Bun.SHA256.hash(text, digest);
      let slot = key[0]! & (slots.length - 1);
      for (; slots[slot] !== 0; slot = (slot + 1) & (slots.length - 1)) {
        const entry = slots[slot]! - 1;
        if (!sameKey(entry)) continue;
        const known = sequences[entry]!;
        sequences[entry] = Math.max(known, sequence);
        return Math.min(known, sequence);
      }
      slots[slot] = size + 1;
      for (let i = 0; i < WORDS; i++) words[size * WORDS + i] = key[i]!;
      sequences[size++] = sequence;
      if (size === capacity) grow();
      return -1;
    },
    bytes: () => words.byteLength + sequences.byteLength + slots.byteLength,
  };
}
