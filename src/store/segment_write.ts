import { closeSync, fsyncSync, openSync, rmSync, unlinkSync, writeSync } from "node:fs";
import { join } from "node:path";
import { firstWhere } from "../base/bisect.ts";
import { ByteWriter, toBase64, toHex } from "../base/bytes.ts";
import type { Random } from "../base/random.ts";
import { type Batch, type Column, takeFlags, takeReal, takeRows } from "../contract/batch.ts";
import { encodeColumn } from "../contract/codec.ts";
import { encodeDictionary } from "../contract/codec_texts.ts";
import type { ChunkKeys } from "../keys/keyring.ts";
import { NONCE_BYTES } from "../keys/xaes.ts";
import type { Sealer } from "./catalogue.ts";
import { segmentsPath } from "./database.ts";
import { packFlags } from "./encode.ts";
import { entityFilter, keyHasher } from "./entity_filter.ts";
import { compress } from "./record.ts";
import { BLOCK_BYTES, BLOCK_ROWS, chunkBinder, encodeFooter, SYSTEM_COLUMNS } from "./segment_format.ts";
import type { SegmentInfo } from "./segment_info.ts";
import { ERASED } from "./select.ts";
import { NO_TIME, type SortedRows, sortRows, timesOf } from "./sort.ts";
import { keyForSegment } from "./stream_keys.ts";

/**
 * Rows of one stream and contract with the commits they came in, those of one entity and event time in order of sequence.
 */
export interface SegmentRows {
  readonly stream: string;
  readonly contractId: number;
  readonly batch: Batch;
  readonly sequences: Float64Array;
  readonly tombstones: Uint8Array;
  readonly commits: readonly CommitSpan[];
}

export interface CommitSpan {
  readonly commitNo: number;
  readonly knownTime: number;
  readonly firstSequence: number;
}

export interface SegmentTarget {
  readonly directory: string;
  readonly sealer: Sealer;
  readonly random: Random;
  /** Awaited between blocks, so that commits are not kept waiting. */
  readonly pause: () => Promise<void>;
}

const ZSTD_LEVEL = 1;
const SHARED_DICTIONARY_BYTES = 1 << 20;
/** A filter up to this size lies in the catalogue's row, which every reader holds: no file is opened to ask it. */
const INLINE_FILTER_BYTES = 8 << 10;

/** Writes and fsyncs one segment file; it is not part of the store until its row is in the catalogue. */
export async function writeSegment(
  rows: SegmentRows,
  level: number,
  target: SegmentTarget,
): Promise<Omit<SegmentInfo, "segmentId">> {
  const { batch } = rows;
  const sorted = sortRows(batch);
  await target.pause();
  const file = toHex(target.random.bytes(16));
  const nonce = target.random.bytes(NONCE_BYTES);
  const key = keyForSegment(target.sealer, rows.stream, rows.commits.at(-1)!.knownTime, target.random);
  const keys = target.sealer.keyring.chunks(key.keyId, nonce);
  const bound = chunkBinder(target.sealer.storeId, file, rows.stream, batch.contract.fingerprint);
  const path = join(segmentsPath(target.directory), file);
  const out = openSync(path, "wx", 0o600);
  try {
    const chunks = chunkWriter(out, keys, bound);
    const blocks = blocksOf(batch, sorted.order);
    const shared = batch.columns.map((column) => isShared(column, batch.length));
    for (const block of blocks) {
      putBlock(rows, sorted.order.subarray(block.from, block.to), shared, chunks.put);
      await target.pause();
    }
    const dictionaries = putDictionaries(batch, shared, chunks.put);
    const filter = putFilter(batch, sorted, target.sealer, chunks);
    const chunkLengths = Float64Array.from(chunks.lengths);
    const footerAt = chunks.bytes();
    chunks.put(encodeFooter({ ...fencesOf(batch, sorted, blocks), chunkLengths, dictionaries, ...spansOf(rows) }));
    fsyncSync(out);
    const sealed = { keyId: key.keyId, sealedKey: key.sealed, nonce: toHex(nonce) };
    const place = { ...sealed, bytes: chunks.bytes(), footerAt, footerChunk: chunkLengths.length };
    return { file, level, ...place, ...filter, ...factsOf(rows) };
  } catch (cause) {
    rmSync(path, { force: true }); // no row will name it
    throw cause;
  } finally {
    closeSync(out);
  }
}

interface ChunkWriter {
  readonly put: Put;
  /** Sealed lengths of the chunks so far, and their sum. */
  readonly lengths: readonly number[];
  bytes(): number;
}

function chunkWriter(out: number, keys: ChunkKeys, bound: (chunk: number) => Uint8Array): ChunkWriter {
  const lengths: number[] = [];
  let bytes = 0;
  return {
    lengths,
    bytes: () => bytes,
    put(plain) {
      const chunk = lengths.length;
      const sealed = keys.seal(chunk, compress(plain, ZSTD_LEVEL), bound(chunk));
      for (let at = 0; at < sealed.length; ) at += writeSync(out, sealed, at, sealed.length - at);
      lengths.push(sealed.length);
      bytes += sealed.length;
    },
  };
}

/** What the catalogue's row says of the rows. */
function factsOf({ stream, contractId, commits, sequences, batch, tombstones }: SegmentRows) {
  const first = commits[0]!;
  const last = commits.at(-1)!;
  return {
    stream,
    contractId,
    firstCommit: first.commitNo,
    lastCommit: last.commitNo,
    firstKnownTime: first.knownTime,
    lastKnownTime: last.knownTime,
    firstSequence: sequences.reduce((least, sequence) => Math.min(least, sequence)),
    rows: batch.length,
    ...erasedIn(tombstones),
    decodedBytes: decodedBytesOf(batch),
    ...boundsOf(batch),
  };
}

/** What the columns of these rows take in memory, about, with the store's own. */
export function decodedBytesOf(batch: Batch): number {
  let bytes = batch.length * (batch.columns.length + SYSTEM_COLUMNS) * 8;
  for (const column of batch.columns) {
    if (column.kind === "text") for (const text of column.dictionary) bytes += text.length + 24;
    if (column.kind === "bytes") for (const value of column.values) bytes += value?.length ?? 0;
  }
  return bytes;
}

/** The filter of the batch's entities as the row has it, or its place in the file. A null entity matches nothing. */
function putFilter({ contract }: Batch, { entities }: SortedRows, { storeId }: Sealer, chunks: ChunkWriter) {
  if (contract.entity.length === 0) return {};
  const filter = entityFilter(entities[0] === "" ? entities.slice(1) : entities, keyHasher(storeId));
  if (!filter) return {};
  if (filter.length <= INLINE_FILTER_BYTES) return { filter: toBase64(filter) };
  const [chunk, at] = [chunks.lengths.length, chunks.bytes()];
  chunks.put(filter);
  return { filterChunk: { chunk, at, bytes: chunks.bytes() - at } };
}

/** The least and the greatest event time of the rows that have one. */
function boundsOf(batch: Batch): { minTime: number; maxTime: number } | undefined {
  const { eventTime } = batch.contract;
  if (eventTime === undefined) return undefined;
  let [minTime, maxTime] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
  for (const time of timesOf(batch, eventTime)) {
    if (time === NO_TIME) continue;
    if (time < minTime) minTime = time;
    if (time > maxTime) maxTime = time;
  }
  return minTime > maxTime ? undefined : { minTime, maxTime };
}

function erasedIn(flags: Uint8Array): { erased?: number } {
  let erased = 0;
  for (let i = 0; i < flags.length; i++) if ((flags[i]! & ERASED) !== 0) erased++;
  return erased === 0 ? {} : { erased };
}

type Put = (plain: Uint8Array) => void;

/** One dictionary for the file where texts repeat; else each block carries its own. */
function isShared(column: Column, length: number): boolean {
  if (column.kind !== "text" || column.dictionary.length * 4 > length) return false;
  let bytes = 0;
  for (const text of column.dictionary) bytes += text.length;
  return bytes <= SHARED_DICTIONARY_BYTES;
}

interface Block {
  readonly from: number;
  readonly to: number;
}

/** At most BLOCK_ROWS rows, and about BLOCK_BYTES of blobs and of texts that are not shared. */
function blocksOf(batch: Batch, order: Int32Array): Block[] {
  const sizes = batch.columns.flatMap((column) => sizesIn(column) ?? []);
  const blocks: Block[] = [];
  let from = 0;
  let bytes = 0;
  for (let i = 0; i < order.length; i++) {
    for (const sizeAt of sizes) bytes += sizeAt(order[i]!);
    if (i + 1 - from < BLOCK_ROWS && bytes < BLOCK_BYTES && i + 1 < order.length) continue;
    blocks.push({ from, to: i + 1 });
    from = i + 1;
    bytes = 0;
  }
  return blocks;
}

/** How long the values of a column of texts or blobs are, by row; undefined where it has none to speak of. */
function sizesIn(column: Column): ((row: number) => number) | undefined {
  if (column.kind === "bytes") return (row) => column.values[row]?.length ?? 0;
  if (column.kind !== "text") return undefined;
  const { codes, dictionary } = column;
  const lengths = new Int32Array(dictionary.length + 1); // code -1, null, has place 0
  dictionary.forEach((text, code) => {
    lengths[code + 1] = text.length;
  });
  return (row) => lengths[codes[row]! + 1]!;
}

function putBlock(rows: SegmentRows, order: Int32Array, shared: readonly boolean[], put: Put): void {
  const block = takeRows(rows.batch, order);
  block.columns.forEach((column, c) => {
    put(encodeColumn(column, block.length, shared[c]));
  });
  put(encodeColumn({ kind: "number", values: takeReal(rows.sequences, order) }, block.length));
  put(packFlags(takeFlags(rows.tombstones, order)));
}

/** The shared dictionaries; for each field its number plus one, or 0. */
function putDictionaries(batch: Batch, shared: readonly boolean[], put: Put): Float64Array {
  let count = 0;
  return Float64Array.from(batch.columns, (column, c) => {
    if (column.kind !== "text" || !shared[c]) return 0;
    const writer = new ByteWriter(1024);
    encodeDictionary(writer, column.dictionary);
    put(writer.finish());
    return ++count;
  });
}

function fencesOf(batch: Batch, sorted: SortedRows, blocks: readonly Block[]) {
  const { eventTime } = batch.contract;
  const times = eventTime === undefined ? undefined : timesOf(batch, eventTime);
  const minTimes = new Float64Array(times ? blocks.length : 0);
  const maxTimes = new Float64Array(times ? blocks.length : 0);
  if (times) {
    blocks.forEach(({ from, to }, b) => {
      let least = Number.POSITIVE_INFINITY;
      let most = Number.NEGATIVE_INFINITY;
      for (let i = from; i < to; i++) {
        const time = times[sorted.order[i]!]!;
        if (time < least) least = time;
        if (time > most) most = time;
      }
      minTimes[b] = least;
      maxTimes[b] = most;
    });
  }
  const { starts, entities } = sorted;
  const entityOf = (position: number) =>
    entities[firstWhere(0, entities.length, (entity) => starts[entity + 1]! > position)]!;
  return {
    blockRows: Float64Array.from(blocks, ({ from, to }) => to - from),
    minTimes,
    maxTimes,
    firstEntities: blocks.map(({ from }) => entityOf(from)),
    lastEntities: blocks.map(({ to }) => entityOf(to - 1)),
  };
}

function spansOf({ commits }: SegmentRows) {
  return {
    commitNos: Float64Array.from(commits, ({ commitNo }) => commitNo),
    knownTimes: Float64Array.from(commits, ({ knownTime }) => knownTime),
    firstSequences: Float64Array.from(commits, ({ firstSequence }) => firstSequence),
  };
}

/** Files that no row names, or none any more: nothing can be read from one that stays, and the next start sweeps it. */
export function removeSegments(directory: string, files: readonly string[]): void {
  for (const file of files) {
    try {
      unlinkSync(join(segmentsPath(directory), file));
    } catch {
      // Gone already, or the system refuses: no reason to fail what is done.
    }
  }
}

/** Makes the names of new files durable. */
export function syncDirectory(path: string): void {
  const handle = openSync(path, "r");
  try {
    fsyncSync(handle);
  } finally {
    closeSync(handle);
  }
}
