import { type ByteReader, ByteWriter } from "../base/bytes.ts";

/**
 * Whole numbers in as few bytes as they need. Layout: a mode byte (low bits the width in bytes; `STEPS` where
 * differences are packed instead of values), the least packed value as a zigzag varint, with `STEPS` the first value
 * too, then `width` bytes of offset from the least for each.
 */
const STEPS = 0x40;
const MAX_SAFE = Number.MAX_SAFE_INTEGER;
const WIDTHS = [0, 1, 2, 3, 4, 6] as const;

/** How whole numbers are packed: `steps` are there where they take less than the values. */
export interface Packing {
  readonly width: number;
  readonly least: number;
  readonly values: Float64Array;
  readonly steps: boolean;
}

/** How the values are packed, or undefined where they span too far (more than 2^48) to gain from it. */
export function packingOf(values: Float64Array): Packing | undefined {
  if (values.length === 0) return { width: 0, least: 0, values, steps: false };
  let least = values[0]!;
  let most = least;
  let leastStep = Number.POSITIVE_INFINITY;
  let mostStep = Number.NEGATIVE_INFINITY;
  for (let i = 1; i < values.length; i++) {
    const value = values[i]!;
    const step = value - values[i - 1]!;
    if (value < least) least = value;
    else if (value > most) most = value;
    if (step < leastStep) leastStep = step;
    if (step > mostStep) mostStep = step;
  }
  const width = widthOf(most - least);
  const stepWidth = values.length < 3 ? undefined : widthOf(mostStep - leastStep);
  const fits = least >= -MAX_SAFE / 2 && most <= MAX_SAFE / 2 && Math.abs(leastStep) <= MAX_SAFE / 2;
  if (fits && stepWidth !== undefined && (width === undefined || stepWidth < width)) {
    return { width: stepWidth, least: leastStep, values, steps: true };
  }
  if (width === undefined || Math.abs(least) > MAX_SAFE / 2) return undefined;
  return { width, least, values, steps: false };
}

export function writePacked(writer: ByteWriter, { width, least, values, steps }: Packing): void {
  writer.u8(steps ? width | STEPS : width);
  zigzag(writer, least);
  if (!steps) {
    writeOffsets(writer.room(values.length * width), values, least, width);
    return;
  }
  zigzag(writer, values[0]!);
  const offsets = new Float64Array(values.length - 1);
  for (let i = 1; i < values.length; i++) offsets[i - 1] = values[i]! - values[i - 1]! - least;
  writeOffsets(writer.room(offsets.length * width), offsets, 0, width);
}

/** The packed form by itself, or undefined where there is none. */
export function packWhole(values: Float64Array): Uint8Array<ArrayBuffer> | undefined {
  const packing = packingOf(values);
  if (!packing) return undefined;
  const writer = new ByteWriter(24 + values.length * packing.width);
  writePacked(writer, packing);
  return writer.finish();
}

/** The numbers that `writePacked` wrote; in `room`, where there is enough of it. */
export function unpackWhole(reader: ByteReader, length: number, room?: Float64Array): Float64Array {
  const { width, steps } = modeOf(reader.u8());
  const least = unzigzag(reader);
  if (!steps) return readOffsets(reader, doublesIn(room, length), 0, width, least);
  if (length === 0) throw new RangeError("steps without a first value");
  let value = unzigzag(reader);
  const values = readOffsets(reader, doublesIn(room, length), 1, width, least);
  values[0] = value;
  for (let i = 1; i < length; i++) {
    value += values[i]!;
    values[i] = value;
  }
  return values;
}

/** So many doubles at the beginning of `room`, if it has as many; else in an array of their own. */
export const doublesIn = (room: Float64Array | undefined, length: number): Float64Array =>
  room && room.length >= length ? room.subarray(0, length) : new Float64Array(length);

/** What `writePacked` wrote, for single values: `width` bytes of offset from the least for each. */
export interface PackedWhole {
  readonly offsets: Uint8Array;
  readonly width: number;
  readonly least: number;
}

/** Undefined where steps are packed, of which a value needs all before it. */
export function packedWhole(reader: ByteReader, length: number): PackedWhole | undefined {
  const { width, steps } = modeOf(reader.u8());
  if (steps) return undefined;
  const least = unzigzag(reader);
  return { offsets: reader.raw(length * width), width, least };
}

/** One value, without unpacking the others. */
export function wholeAt({ offsets, width, least }: PackedWhole, index: number): number {
  let offset = 0;
  for (let at = (index + 1) * width - 1; at >= index * width; at--) offset = offset * 0x100 + offsets[at]!;
  return least + offset;
}

function modeOf(mode: number): { width: number; steps: boolean } {
  const width = mode & 0x0f;
  if (!(WIDTHS as readonly number[]).includes(width) || mode & ~(STEPS | 0x0f)) throw new RangeError("no such packing");
  return { width, steps: (mode & STEPS) !== 0 };
}

function widthOf(span: number): number | undefined {
  if (span > 2 ** 48 - 1) return undefined;
  return WIDTHS.find((width) => span < 256 ** width);
}

function zigzag(writer: ByteWriter, value: number): ByteWriter {
  return writer.varint(value < 0 ? -2 * value - 1 : 2 * value);
}

function unzigzag(reader: ByteReader): number {
  const value = reader.varint();
  return value % 2 === 0 ? value / 2 : -(value + 1) / 2;
}

function writeOffsets(bytes: Uint8Array, values: Float64Array, least: number, width: number): void {
  const count = values.length;
  let at = 0;
  if (width === 1) for (let i = 0; i < count; i++) bytes[i] = values[i]! - least;
  else if (width > 1) {
    for (let i = 0; i < count; i++) {
      const offset = values[i]! - least;
      bytes[at++] = offset;
      bytes[at++] = offset / 0x100;
      if (width === 2) continue;
      bytes[at++] = offset / 0x10000;
      if (width === 3) continue;
      bytes[at++] = offset / 0x1000000;
      if (width === 4) continue;
      bytes[at++] = offset / 0x100000000;
      bytes[at++] = offset / 0x10000000000;
    }
  }
}

/** Fills `values` from index `from` on. */
function readOffsets(
  reader: ByteReader,
  values: Float64Array,
  from: number,
  width: number,
  least: number,
): Float64Array {
  const count = values.length;
  const bytes = reader.raw((count - from) * width);
  if (width === 0) return values.fill(least, from);
  if (width === 1) {
    for (let i = from; i < count; i++) values[i] = least + bytes[i - from]!;
    return values;
  }
  let at = 0;
  for (let i = from; i < count; i++) {
    let offset = bytes[at]! + bytes[at + 1]! * 0x100;
    if (width > 2) offset += bytes[at + 2]! * 0x10000;
    if (width > 3) offset += bytes[at + 3]! * 0x1000000;
    if (width > 4) offset += bytes[at + 4]! * 0x100000000 + bytes[at + 5]! * 0x10000000000;
    values[i] = least + offset;
    at += width;
  }
  return values;
}
