/**
 * A Bloom filter over the entity keys of a segment: "surely not here" or "maybe". It is sealed with the segment's row or
 * in its file, and hashes are keyed by the store's id, so that equal keys of two stores set other bits.
 *
 * Layout: the number of bits set for a key (1 byte), then the bits. Bit i of a key with hash (high, low) is
 * `(low + i * (high | 1)) mod 2^32 mod bits` (Kirsch and Mitzenmacher, "Less Hashing, Same Performance", 2006).
 */

/** Bits an entity and bits set for each: about 1 wrong "maybe" in 10,000, and 1 in 100 where there are many. */
const FEW = { keysMax: 1 << 16, bits: 20, probes: 14 } as const;
const MANY = { bits: 10, probes: 7 } as const;
/** Above it a segment has no filter, which means "maybe". */
const FILTER_BYTES_MAX = 3 << 19;

export interface KeyHash {
  readonly high: number;
  readonly low: number;
}

/** The hash of an entity key in a store: 64 bits of XXH64, seeded with the first 8 bytes of the store's id. */
export function keyHasher(storeId: Uint8Array): (key: string) => KeyHash {
  const seed = new DataView(storeId.buffer, storeId.byteOffset, 8).getBigUint64(0, true);
  return (key) => {
    const hash = Bun.hash.xxHash64(key, seed);
    return { high: Number(hash >> 32n), low: Number(hash & 0xffff_ffffn) };
  };
}

/** The filter of these distinct keys; undefined where it would be larger than the bound. */
export function entityFilter(keys: readonly string[], hashOf: (key: string) => KeyHash): Uint8Array | undefined {
  const { bits, probes } = keys.length <= FEW.keysMax ? FEW : MANY;
  const bytes = Math.max(8, Math.ceil((keys.length * bits) / 8));
  if (bytes > FILTER_BYTES_MAX) return undefined;
  const filter = new Uint8Array(1 + bytes);
  filter[0] = probes;
  for (const key of keys) {
    const hash = hashOf(key);
    for (let i = 0; i < probes; i++) {
      const bit = bitOf(hash, i, bytes * 8);
      filter[1 + (bit >>> 3)]! |= 1 << (bit & 7);
    }
  }
  return filter;
}

/** False only where the key was not among those that the filter was made of. */
export function mayHold(filter: Uint8Array, hash: KeyHash): boolean {
  return mayHoldIn(filter, 0, filter.length, hash);
}

/** Filters one after another in one piece of memory: asking many of them touches little else. */
export interface FilterTable {
  readonly bytes: Uint8Array;
  /** Where each begins, and the end; a place without a filter is empty. */
  readonly starts: Float64Array;
}

export function filterTable(filters: readonly (Uint8Array | undefined)[]): FilterTable {
  const starts = new Float64Array(filters.length + 1);
  for (let i = 0; i < filters.length; i++) starts[i + 1] = starts[i]! + (filters[i]?.length ?? 0);
  const bytes = new Uint8Array(starts.at(-1)!);
  filters.forEach((filter, i) => {
    if (filter) bytes.set(filter, starts[i]!);
  });
  return { bytes, starts };
}

/** What the filter at `index` says; undefined where there is none. `probes` bits at most are asked for. */
export function askFilter(
  { bytes, starts }: FilterTable,
  index: number,
  hash: KeyHash,
  probes?: number,
): boolean | undefined {
  const [from, to] = [starts[index]!, starts[index + 1]!];
  return from === to ? undefined : mayHoldIn(bytes, from, to, hash, probes);
}

function mayHoldIn(filters: Uint8Array, from: number, to: number, hash: KeyHash, most = 255): boolean {
  const probes = Math.min(filters[from]!, most);
  const bits = (to - from - 1) * 8;
  for (let i = 0; i < probes; i++) {
    const bit = bitOf(hash, i, bits);
    if ((filters[from + 1 + (bit >>> 3)]! & (1 << (bit & 7))) === 0) return false;
  }
  return true;
}

/** The remainder by a division that is exact here: of numbers below 2^32, and faster than `%` on numbers beyond 2^31. */
function bitOf({ high, low }: KeyHash, i: number, bits: number): number {
  const mixed = (low + Math.imul(i, high | 1)) >>> 0;
  return mixed - Math.floor(mixed / bits) * bits;
}
