import { ByteReader, ByteWriter } from "../base/bytes.ts";
import { encodeDictionary, type PackedTexts, packedTexts } from "../contract/codec_texts.ts";
import { packWhole, unpackWhole } from "../contract/codec_whole.ts";
import { boundTo } from "./catalogue.ts";

/**
 * A segment file is sealed chunks one after another and nothing else. For each block (at most 4,096 rows in the order
 * of sort.ts): a chunk for every field of the contract, one for the sequences, one for the tombstones; then a shared
 * dictionary for each text field that has one; then the footer. Chunk i is sealed under the segment's nonce with i in
 * it, and bound to store, file, stream, contract and i.
 */
export const BLOCK_ROWS = 4_096;
/** A block ends early where its values grow beyond this: blobs are read by block. */
export const BLOCK_BYTES = 1 << 20;
/** System columns after the contract's fields. */
export const SYSTEM_COLUMNS = 2;

export interface SegmentFooter {
  readonly blockRows: Float64Array;
  /** Event time bounds of each block; empty where the contract has none. */
  readonly minTimes: Float64Array;
  readonly maxTimes: Float64Array;
  /** Entity keys of the first and the last row of each block. */
  readonly firstEntities: PackedTexts;
  readonly lastEntities: PackedTexts;
  /** Sealed lengths of all chunks before the footer: block by block, then dictionaries. */
  readonly chunkLengths: Float64Array;
  /** For each field the number of its dictionary plus one, or 0. */
  readonly dictionaries: Float64Array;
  /** The commits of the rows, by first sequence. */
  readonly commitNos: Float64Array;
  readonly knownTimes: Float64Array;
  readonly firstSequences: Float64Array;
}

/** A footer that is to be written. */
export type MadeFooter = Omit<SegmentFooter, "firstEntities" | "lastEntities"> &
  Readonly<Record<"firstEntities" | "lastEntities", readonly string[]>>;

export function encodeFooter(footer: MadeFooter): Uint8Array<ArrayBuffer> {
  const writer = new ByteWriter(1024);
  for (const values of numberLists(footer)) {
    const packed = packWhole(values);
    writer.varint(values.length).u8(packed ? 1 : 0);
    if (packed) writer.raw(packed);
    else for (const value of values) writer.f64(value);
  }
  encodeDictionary(writer, footer.firstEntities);
  encodeDictionary(writer, footer.lastEntities);
  return writer.finish();
}

function numberLists(footer: MadeFooter): Float64Array[] {
  return [
    footer.blockRows,
    footer.minTimes,
    footer.maxTimes,
    footer.chunkLengths,
    footer.dictionaries,
    footer.commitNos,
    footer.knownTimes,
    footer.firstSequences,
  ];
}

export function decodeFooter(bytes: Uint8Array): SegmentFooter {
  const reader = new ByteReader(bytes);
  const list = () => {
    const length = reader.varint();
    if (reader.u8() === 1) return unpackWhole(reader, length);
    return Float64Array.from({ length }, () => reader.f64());
  };
  return {
    blockRows: list(),
    minTimes: list(),
    maxTimes: list(),
    chunkLengths: list(),
    dictionaries: list(),
    commitNos: list(),
    knownTimes: list(),
    firstSequences: list(),
    firstEntities: packedTexts(reader),
    lastEntities: packedTexts(reader),
  };
}

/** What chunks of a file are bound to, but for their number, which the nonce carries too. */
export function chunkBinder(storeId: Uint8Array, file: string, stream: string, fingerprint: string) {
  const base = boundTo(storeId, `segment/${file}/${stream}/${fingerprint}/`);
  const bound = new Uint8Array(base.length + 4);
  bound.set(base);
  const view = new DataView(bound.buffer);
  return (chunk: number): Uint8Array => {
    view.setUint32(base.length, chunk, true);
    return bound;
  };
}
