import { seededRandom } from "../../src/base/random.ts";

/** Choices from one seed. The same seed makes the same choices, in the order they are asked for. */
export interface Draw {
  /** Whole, both ends inclusive. */
  integer(low: number, high: number): number;
  chance(probability: number): boolean;
  pick<T>(list: readonly T[]): T;
  bytes(count: number): Uint8Array;
}

export function drawFrom(seed: number): Draw {
  const random = seededRandom(seed);
  const integer = (low: number, high: number) => low + Math.floor(random.next() * (high - low + 1));
  return {
    integer,
    chance: (probability) => random.next() < probability,
    pick: (list) => list[integer(0, list.length - 1)]!,
    bytes: (count) => random.bytes(count),
  };
}
