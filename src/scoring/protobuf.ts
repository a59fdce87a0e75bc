/** One field of a protobuf message. Wire type 0 gives `value`, 1 and 5 give `bytes` (8 or 4), 2 gives `bytes`. */
export interface ProtoField {
  readonly number: number;
  readonly wire: 0 | 1 | 2 | 5;
  readonly value: bigint;
  readonly bytes: Uint8Array;
}

const NOTHING = new Uint8Array();

/**
 * The fields of a protobuf message, in order, without copying (protobuf.dev, "Encoding"). A message that is cut short or
 * uses the deprecated group wire types throws RangeError.
 */
export function* protoFields(message: Uint8Array): Generator<ProtoField> {
  const reader = { bytes: message, at: 0 };
  while (reader.at < message.length) {
    const key = readVarint(reader);
    const number = Number(key >> 3n);
    const wire = Number(key & 7n);
    if (number < 1 || number > 536_870_911) throw new RangeError(`field number ${number}`);
    if (wire === 0) yield { number, wire, value: readVarint(reader), bytes: NOTHING };
    else if (wire === 2) yield { number, wire, value: 0n, bytes: take(reader, Number(readVarint(reader))) };
    else if (wire === 1) yield { number, wire, value: 0n, bytes: take(reader, 8) };
    else if (wire === 5) yield { number, wire, value: 0n, bytes: take(reader, 4) };
    else throw new RangeError(`wire type ${wire}`);
  }
}

/** The varints of a repeated integer field, packed or not. */
export function* protoIntegers(field: ProtoField): Generator<bigint> {
  if (field.wire === 0) yield BigInt.asIntN(64, field.value);
  if (field.wire !== 2) return;
  const reader = { bytes: field.bytes, at: 0 };
  while (reader.at < reader.bytes.length) yield BigInt.asIntN(64, readVarint(reader));
}

export const protoText = (field: ProtoField): string => new TextDecoder().decode(field.bytes);

interface Cursor {
  readonly bytes: Uint8Array;
  at: number;
}

function readVarint(reader: Cursor): bigint {
  let low = 0;
  for (let shift = 0; shift < 28; shift += 7) {
    const byte = next(reader);
    low += (byte & 0x7f) << shift;
    if (byte < 0x80) return BigInt(low);
  }
  let value = BigInt(low);
  for (let shift = 28n; shift < 70n; shift += 7n) {
    const byte = next(reader);
    value |= BigInt(byte & 0x7f) << shift;
    if (byte < 0x80) return BigInt.asUintN(64, value);
  }
  throw new RangeError("a varint is longer than ten bytes");
}

function next(reader: Cursor): number {
  if (reader.at >= reader.bytes.length) throw new RangeError("read past the end");
  return reader.bytes[reader.at++]!;
}

function take(reader: Cursor, count: number): Uint8Array {
  if (count > reader.bytes.length - reader.at) throw new RangeError("read past the end");
  reader.at += count;
  return reader.bytes.subarray(reader.at - count, reader.at);
}
