import { isAscii } from "node:buffer";
import type { ByteReader, ByteWriter } from "../base/bytes.ts";

/**
 * Lists of texts as columns and segment footers hold them: how many, the length of each, then their bytes one after another.
 */
export function encodeDictionary(writer: ByteWriter, texts: readonly string[]): void {
  writer.varint(texts.length);
  const whole = Buffer.from(texts.join(""), "utf8");
  if (whole.length === texts.reduce((sum, text) => sum + text.length, 0) && isAscii(whole)) {
    for (const text of texts) writer.varint(text.length);
    writer.raw(whole);
    return;
  }
  const encoded = texts.map(textBytes);
  for (const bytes of encoded) writer.varint(bytes.length);
  for (const bytes of encoded) writer.raw(bytes);
}

/** Texts as they are packed, each made when it is asked for: reads of one row need few of them. */
export interface PackedTexts {
  readonly length: number;
  /** Where each text begins in `bytes`, and the end. */
  readonly starts: Uint32Array;
  readonly bytes: Uint8Array;
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
