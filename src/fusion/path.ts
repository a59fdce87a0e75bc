import type { Value } from "../base/row.ts";
import { type Chunked, chunked, numberAt, setNumber } from "./chunked.ts";
import type { StoreColumn } from "./column.ts";
import { doubled, entryAt, entryOf, hasNullAt, type KeyTable, keyTable } from "./keys.ts";

/** Orders two places of a table: event time, then `order` field, then record id. */
export type ComparePlaces = (a: number, b: number) => number;

/**
 * The live rows of a table by key, sorted. Adding at the end of a key's order is cheap; rows out of order wait unsorted
 * behind `sorted` until the key is next read, and are merged in once then.
 */
export interface AccessPath {
  readonly keys: KeyTable;
  readonly compare: ComparePlaces;
  /** By entry: the only row of a key, -1 for none, and -2 - i where they are in list i. Many keys have one row. */
  readonly single: Chunked;
  readonly lists: PlaceList[];
}

export interface PlaceList {
  places: Int32Array;
  length: number;
  sorted: number;
}

const NONE = -1;
const FIRST_LIST = -2;

/** `shared`: a key table over the same columns, which may know more keys than the path has rows of. */
export function accessPath(columns: readonly StoreColumn[], compare: ComparePlaces, shared?: KeyTable): AccessPath {
  return { keys: shared ?? keyTable(columns), compare, single: chunked(NONE), lists: [] };
}

/**
 * Adds a row; one with a null in its key is never found, so it is left out. `known` is the entry of its key where the
 * caller has found it already.
 */
export function addPlace(path: AccessPath, place: number, known?: number): void {
  if (hasNullAt(path.keys, place)) return;
  const entry = known ?? entryAt(path.keys, place);
  const only = numberAt(path.single, entry);
  if (only === NONE) setNumber(path.single, entry, place);
  else if (only <= FIRST_LIST) pushPlace(path, path.lists[FIRST_LIST - only]!, place);
  else {
    const list = { places: new Int32Array(4), length: 1, sorted: 1 };
    list.places[0] = only;
    pushPlace(path, list, place);
    setNumber(path.single, entry, FIRST_LIST - path.lists.length);
    path.lists.push(list);
  }
}

function pushPlace(path: AccessPath, list: PlaceList, place: number): void {
  if (list.length === list.places.length) list.places = doubled(list.places);
  const inOrder =
    list.sorted === list.length && (list.length === 0 || path.compare(list.places[list.length - 1]!, place) <= 0);
  list.places[list.length++] = place;
  if (inOrder) list.sorted = list.length;
}

/** Takes a row out again. Its columns must still hold what they held when it was added. */
export function removePlace(path: AccessPath, place: number): void {
  if (hasNullAt(path.keys, place)) return;
  const entry = entryAt(path.keys, place);
  const only = numberAt(path.single, entry);
  if (only === place) setNumber(path.single, entry, NONE);
  if (only > FIRST_LIST) return;
  const list = path.lists[FIRST_LIST - only]!;
  sortList(path, list);
  const at = lowerBound(list, (other) => path.compare(other, place));
  if (list.places[at] !== place) return;
  list.places.copyWithin(at, at + 1, list.length);
  list.length--;
  list.sorted = list.length;
}

/** The rows of a key in order; `scratch` is filled and returned for a key with one row. Undefined when there are none. */
export function placesOf(path: AccessPath, key: readonly Value[], scratch: PlaceList): PlaceList | undefined {
  const entry = entryOf(path.keys, key);
  return entry < 0 ? undefined : placesOfEntry(path, entry, scratch);
}

/** The same of a key whose entry is known. */
export function placesOfEntry(path: AccessPath, entry: number, scratch: PlaceList): PlaceList | undefined {
  const only = numberAt(path.single, entry);
  if (only === NONE) return undefined;
  if (only > FIRST_LIST) {
    scratch.places[0] = only;
    scratch.length = scratch.sorted = 1;
    return scratch;
  }
  const list = path.lists[FIRST_LIST - only]!;
  if (list.length === 0) return undefined; // all of them were taken out again
  if (list.sorted < list.length) sortList(path, list);
  return list;
}

export const scratchList = (): PlaceList => ({ places: new Int32Array(1), length: 0, sorted: 0 });

/** The first index whose place does not come before: `compare(place) >= 0`. */
export function lowerBound(list: PlaceList, compare: (place: number) => number): number {
  let low = 0;
  let high = list.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (compare(list.places[middle]!) < 0) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** How many places have a time at or before `at`. */
export function countUpTo(list: PlaceList, times: Float64Array, at: number): number {
  const { places } = list;
  let low = 0;
  let high = list.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (times[places[middle]!]! <= at) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Sorts the tail that came out of order and merges it in from the back. */
function sortList(path: AccessPath, list: PlaceList): void {
  if (list.sorted === list.length) return;
  const tail = list.places.slice(list.sorted, list.length).sort(path.compare);
  let read = list.sorted - 1;
  let write = list.length - 1;
  for (let t = tail.length - 1; t >= 0; ) {
    if (read >= 0 && path.compare(list.places[read]!, tail[t]!) > 0) list.places[write--] = list.places[read--]!;
    else list.places[write--] = tail[t--]!;
  }
  list.sorted = list.length;
}
