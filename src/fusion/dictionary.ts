import { uncleared } from "../base/room.ts";
import { type Chunked, chunked, numberAt, setNumber } from "./chunked.ts";
import { manySlots, type NextSlots, nextSlots, putNumber, ready, type Slots, slotAt, someSlots } from "./slots.ts";

/**
 * Texts -> small whole numbers (codes), packed: no text is an object of its own, so a million entities cost a few bytes
 * more than their names, and restoring them makes none. Grows at the end; a code stays true.
 */
export interface Dictionary {
  count: number;
  /** The code units of all texts, one after another: a byte each where none is above 255, else two, low byte first. */
  units: Uint8Array;
  /** By code: where its units end, doubled, plus one where they are of two bytes; 32 bits without a sign. */
  readonly ends: Chunked;
  /** Open addressing by hash: a code plus one, or 0. */
  slots: Slots;
  /** While `units` is getting full: what will replace it, with the first `copied` of them in it. */
  longer: { readonly units: Uint8Array; copied: number } | undefined;
  /** While `slots` is getting full: what will replace it, with the first `moved` codes in it. */
  next: NextSlots | undefined;
  /** Texts of the first codes as strings, which most features are; later ones are made when asked for. */
  readonly strings: (string | undefined)[];
}

/** Strings that are kept beside the packed texts. */
const STRINGS_KEPT = 65_536;
/** Codes moved to the next slots with each new one: they are all there long before the slots are full. */
const MOVED_AT_ONCE = 16;
/** Units up to here are copied at once when they grow. */
const GROWN_AT_ONCE = 1 << 16;
const NEARLY_FULL = 7 / 8;
/** Units copied with each new text: they are all there before the next room is needed, unless texts get very long. */
const COPIED_AT_ONCE = 2_048;
/** Bytes of all texts of one column: what 31 bits of an end can say. */
const UNITS_MAX = 2 ** 31 - 1;

export const dictionary = (): Dictionary => ({
  count: 0,
  units: new Uint8Array(64),
  longer: undefined,
  ends: chunked(0),
  slots: someSlots(),
  next: undefined,
  strings: [],
});

/** The code of a text, -1 where it has none. */
export function codeOf(of: Dictionary, text: string): number {
  const { slots } = of;
  const mask = slots.length - 1;
  for (let slot = hashText(text) & mask; ; slot = (slot + 1) & mask) {
    const code = slotAt(slots, slot) - 1;
    if (code < 0) return -1;
    if (isText(of, code, text)) return code;
  }
}

/** The code of a text, made if it is new. */
export function internText(of: Dictionary, text: string): number {
  const known = codeOf(of, text);
  if (known >= 0) return known;
  const code = of.count++;
  appendUnits(of, code, text);
  if (code < STRINGS_KEPT) of.strings[code] = text;
  putNumber(of.slots, hashText(text), code);
  moveOn(of);
  return code;
}

/** The same of a text of ASCII, given as its bytes, which becomes no string for it. */
export function internAscii(of: Dictionary, bytes: Uint8Array, from: number, to: number): number {
  const hash = hashBytes(bytes, from, to);
  const { slots } = of;
  const mask = slots.length - 1;
  for (let slot = hash & mask; slotAt(slots, slot) !== 0; slot = (slot + 1) & mask) {
    const code = slotAt(slots, slot) - 1;
    if (isAsciiText(of, code, bytes, from, to)) return code;
  }
  const code = of.count++;
  const start = startOf(of, code);
  const end = start + to - from;
  makeRoom(of, start, end);
  const { units } = of;
  for (let at = start, i = from; i < to; ) units[at++] = bytes[i++]!;
  setNumber(of.ends, code, (end * 2) | 0);
  copyAhead(of, end);
  putNumber(of.slots, hash, code);
  moveOn(of);
  return code;
}

export function textOf(of: Dictionary, code: number): string {
  const kept = of.strings[code];
  if (kept !== undefined) return kept;
  const text = unpack(of, code);
  if (code < STRINGS_KEPT) of.strings[code] = text;
  return text;
}

const startOf = (of: Dictionary, code: number): number => (code === 0 ? 0 : numberAt(of.ends, code - 1) >>> 1);

function unpack(of: Dictionary, code: number): string {
  const end = numberAt(of.ends, code);
  const bytes = Buffer.from(of.units.buffer, of.units.byteOffset, of.units.byteLength);
  return bytes.toString(end & 1 ? "utf16le" : "latin1", startOf(of, code), end >>> 1);
}

function isText(of: Dictionary, code: number, text: string): boolean {
  const end = numberAt(of.ends, code);
  const start = startOf(of, code);
  if ((end & 1) === 1) return (end >>> 1) - start === text.length * 2 && unpack(of, code) === text;
  if ((end >>> 1) - start !== text.length) return false;
  const { units } = of;
  for (let i = 0; i < text.length; i++) if (units[start + i] !== text.charCodeAt(i)) return false;
  return true;
}

function isAsciiText(of: Dictionary, code: number, bytes: Uint8Array, from: number, to: number): boolean {
  const end = numberAt(of.ends, code);
  const start = startOf(of, code);
  if ((end & 1) === 1 || (end >>> 1) - start !== to - from) return false;
  const { units } = of;
  for (let at = start, i = from; i < to; ) if (units[at++] !== bytes[i++]) return false;
  return true;
}

/** Order of two texts by code unit, as `<` has it: below zero, zero or above. */
export function compareTexts(of: Dictionary, a: number, b: number): number {
  if (a === b) return 0;
  const { units } = of;
  const [end, otherEnd] = [numberAt(of.ends, a), numberAt(of.ends, b)];
  if (((end | otherEnd) & 1) === 1) return textOf(of, a) < textOf(of, b) ? -1 : 1;
  const [from, other] = [startOf(of, a), startOf(of, b)];
  const length = Math.min((end >>> 1) - from, (otherEnd >>> 1) - other);
  for (let i = 0; i < length; i++) {
    const difference = units[from + i]! - units[other + i]!;
    if (difference !== 0) return difference;
  }
  return (end >>> 1) - from - ((otherEnd >>> 1) - other);
}

function appendUnits(of: Dictionary, code: number, text: string): void {
  const start = startOf(of, code);
  const wide = isWide(text);
  const end = start + text.length * (wide ? 2 : 1);
  makeRoom(of, start, end);
  for (let i = 0, at = start; i < text.length; i++) {
    const unit = text.charCodeAt(i);
    of.units[at++] = unit & 255;
    if (wide) of.units[at++] = unit >>> 8;
  }
  setNumber(of.ends, code, (end * 2 + (wide ? 1 : 0)) | 0);
  copyAhead(of, end);
}

/** Once the units are nearly full, copies a part of them with each new text, so that none ever waits for all of them. */
function copyAhead(of: Dictionary, end: number): void {
  const { units, longer } = of;
  if (longer) copyUnits(of, Math.min(end, longer.copied + COPIED_AT_ONCE));
  else if (units.length >= GROWN_AT_ONCE && end > units.length * NEARLY_FULL) {
    of.longer = { units: unitsRoom(Math.min(UNITS_MAX, units.length * 2)), copied: 0 };
  }
}

function copyUnits({ units, longer }: Dictionary, to: number): void {
  longer!.units.set(units.subarray(longer!.copied, to), longer!.copied);
  longer!.copied = to;
}

/** Nothing is read of it that was not written. */
export const unitsRoom = (length: number): Uint8Array => new Uint8Array(uncleared(length));

/** Makes room for units up to `end`, of which there are `start`. */
function makeRoom(of: Dictionary, start: number, end: number): void {
  if (end > UNITS_MAX) throw new RangeError("the texts of one column are longer than 2 GiB");
  if (end <= of.units.length) return;
  const length = Math.min(UNITS_MAX, Math.max(end, of.units.length * 2));
  if (!of.longer || of.longer.units.length < end) of.longer = { units: unitsRoom(length), copied: 0 };
  copyUnits(of, start);
  of.units = of.longer.units;
  of.longer = undefined;
}

function isWide(text: string): boolean {
  for (let i = 0; i < text.length; i++) if (text.charCodeAt(i) > 255) return true;
  return false;
}

/** FNV-1a over code units, spread. */
function hashText(text: string): number {
  let hash = 0x811c9dc5 | 0;
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  return spread(hash);
}

function hashCode(of: Dictionary, code: number): number {
  const end = numberAt(of.ends, code);
  const { units } = of;
  let hash = 0x811c9dc5 | 0;
  if ((end & 1) === 0) return hashBytes(units, startOf(of, code), end >>> 1);
  for (let at = startOf(of, code); at < end >>> 1; at += 2) {
    hash = Math.imul(hash ^ (units[at]! | (units[at + 1]! << 8)), 0x01000193);
  }
  return spread(hash);
}

function hashBytes(bytes: Uint8Array, from: number, to: number): number {
  let hash = 0x811c9dc5 | 0;
  for (let at = from; at < to; at++) hash = Math.imul(hash ^ bytes[at]!, 0x01000193);
  return spread(hash);
}

function spread(hash: number): number {
  const mixed = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  return (mixed ^ (mixed >>> 13)) >>> 0;
}

/** Moves some codes to larger slots once these are half full, so that no text ever waits for all of them. */
function moveOn(of: Dictionary): void {
  if (of.count * 2 > of.slots.length) of.next ??= nextSlots(of.slots.length * 2);
  if (of.next === undefined || !ready(of.next)) return;
  moveTo(of, of.next, of.next.moved + MOVED_AT_ONCE);
  if (of.next.moved < of.count) return;
  of.slots = of.next.slots;
  of.next = undefined;
}

function moveTo(of: Dictionary, next: NonNullable<Dictionary["next"]>, end: number): void {
  const to = Math.min(end, of.count);
  for (; next.moved < to; next.moved++) putNumber(next.slots, hashCode(of, next.moved), next.moved);
}

/**
 * Makes an empty dictionary, whose `ends` are set, hold so many packed texts: found once `indexTexts` has taken them, or
 * the caller has filled the slots with as many as there were (0: they are not known). Others have turns.
 */
export async function restoreTexts(of: Dictionary, units: Uint8Array, count: number, slots = 0): Promise<void> {
  of.units = units;
  let length = 16;
  while (length < count * 3) length *= 2;
  of.slots = await manySlots(slots || length);
}

/** Takes packed texts up to code `to` (exclusive) into the slots: some at a time, in order. */
export function indexTexts(of: Dictionary, to: number): void {
  for (; of.count < to; of.count++) putNumber(of.slots, hashCode(of, of.count), of.count);
}
