import { closeSync, openSync, readSync } from "node:fs";
import { join } from "node:path";
import { ByteReader, fromBase64, fromHex } from "../base/bytes.ts";
import type { Batch, Column } from "../contract/batch.ts";
import { decodeColumn, nullColumns } from "../contract/codec.ts";
import { type PointColumn, pointColumn } from "../contract/codec_point.ts";
import { bytesOfTexts, type PackedTexts, packedTexts } from "../contract/codec_texts.ts";
import type { Contract } from "../contract/contract.ts";
import { type LazyTexts, lazyTexts } from "../contract/texts.ts";
import { TAG_BYTES } from "../keys/xaes.ts";
import type { Names, Sealer } from "./catalogue.ts";
import { damagedSegment } from "./damage.ts";
import { segmentsPath } from "./database.ts";
import { unpackFlags } from "./encode.ts";
import { type EntityRuns, entityRuns } from "./entity_runs.ts";
import { storeErrors } from "./errors.ts";
import type { StoredRows } from "./port.ts";
import { decompress } from "./record.ts";
import { chunkBinder, decodeFooter, type SegmentFooter, SYSTEM_COLUMNS } from "./segment_format.ts";
import type { SegmentInfo } from "./segment_info.ts";

/** An open segment file. Its handle stays good after the file is unlinked. */
export interface SegmentFile {
  readonly info: SegmentInfo;
  readonly contract: Contract;
  readonly footer: SegmentFooter;
  sequences(block: number): Float64Array;
  /** Field `index` of a block. With `packed`, texts stay packed until somebody reads them; `room` as `decodeColumn` has it. */
  column(block: number, index: number, packed: boolean, room?: Float64Array): Column;
  /** Single values of field `index`, or, one beyond the fields, the sequences. */
  point(block: number, index: number): PointColumn;
  tombstones(block: number): Uint8Array;
  /** False where the footer tells by the length of the flags that they are empty: no row has one. */
  hasFlags(block: number): boolean;
  /** The block with these columns (all by default), and what the store knows of its rows. */
  rows(block: number, columns?: readonly string[]): StoredRows;
  /** The same in steps: others may have a turn between two of them. */
  steps(block: number, columns?: readonly string[], packed?: boolean): Generator<undefined, StoredRows>;
  /** The entity filter, where it stands in the file. */
  filter(): Uint8Array | undefined;
  /** What the footer and the dictionaries read so far take, about. */
  bytes(): number;
  /** Where entities stand in it. */
  readonly runs: EntityRuns;
  /** Which span of `footer.commitNos` the sequence lies in. */
  spanOf(sequence: number): number;
  close(): void;
}

/**
 * Opens the file and its footer, or reads it through the handle that its caller holds, and closes. `grown` hears what the
 * file takes each time that it keeps more. Throws store.damaged naming stream and sequences.
 */
export function openSegment(
  directory: string,
  info: SegmentInfo,
  sealer: Sealer,
  names: Names,
  held?: number,
  grown?: (bytes: number) => void,
): SegmentFile {
  const contract = names.contractOf(info.contractId);
  return withFooter(info, contract, chunkReader(directory, info, sealer, contract, held, grown === undefined), grown);
}

/** A file that can be read whatever becomes of its name and its key. */
export interface HeldSegment {
  /** Reads its footer: once. Throws store.damaged. */
  open(): SegmentFile;
  close(): void;
}

/** Opens the file, of which nothing is read yet. Throws store.damaged naming stream and sequences. */
export function holdSegment(directory: string, info: SegmentInfo, sealer: Sealer, names: Names): HeldSegment {
  const contract = names.contractOf(info.contractId);
  const chunks = chunkReader(directory, info, sealer, contract, undefined, true);
  chunks.hold();
  return { open: () => withFooter(info, contract, chunks), close: chunks.close };
}

function withFooter(
  info: SegmentInfo,
  contract: Contract,
  { read, close }: Pick<ReturnType<typeof chunkReader>, "read" | "close">,
  grown?: (bytes: number) => void,
): SegmentFile {
  try {
    const footer = decodeFooter(read(info.footerChunk, info.footerAt, info.bytes - info.footerAt));
    return segmentFile(info, contract, footer, read, close, grown);
  } catch (cause) {
    close();
    throw cause instanceof RangeError ? damagedSegment(info, "the footer is not what was written", cause) : cause;
  }
}

/** The entity filter of a segment, from its row or its file; undefined where it has none. Throws store.damaged. */
export function readFilter(directory: string, info: SegmentInfo, sealer: Sealer, names: Names): Uint8Array | undefined {
  if (info.filter !== undefined) return fromBase64(info.filter);
  if (!info.filterChunk) return undefined;
  const { read, close } = chunkReader(directory, info, sealer, names.contractOf(info.contractId));
  try {
    return read(info.filterChunk.chunk, info.filterChunk.at, info.filterChunk.bytes);
  } finally {
    close();
  }
}

type ReadChunk = (chunk: number, at: number, length: number) => Uint8Array;

/** With `again`, sealed chunks are read into the same memory: for a file that is read through, and closed then. */
function chunkReader(
  directory: string,
  info: SegmentInfo,
  sealer: Sealer,
  { fingerprint }: Contract,
  held?: number,
  again = false,
) {
  let handle: number | undefined;
  let closed = false; // by a cache, while a reader still has it: then opened for each chunk
  if (!sealer.keyring.knows(info.keyId)) {
    throw damagedSegment(info, `the row ${info.keyId} of stream_keys, which is its data key, is missing or damaged`);
  }
  const keys = sealer.keyring.chunks(info.keyId, fromHex(info.nonce));
  const bound = chunkBinder(sealer.storeId, info.file, info.stream, fingerprint);
  let room = new Uint8Array(0);
  const read: ReadChunk = (chunk, at, length) => {
    if (again && room.length < length) room = new Uint8Array(length);
    const sealed = again ? room.subarray(0, length) : new Uint8Array(length);
    const from = held ?? handle ?? openHandle(directory, info);
    const own = from !== held;
    if (own && !closed) handle = from;
    let got: number;
    try {
      got = readAt(from, sealed, at, info);
    } finally {
      if (own && closed) closeSync(from);
    }
    const opened = got === length ? keys.open(chunk, sealed, bound(chunk)) : undefined;
    if (!opened) throw damagedSegment(info, `chunk ${chunk} is not what was written`);
    return decompress(opened);
  };
  const close = () => {
    if (handle !== undefined) closeSync(handle);
    handle = undefined;
    closed = true;
  };
  const hold = () => {
    handle ??= openHandle(directory, info);
  };
  return { read, hold, close };
}

function readAt(handle: number, into: Uint8Array, at: number, info: SegmentInfo): number {
  try {
    return readSync(handle, into, 0, into.length, at);
  } catch (cause) {
    throw damagedSegment(info, "the disk can't read the file", cause);
  }
}

/** The file, to read. Throws store.damaged; where it is gone, the error's cause has the code ENOENT. */
export function openHandle(directory: string, info: SegmentInfo): number {
  try {
    return openSync(join(segmentsPath(directory), info.file), "r");
  } catch (cause) {
    const { code } = cause as { code?: string };
    if (code === "EMFILE" || code === "ENFILE") {
      throw storeErrors.error("too_many_files", "the system lets this process open no more files", { cause });
    }
    const isLocked = code === "EACCES" || code === "EPERM";
    throw damagedSegment(
      info,
      isLocked ? "this user may not read the file" : "the file is missing or can't be opened",
      cause,
    );
  }
}

function segmentFile(
  info: SegmentInfo,
  contract: Contract,
  footer: SegmentFooter,
  read: ReadChunk,
  close: () => void,
  grown: (bytes: number) => void = () => {},
): SegmentFile {
  const width = contract.fields.length + SYSTEM_COLUMNS;
  const chunk = chunksOf(footer, read);
  const fixedBytes = footerBytes(footer);
  const bytes = () => fixedBytes + dictionaries.bytes() + runs.bytes();
  const more = () => grown(bytes());
  const runs = entityRuns(footer, more);
  const dictionaries = dictionariesOf(footer, (number) => chunk(footer.blockRows.length * width + number), more);
  const guarded = <T>(what: string, decode: () => T): T => named(info, what, decode);
  const column = (block: number, index: number, packed: boolean, room?: Float64Array) =>
    guarded(`block ${block}, field ${contract.fields[index]!.name}`, () =>
      decodeColumn(
        chunk(block * width + index),
        contract.fields[index]!.type,
        footer.blockRows[block]!,
        packed ? dictionaries.all(index) : dictionaries.all(index)?.all(),
        packed,
        room,
      ),
    );
  const sequences = (block: number) =>
    guarded(`block ${block}, sequences`, () => {
      const decoded = decodeColumn(chunk(block * width + width - 2), "long", footer.blockRows[block]!);
      return (decoded as Column & { kind: "number" }).values as Float64Array;
    });
  const tombstones = (block: number) =>
    guarded(`block ${block}, tombstones`, () =>
      unpackFlags(chunk(block * width + width - 1), footer.blockRows[block]!),
    );
  const point = (block: number, index: number) => {
    const field = contract.fields[index];
    return guarded(`block ${block}, ${field?.name ?? "sequences"}`, () => {
      const texts = field && dictionaries.texts(index);
      return pointColumn(chunk(block * width + index), field?.type ?? "long", footer.blockRows[block]!, texts);
    });
  };
  const spanOf = spanFinder(footer.firstSequences);
  const file: SegmentFile = {
    info,
    contract,
    footer,
    sequences,
    point,
    tombstones,
    hasFlags: (block) => footer.chunkLengths[block * width + width - 1] !== EMPTY_CHUNK_BYTES,
    filter: () => info.filterChunk && read(info.filterChunk.chunk, info.filterChunk.at, info.filterChunk.bytes),
    spanOf,
    bytes,
    runs,
    close,
    column,
    rows(block, columns) {
      const decoding = blockSteps(file, block, columns);
      for (;;) {
        const { done, value } = decoding.next();
        if (done) return value;
      }
    },
    steps: (block, wanted, packed) => blockSteps(file, block, wanted, packed),
  };
  return file;
}

function* blockSteps(
  file: SegmentFile,
  block: number,
  wanted?: readonly string[],
  packed = false,
): Generator<undefined, StoredRows> {
  const { contract, footer, info } = file;
  const length = footer.blockRows[block]!;
  const nulls = nullColumns(length);
  const columns: Column[] = [];
  for (const [index, { name, type }] of contract.fields.entries()) {
    columns.push(wanted === undefined || wanted.includes(name) ? file.column(block, index, packed) : nulls(type));
    yield undefined;
  }
  const sequences = file.sequences(block);
  yield undefined;
  const known = knownOf(footer, file.spanOf, sequences);
  const batch: Batch = { contract, length, columns };
  return { stream: info.stream, batch, ...known, tombstones: file.tombstones(block) };
}

function chunksOf({ chunkLengths }: SegmentFooter, read: ReadChunk): (chunk: number) => Uint8Array {
  const starts = new Float64Array(chunkLengths.length + 1);
  for (let i = 0; i < chunkLengths.length; i++) starts[i + 1] = starts[i]! + chunkLengths[i]!;
  return (chunk) => read(chunk, starts[chunk]!, chunkLengths[chunk]!);
}

/** No plain bytes, sealed: how they are compressed, and the tag. */
const EMPTY_CHUNK_BYTES = 1 + TAG_BYTES;

/** The shared dictionaries of the fields, each read when it is first needed, and cut into texts when these are. */
function dictionariesOf(footer: SegmentFooter, read: (number: number) => Uint8Array, grown: () => void) {
  const packed: (PackedTexts | undefined)[] = [];
  const lazy: (LazyTexts | undefined)[] = [];
  let made = 0;
  const texts = (field: number) => {
    const number = footer.dictionaries[field] ?? 0;
    if (number === 0) return undefined;
    const known = packed[field];
    if (known) return known;
    const made = packedTexts(new ByteReader(read(number - 1)));
    packed[field] = made;
    grown();
    return made;
  };
  /** The same for whole blocks. */
  const all = (field: number): LazyTexts | undefined => {
    const own = texts(field);
    if (!own) return undefined;
    lazy[field] ??= lazyTexts(own, () => {
      made += own.length;
      grown();
    });
    return lazy[field];
  };
  const bytes = () => packed.reduce((sum, own) => sum + (own ? bytesOfTexts(own) : 0), made * TEXT_BYTES);
  return { texts, all, bytes };
}

/** A text of its own takes so much beside its characters, about. */
const TEXT_BYTES = 24;

function footerBytes(footer: SegmentFooter): number {
  let bytes = (footer.firstEntities.length + footer.lastEntities.length) * TEXT_BYTES;
  for (const part of Object.values(footer)) if (part instanceof Float64Array) bytes += part.byteLength;
  return bytes;
}

/** Damaged bytes throw with the segment's name. */
function named<T>(info: SegmentInfo, what: string, decode: () => T): T {
  try {
    return decode();
  } catch (cause) {
    throw cause instanceof RangeError ? damagedSegment(info, `${what} is not what was written`, cause) : cause;
  }
}

/** Commit number and known time of each sequence. */
function knownOf(footer: SegmentFooter, spanOf: (sequence: number) => number, sequences: Float64Array) {
  const commitNos = new Float64Array(sequences.length);
  const knownTimes = new Float64Array(sequences.length);
  for (let i = 0; i < sequences.length; i++) {
    const span = spanOf(sequences[i]!);
    commitNos[i] = footer.commitNos[span]!;
    knownTimes[i] = footer.knownTimes[span]!;
  }
  return { sequences, commitNos, knownTimes };
}

/** Finds the last span that begins at or before a sequence; fast where neighbours lie together. */
function spanFinder(firstSequences: Float64Array): (sequence: number) => number {
  let last = 0;
  return (sequence) => {
    if (firstSequences[last]! <= sequence && !(firstSequences[last + 1]! <= sequence)) return last;
    let low = 0;
    let high = firstSequences.length;
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (firstSequences[middle]! <= sequence) low = middle;
      else high = middle;
    }
    last = low;
    return low;
  };
}
