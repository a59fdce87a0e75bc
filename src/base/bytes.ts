/** Little-endian growing buffer with LEB128 varints: the one binary writer. */
export class ByteWriter {
  #bytes: Uint8Array<ArrayBuffer>;
  #view: DataView | undefined; // made where it is needed: most writers live for a few bytes
  #length = 0;

  constructor(capacity = 256) {
    this.#bytes = new Uint8Array(capacity);
  }

  get length(): number {
    return this.#length;
  }

  #reserve(count: number): number {
    const at = this.#length;
    this.#length += count;
    if (this.#length > this.#bytes.length) {
      const grown = new Uint8Array(Math.max(this.#length, this.#bytes.length * 2));
      grown.set(this.#bytes.subarray(0, at));
      this.#bytes = grown;
      this.#view = undefined;
    }
    return at;
  }

  #numbers(): DataView {
    this.#view ??= new DataView(this.#bytes.buffer);
    return this.#view;
  }

  u8(value: number): this {
    const at = this.#reserve(1); // before the buffer is named: reserving may replace it
    this.#bytes[at] = value;
    return this;
  }

  u32(value: number): this {
    const at = this.#reserve(4);
    this.#numbers().setUint32(at, value, true);
    return this;
  }

  f64(value: number): this {
    const at = this.#reserve(8);
    this.#numbers().setFloat64(at, value, true);
    return this;
  }

  i64(value: bigint): this {
    const at = this.#reserve(8);
    this.#numbers().setBigInt64(at, value, true);
    return this;
  }

  /** A whole number from 0 to 2^53 - 1. */
  varint(value: number): this {
    if (value < 0x80) return this.u8(value);
    let rest = value;
    while (rest >= 0x80) {
      this.u8((rest % 0x80) | 0x80);
      rest = Math.floor(rest / 0x80);
    }
    return this.u8(rest);
  }

  raw(bytes: Uint8Array): this {
    const at = this.#reserve(bytes.length);
    this.#bytes.set(bytes, at);
    return this;
  }

  /** A length, then the bytes. */
  bytes(bytes: Uint8Array): this {
    return this.varint(bytes.length).raw(bytes);
  }

  text(text: string): this {
    return this.bytes(encoder.encode(text));
  }

  /** Room for so many bytes, which the caller fills in before anything else is written. */
  room(count: number): Uint8Array<ArrayBuffer> {
    const at = this.#reserve(count);
    return this.#bytes.subarray(at, at + count);
  }

  /** What was written, without copying: good until more is written. */
  written(): Uint8Array<ArrayBuffer> {
    return this.#bytes.subarray(0, this.#length);
  }

  /** Begins again in the same memory, where it is no larger than `most` bytes. */
  clear(most = Number.POSITIVE_INFINITY): this {
    this.#length = 0;
    if (this.#bytes.length > most) {
      this.#bytes = new Uint8Array(most);
      this.#view = undefined;
    }
    return this;
  }

  finish(): Uint8Array<ArrayBuffer> {
    return this.#bytes.slice(0, this.#length);
  }
}

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** Reads what ByteWriter wrote. Running off the end throws RangeError: the caller says what was damaged. */
export class ByteReader {
  readonly #bytes: Uint8Array;
  #view: DataView | undefined;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  #numbers(): DataView {
    this.#view ??= new DataView(this.#bytes.buffer, this.#bytes.byteOffset, this.#bytes.byteLength);
    return this.#view;
  }

  get position(): number {
    return this.#at;
  }

  get remaining(): number {
    return this.#bytes.length - this.#at;
  }

  u8(): number {
    if (this.remaining < 1) throw new RangeError("read past the end");
    return this.#bytes[this.#at++]!;
  }

  u32(): number {
    const value = this.#numbers().getUint32(this.#at, true);
    this.#at += 4;
    return value;
  }

  f64(): number {
    const value = this.#numbers().getFloat64(this.#at, true);
    this.#at += 8;
    return value;
  }

  i64(): bigint {
    const value = this.#numbers().getBigInt64(this.#at, true);
    this.#at += 8;
    return value;
  }

  varint(): number {
    let value = 0;
    for (let scale = 1; scale < 2 ** 56; scale *= 0x80) {
      const byte = this.u8();
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) return value;
    }
    throw new RangeError("a varint is longer than eight bytes");
  }

  /** So many of them: nearly all are of one byte, and read in one loop. */
  varints(count: number): Float64Array {
    if (count > this.remaining) throw new RangeError("read past the end");
    const bytes = this.#bytes;
    const values = new Float64Array(count);
    let at = this.#at;
    for (let i = 0; i < count; i++) {
      const byte = bytes[at]!;
      if (byte < 0x80) {
        values[i] = byte;
        at++;
        continue;
      }
      this.#at = at;
      values[i] = this.varint(); // also where the bytes have ended
      at = this.#at;
    }
    this.#at = at;
    return values;
  }

  /** The next bytes, without copying. */
  raw(count: number): Uint8Array {
    if (count > this.remaining) throw new RangeError("read past the end");
    this.#at += count;
    return this.#bytes.subarray(this.#at - count, this.#at);
  }

  bytes(): Uint8Array {
    return this.raw(this.varint());
  }

  text(): string {
    return decoder.decode(this.bytes());
  }
}

export function concatBytes(parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

export const toHex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");
export const fromHex = (text: string): Uint8Array => new Uint8Array(Buffer.from(text, "hex"));
export const toBase64 = (bytes: Uint8Array): string => Buffer.from(bytes).toString("base64");
export const fromBase64 = (text: string): Uint8Array => new Uint8Array(Buffer.from(text, "base64"));
