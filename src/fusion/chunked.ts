/**
 * Whole numbers by small whole numbers, in chunks: it grows at the end without copying what it has, so that no row that
 * comes waits for all rows before it.
 */
export interface Chunked {
  readonly chunks: Int32Array[];
  /** What stands where nothing was set. */
  readonly empty: number;
}

const BITS = 14;
const MASK = (1 << BITS) - 1;
/** The first chunk begins small: most indexes are. */
const FIRST = 32;

export const chunked = (empty: number): Chunked => ({ chunks: [new Int32Array(FIRST).fill(empty)], empty });

export function numberAt(of: Chunked, at: number): number {
  const chunk = of.chunks[at >>> BITS];
  return chunk !== undefined && (at & MASK) < chunk.length ? chunk[at & MASK]! : of.empty;
}

export function setNumber(of: Chunked, at: number, value: number): void {
  const chunk = of.chunks[at >>> BITS];
  if (chunk !== undefined && (at & MASK) < chunk.length) chunk[at & MASK] = value;
  else chunkFor(of, at)[at & MASK] = value;
}

function chunkFor(of: Chunked, at: number): Int32Array {
  const first = of.chunks[0]!;
  if (first.length <= MASK && at > MASK) of.chunks[0] = longer(first, MASK + 1, of.empty);
  else if (at <= MASK) of.chunks[0] = longer(first, Math.min(MASK + 1, Math.max(at + 1, first.length * 2)), of.empty);
  while (of.chunks.length <= at >>> BITS) of.chunks.push(new Int32Array(MASK + 1).fill(of.empty));
  return of.chunks[at >>> BITS]!;
}

function longer(chunk: Int32Array, length: number, empty: number): Int32Array {
  const grown = new Int32Array(length).fill(empty, chunk.length);
  grown.set(chunk);
  return grown;
}

/** The first `count` numbers as they lie in memory, chunk by chunk; room is made where it is missing. */
export function* chunksOf(of: Chunked, count: number): Generator<Int32Array> {
  for (let from = 0; from < count; from += MASK + 1) {
    const to = Math.min(count, from + MASK + 1);
    if (numberAt(of, to - 1) === of.empty) setNumber(of, to - 1, of.empty);
    yield of.chunks[from >>> BITS]!.subarray(0, to - from);
  }
}
