import { othersTurn, pace } from "../base/turn.ts";

/** About the size of a part: what is copied at once. */
const PART_BYTES = 1 << 19;

/** Pieces of any size, one list after another, as parts of about one size. Others have turns between pieces. */
export async function* partsOf(lists: readonly AsyncIterable<Uint8Array>[]): AsyncGenerator<Uint8Array> {
  let part = new Uint8Array(PART_BYTES);
  let filled = 0;
  const steps = pace();
  for (const pieces of lists) {
    for await (const piece of pieces) {
      if (steps.due()) await steps.turn();
      for (let at = 0; at < piece.length; ) {
        const taken = piece.subarray(at, at + PART_BYTES - filled);
        part.set(taken, filled);
        filled += taken.length;
        at += taken.length;
        if (filled < PART_BYTES) continue;
        yield part;
        part = new Uint8Array(PART_BYTES);
        filled = 0;
      }
    }
  }
  if (filled > 0) yield part.subarray(0, filled);
}

/** Reads parts as one run of bytes. Throws RangeError where they end before what is asked for. */
export interface PartReader {
  /** Fills the whole target; others have a turn after each part. */
  fill(target: Uint8Array): Promise<void>;
  /** A length of 8 bytes, then so many bytes. */
  frame(): Promise<Uint8Array>;
  /** So many 64-bit numbers. */
  numbers(count: number): Promise<Float64Array>;
  ended(): Promise<boolean>;
  close(): Promise<void>;
}

export function partReader(parts: AsyncIterable<Uint8Array>): PartReader {
  const source = parts[Symbol.asyncIterator]();
  let part: Uint8Array = new Uint8Array(0);
  const next = async (): Promise<boolean> => {
    while (part.length === 0) {
      const { done, value } = await source.next();
      if (done) return false;
      part = value;
      await othersTurn();
    }
    return true;
  };
  const fill = async (target: Uint8Array): Promise<void> => {
    for (let at = 0; at < target.length; ) {
      if (part.length === 0 && !(await next())) throw new RangeError("the saved index ends early");
      const taken = part.subarray(0, target.length - at);
      target.set(taken, at);
      at += taken.length;
      part = part.subarray(taken.length);
    }
  };
  const numbers = async (count: number): Promise<Float64Array> => {
    const values = new Float64Array(count);
    await fill(new Uint8Array(values.buffer));
    return values;
  };
  return {
    fill,
    numbers,
    ended: async () => !(await next()),
    close: async () => void (await source.return?.()),
    async frame() {
      const [length] = await numbers(1);
      if (!(length! >= 0 && length! <= FRAME_BYTES_MAX)) throw new RangeError("the saved index is no such thing");
      const bytes = new Uint8Array(length!);
      await fill(bytes);
      return bytes;
    },
  };
}

/** Headers, and the rare whole numbers beyond 2^53 of one column. */
const FRAME_BYTES_MAX = 1 << 28;
