import { othersTurn } from "../base/turn.ts";

/**
 * The slots of a hash table with open addressing, a power of two of them: a number of what stands there plus one, or 0. In
 * chunks, since one large array may have to be cleared by whoever asks for it.
 */
export interface Slots {
  readonly length: number;
  /** Of equal length; all of them where the slots are in use. */
  readonly chunks: Int32Array[];
}

/** Slots that will replace others once all entries are in them: the first `moved` are. */
export interface NextSlots {
  readonly slots: Slots;
  moved: number;
}

const BITS = 13;
const CHUNK = 1 << BITS;
const MASK = CHUNK - 1;

/** Few slots, all free. */
export function someSlots(length = 16): Slots {
  const slots: Slots = { length, chunks: [] };
  while (!complete(slots)) addChunk(slots);
  return slots;
}

/** Many slots, all free: others have turns. */
export async function manySlots(length: number): Promise<Slots> {
  const slots: Slots = { length, chunks: [] };
  while (!complete(slots)) {
    addChunk(slots);
    if (slots.chunks.length % 8 === 0) await othersTurn();
  }
  return slots;
}

export const nextSlots = (length: number): NextSlots => ({ slots: { length, chunks: [] }, moved: 0 });

/** Whether entries may be moved to the slots yet: to be called with each new entry, which adds a chunk until they may. */
export function ready({ slots }: NextSlots): boolean {
  if (complete(slots)) return true;
  addChunk(slots);
  return false;
}

const complete = ({ length, chunks }: Slots): boolean => chunks.length * CHUNK >= length;

function addChunk({ length, chunks }: Slots): void {
  chunks.push(new Int32Array(Math.min(length, CHUNK)));
}

export const slotAt = ({ chunks }: Slots, slot: number): number => chunks[slot >>> BITS]![slot & MASK]!;

/** Puts the number into the first free slot from where its hash says. */
export function putNumber({ chunks, length }: Slots, hash: number, number: number): void {
  let slot = hash & (length - 1);
  while (chunks[slot >>> BITS]![slot & MASK] !== 0) slot = (slot + 1) & (length - 1);
  chunks[slot >>> BITS]![slot & MASK] = number + 1;
}
