import { isAscii } from "node:buffer";
import type { ByteReader, ByteWriter } from "../base/bytes.ts";

/**
 * Lists of texts as columns and segment footers hold them: how many, the length of each, then their bytes one after another.
 */
export const encodeDictionary = (writer: ByteWriter, texts: readonly string[]): void =>
  writeDictionary(writer, textsAsBytes(texts));

export function writeDictionary(writer: ByteWriter, { starts, bytes }: TextBytes): void {
  const length = starts.length - 1;
  writer.varint(length);
  for (let i = 0; i < length; i++) writer.varint(starts[i + 1]! - starts[i]!);
  writer.raw(bytes);
}

/** Texts one after another: each begins at its place in `starts`, and the last ends at the last place. */
export interface TextBytes {
  readonly starts: Uint32Array;
  readonly bytes: Uint8Array;
}

/** Up to so many units a loop is faster than three calls out of the engine. */
const BY_HAND = 4_096;

/** Each as `textBytes` gives it. */
export function textsAsBytes(texts: readonly string[]): TextBytes {
  const starts = new Uint32Array(texts.length + 1);
  let units = 0;
  for (let i = 0; i < texts.length; i++) {
    units += texts[i]!.length;
    starts[i + 1] = units;
  }
  // Where all is ASCII the texts lie where their units do.
  const bytes = units <= BY_HAND ? asciiByHand(texts, units) : asciiOf(texts, units);
  return bytes ? { starts, bytes } : joinedBytes(texts.map(textBytes));
}

function asciiByHand(texts: readonly string[], units: number): Uint8Array | undefined {
  const bytes = new Uint8Array(units);
  let at = 0;
  let all = 0;
  for (let t = 0; t < texts.length; t++) {
    const text = texts[t]!;
    for (let i = 0; i < text.length; i++) {
      const unit = text.charCodeAt(i);
      all |= unit;
      bytes[at++] = unit;
    }
  }
  return all < 0x80 ? bytes : undefined;
}

function asciiOf(texts: readonly string[], units: number): Uint8Array | undefined {
  const bytes = Buffer.from(texts.join(""), "utf8");
  return bytes.length === units ? bytes : undefined; // any other unit takes more than one byte
}

export function joinedBytes(parts: readonly Uint8Array[]): TextBytes {
  const starts = new Uint32Array(parts.length + 1);
  parts.forEach((part, i) => {
    starts[i + 1] = starts[i]! + part.length;
  });
  const bytes = new Uint8Array(starts[parts.length]!);
  parts.forEach((part, i) => {
    bytes.set(part, starts[i]);
  });
  return { starts, bytes };
}

/** Texts as they are packed, each made when it is asked for: reads of one row need few of them. */
export interface PackedTexts extends TextBytes {
  readonly length: number;
  /** All of it as one text, where it is ASCII: cutting it is many times faster than decoding texts one by one. */
  readonly ascii: string | undefined;
}

/** What `encodeDictionary` wrote. Throws RangeError where it is not whole. */
export function packedTexts(reader: ByteReader): PackedTexts {
  const length = reader.varint();
  if (length > reader.remaining) throw new RangeError("the dictionary claims too many entries");
  const lengths = reader.varints(length);
  const starts = new Uint32Array(length + 1);
  let end = 0;
  for (let i = 0; i < length; i++) {
    end += lengths[i]!;
    starts[i + 1] = end;
  }
  const bytes = reader.raw(end);
  const whole = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return { length, starts, bytes, ascii: isAscii(whole) ? whole.toString("latin1") : undefined };
}

/** What they take in memory, about. */
export const bytesOfTexts = ({ starts, bytes }: PackedTexts): number => starts.byteLength + bytes.length;

export function textAt({ starts, bytes, ascii }: PackedTexts, index: number): string {
  const [from, to] = [starts[index]!, starts[index + 1]!];
  return ascii === undefined ? textOf(bytes.subarray(from, to)) : ascii.slice(from, to);
}

/** Negative where the text at `index` comes before the other, as strings compare, positive where after. */
export function compareText(texts: PackedTexts, index: number, other: string): number {
  const { starts, bytes, ascii } = texts;
  if (ascii === undefined) {
    const own = textAt(texts, index);
    return own === other ? 0 : own < other ? -1 : 1;
  }
  // ASCII bytes are the UTF-16 units by which strings compare: no text is made.
  const from = starts[index]!;
  const length = starts[index + 1]! - from;
  const shared = Math.min(length, other.length);
  for (let i = 0; i < shared; i++) {
    const difference = bytes[from + i]! - other.charCodeAt(i);
    if (difference !== 0) return difference;
  }
  return length - other.length;
}

const LONE_SURROGATES = 0xff; // never begins a text in UTF-8

/** UTF-8; a text with half a surrogate pair, which UTF-8 can't say, is kept exactly as 0xff and its UTF-16. */
export function textBytes(text: string): Uint8Array {
  if (text.isWellFormed()) return Buffer.from(text, "utf8");
  const bytes = new Uint8Array(1 + text.length * 2);
  bytes[0] = LONE_SURROGATES;
  bytes.set(Buffer.from(text, "utf16le"), 1);
  return bytes;
}

function textOf(bytes: Uint8Array): string {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return bytes[0] === LONE_SURROGATES ? buffer.toString("utf16le", 1) : buffer.toString("utf8");
}
