import type { Value } from "../base/row.ts";

/**
 * Which records a dataset holds: per record id the digest of its content and its event time, 48 bytes a record in the
 * order they came, and slots of four bytes, at no more than half load, that find them. Digests are the first 128 bits of
 * SHA-256, so that a sender can't make two records look like one.
 */
export class FingerprintTable {
  /** Entry plus one; 0 is an empty slot. */
  #slots: Int32Array;
  #words: Uint32Array;
  #times: Float64Array;
  /** While folding, the sequence of the version held. */
  #versions: Float64Array;
  #size = 0;

  constructor(expected = 512) {
    const capacity = Math.max(8, expected);
    this.#slots = new Int32Array(2 ** Math.ceil(Math.log2(capacity * 2)));
    this.#words = new Uint32Array(capacity * 8);
    this.#times = new Float64Array(capacity);
    this.#versions = new Float64Array(capacity);
  }

  get size(): number {
    return this.#size;
  }

  /** The entry of the record id (words 0 to 3 of `key`), or -1. */
  find(key: Uint32Array): number {
    return this.#slots[this.#slot(key, 0)]! - 1;
  }

  sameContent(entry: number, key: Uint32Array): boolean {
    const at = entry * 8;
    const words = this.#words;
    return words[at + 4] === key[4] && words[at + 5] === key[5] && words[at + 6] === key[6] && words[at + 7] === key[7];
  }

  /** The event time of the version held; NaN where the record is withdrawn. */
  time(entry: number): number {
    return this.#times[entry]!;
  }

  /** Sets content and time of the record id, unless a version beyond `version` is held. NaN as time withdraws it. */
  put(key: Uint32Array, time: number, version: number): void {
    this.#put(key, 0, time, version);
  }

  /** Takes over all of the other table: its versions are newer. */
  merge(other: FingerprintTable): void {
    for (let entry = 0; entry < other.#size; entry++) {
      this.#put(other.#words, entry * 8, other.#times[entry]!, other.#versions[entry]!);
    }
  }

  #slot(words: Uint32Array, offset: number): number {
    const own = this.#words;
    const slots = this.#slots;
    const mask = slots.length - 1;
    for (let slot = words[offset]! & mask; ; slot = (slot + 1) & mask) {
      const at = (slots[slot]! - 1) * 8;
      if (at < 0) return slot;
      if (
        own[at] === words[offset] &&
        own[at + 1] === words[offset + 1] &&
        own[at + 2] === words[offset + 2] &&
        own[at + 3] === words[offset + 3]
      ) {
        return slot;
      }
    }
  }

  #put(words: Uint32Array, offset: number, time: number, version: number): void {
    const slot = this.#slot(words, offset);
    let entry = this.#slots[slot]! - 1;
    if (entry < 0) {
      if (this.#size === this.#times.length) this.#growEntries();
      entry = this.#size++;
      this.#slots[slot] = entry + 1;
    } else if (this.#versions[entry]! > version) return;
    const at = entry * 8;
    const own = this.#words;
    for (let i = 0; i < 8; i++) own[at + i] = words[offset + i]!;
    this.#times[entry] = time;
    this.#versions[entry] = version;
    if (this.#size * 2 > this.#slots.length) this.#growSlots();
  }

  #growEntries(): void {
    const capacity = this.#times.length * 2;
    const words = new Uint32Array(capacity * 8);
    words.set(this.#words);
    this.#words = words;
    const times = new Float64Array(capacity);
    times.set(this.#times);
    this.#times = times;
    const versions = new Float64Array(capacity);
    versions.set(this.#versions);
    this.#versions = versions;
  }

  #growSlots(): void {
    const slots = new Int32Array(this.#slots.length * 2);
    const mask = slots.length - 1;
    for (let entry = 0; entry < this.#size; entry++) {
      let slot = this.#words[entry * 8]! & mask;
      while (slots[slot] !== 0) slot = (slot + 1) & mask;
      slots[slot] = entry + 1;
    }
    this.#slots = slots;
  }
}

/** Digests records of one shape into a reused buffer of eight words: four of the record id, four of the content. */
export interface Fingerprinter {
  digest(values: readonly Value[]): Uint32Array;
}

/** `identity` are the positions of the record id's fields; null means the content is the identity. */
export function fingerprinter(identity: readonly number[] | null): Fingerprinter {
  const words = new Uint32Array(8);
  const digest = new Uint8Array(32);
  const digestWords = new Uint32Array(digest.buffer);
  const scratch = createScratch();
  return {
    digest: (values) => {
      scratch.reset();
      for (let i = 0; i < values.length; i++) scratch.add(values[i]!);
      Bun.SHA256.hash(scratch.bytes(), digest);
      for (let i = 0; i < 4; i++) words[i + 4] = digestWords[i]!;
      if (identity !== null) {
        scratch.reset();
        for (let i = 0; i < identity.length; i++) scratch.add(values[identity[i]!]!);
        Bun.SHA256.hash(scratch.bytes(), digest);
      }
      for (let i = 0; i < 4; i++) words[i] = digestWords[i]!;
      return words;
    },
  };
}

const NULL = 0;
const NUMBER = 1;
const SHORT_TEXT = 2;
const LONG_TEXT = 3;
const BYTES = 4;
const WHOLE = 5;
const BOOLEAN = 6;
const SHORT_TEXT_MAX = 64;
const VIEWED_BYTES_MAX = 1024;

/** Unambiguous bytes of values, written into a buffer that is kept: each value is its kind, its length and itself. */
function createScratch() {
  let buffer = new Uint8Array(1024);
  let length = 0;
  /** Views of the buffer by length: making one costs more than hashing it. */
  let views: Uint8Array[] = [];
  const number = new Float64Array(1);
  const numberBytes = new Uint8Array(number.buffer);

  const reserve = (count: number) => {
    if (length + count <= buffer.length) return;
    const grown = new Uint8Array((length + count) * 2);
    grown.set(buffer.subarray(0, length));
    buffer = grown;
    views = [];
  };
  const addNumber = (kind: number, value: number) => {
    reserve(9);
    number[0] = value === 0 ? 0 : value; // -0 is 0
    buffer[length++] = kind;
    for (let i = 0; i < 8; i++) buffer[length++] = numberBytes[i]!;
  };
  const addBytes = (kind: number, bytes: Uint8Array) => {
    addNumber(kind, bytes.length);
    reserve(bytes.length);
    buffer.set(bytes, length);
    length += bytes.length;
  };
  /** Short texts without a character beyond ASCII are written in place; false leaves nothing written. */
  const addAscii = (text: string): boolean => {
    if (text.length > SHORT_TEXT_MAX) return false;
    reserve(text.length + 2);
    const from = length;
    buffer[length++] = SHORT_TEXT;
    buffer[length++] = text.length;
    for (let i = 0; i < text.length; i++) {
      const code = text.charCodeAt(i);
      if (code > 127) {
        length = from;
        return false;
      }
      buffer[length++] = code;
    }
    return true;
  };

  return {
    reset: () => {
      length = 0;
    },
    bytes: () => {
      if (length > VIEWED_BYTES_MAX) return buffer.subarray(0, length);
      views[length] ??= buffer.subarray(0, length);
      return views[length]!;
    },
    add: (value: Value) => {
      if (typeof value === "number") addNumber(NUMBER, value);
      else if (typeof value === "string") {
        if (!addAscii(value)) addBytes(LONG_TEXT, new TextEncoder().encode(value));
      } else if (value === null) {
        reserve(1);
        buffer[length++] = NULL;
      } else if (typeof value === "boolean") addNumber(BOOLEAN, value ? 1 : 0);
      else if (typeof value === "bigint") addBytes(WHOLE, new TextEncoder().encode(value.toString()));
      else addBytes(BYTES, value);
    },
  };
}
