import { uncleared } from "../base/room.ts";
import { othersTurn } from "../base/turn.ts";
import { arrayOf, replaceArray } from "./column.ts";
import type { Table } from "./table.ts";

/** Longer copies of a table's arrays, filled a part at a time while rows go on into the old ones. */
export interface Growth {
  readonly capacity: number;
  /** Sequences first, then the columns in their order; made when their turn comes, and null where nothing grows. */
  readonly arrays: (Float64Array | Int32Array | null | undefined)[];
  readonly copied: number[];
}

const LEAST = 64;
/** Tables up to here grow at once: their arrays are copied in well under a millisecond. */
const GROWN_AT_ONCE = 1 << 12;
/** Values copied for each new row, of all arrays together, for each array that there is. */
const COPIED_A_ROW = 24;

const grownCapacity = (capacity: number): number => Math.max(LEAST, Math.ceil(capacity * 1.5));

/** Makes room for `capacity` rows now. */
export function grow(table: Table, capacity = grownCapacity(table.capacity)): void {
  const growth = table.growth && table.growth.capacity >= capacity ? table.growth : growthTo(table, capacity);
  finish(table, growth);
}

/** The same for a table that nobody uses yet: others have a turn after each array, which may make the engine collect garbage. */
export async function growInTurns(table: Table, capacity: number): Promise<void> {
  const growth = growthTo(table, capacity);
  for (let i = 0; i < growth.arrays.length; i++) {
    copyPart(table, growth, i, table.length);
    await othersTurn();
  }
  finish(table, growth);
}

/**
 * To be called after some rows were added: once a large table is nearly full, copies a part of it, so that no row ever
 * waits for all of it. What is below the length never changes, but which rows are alive.
 */
export function growAhead(table: Table, rows: number): void {
  const { capacity, length } = table;
  if (table.growth === undefined) {
    if (capacity < GROWN_AT_ONCE || capacity - length > capacity / 8) return;
    table.growth = growthTo(table, grownCapacity(capacity));
  }
  const { growth } = table;
  let left = rows * COPIED_A_ROW * growth.arrays.length;
  for (let i = 0; i < growth.arrays.length && left > 0; i++) {
    if (growth.arrays[i] === undefined) left = 0; // making it is enough for now
    left -= copyPart(table, growth, i, left);
  }
  if (left > 0) finish(table, growth);
}

const growthTo = (table: Table, capacity: number): Growth => {
  const count = table.columns.size + 1;
  return { capacity, arrays: new Array(count).fill(undefined), copied: new Array(count).fill(0) };
};

/** Copies at most `most` values of array `i`; answers how many. */
function copyPart(table: Table, growth: Growth, i: number, most: number): number {
  const source = i === 0 ? table.sequences : arrayOf([...table.columns.values()][i - 1]!);
  if (growth.arrays[i] === undefined) {
    growth.arrays[i] = source && longerThan(source, growth.capacity);
  }
  const target = growth.arrays[i]!;
  if (source === null || target === null) return 0;
  const from = growth.copied[i]!;
  const to = Math.min(table.length, from + most);
  target.set(source.subarray(from, to), from);
  growth.copied[i] = to;
  return to - from;
}

/** Nothing is read of it that was not written. */
function longerThan(source: Float64Array | Int32Array, capacity: number): Float64Array | Int32Array {
  const buffer = uncleared(capacity * source.BYTES_PER_ELEMENT);
  return source instanceof Float64Array ? new Float64Array(buffer) : new Int32Array(buffer);
}

function finish(table: Table, growth: Growth): void {
  for (let i = 0; i < growth.arrays.length; i++) copyPart(table, growth, i, table.length);
  table.sequences = growth.arrays[0] as Float64Array;
  [...table.columns.values()].forEach((column, i) => {
    const longer = growth.arrays[i + 1];
    if (longer) replaceArray(column, longer);
  });
  const alive = new Uint8Array(uncleared(growth.capacity));
  alive.set(table.alive);
  table.alive = alive;
  table.capacity = growth.capacity;
  table.growth = undefined;
}
