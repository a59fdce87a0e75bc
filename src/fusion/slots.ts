/** Larger slots of a hash table, which will replace its slots once all entries are in them: the first `moved` are. */
export interface NextSlots {
  readonly slots: Int32Array;
  moved: number;
  cleared: number;
}

/** Slots that are cleared with each new entry: two pages of memory. */
const CLEARED_AT_ONCE = 2_048;

export const nextSlots = (length: number): NextSlots => ({ slots: new Int32Array(length), moved: 0, cleared: 0 });

/**
 * Whether entries may be moved to the slots yet: to be called with each new entry. Their memory comes a page at a time,
 * when it is first written to. As entries fall anywhere, the first few thousand would have to wait for all of it.
 */
export function cleared(next: NextSlots): boolean {
  if (next.cleared === next.slots.length) return true;
  const from = next.cleared;
  next.cleared = Math.min(next.slots.length, from + CLEARED_AT_ONCE);
  next.slots.fill(0, from, next.cleared);
  return false;
}
