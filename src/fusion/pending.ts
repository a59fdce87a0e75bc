import { doubled } from "./keys.ts";

/** Places waiting for their T to be passed, the earliest first: a binary heap. Bounded by the rows of the spine's table. */
export interface Pending {
  places: Int32Array;
  length: number;
}

export const emptyPending = (): Pending => ({ places: new Int32Array(16), length: 0 });

/** `times` gives the T of a place. */
export function pushPending(pending: Pending, times: Float64Array, place: number): void {
  if (pending.length === pending.places.length) pending.places = doubled(pending.places);
  const { places } = pending;
  let at = pending.length++;
  while (at > 0) {
    const parent = (at - 1) >>> 1;
    if (times[places[parent]!]! <= times[place]!) break;
    places[at] = places[parent]!;
    at = parent;
  }
  places[at] = place;
}

export function popPending(pending: Pending, times: Float64Array): number {
  const { places } = pending;
  const first = places[0]!;
  const last = places[--pending.length]!;
  const time = times[last]!;
  let at = 0;
  for (let child = 1; child < pending.length; child = 2 * at + 1) {
    if (child + 1 < pending.length && times[places[child + 1]!]! < times[places[child]!]!) child++;
    if (times[places[child]!]! >= time) break;
    places[at] = places[child]!;
    at = child;
  }
  places[at] = last;
  return first;
}
