import { closeSync, fsyncSync, openSync, writeSync } from "node:fs";
import { join } from "node:path";
import { ByteWriter, toHex } from "../base/bytes.ts";
import type { Random } from "../base/random.ts";
import { type Batch, type Column, takeRows } from "../contract/batch.ts";
import { encodeColumn, encodeDictionary } from "../contract/codec.ts";
import { NONCE_BYTES } from "../keys/xaes.ts";
import type { Sealer } from "./catalogue.ts";
import { segmentsPath } from "./database.ts";
import { packFlags } from "./encode.ts";
import { compress } from "./record.ts";
import { BLOCK_BYTES, BLOCK_ROWS, chunkBinder, encodeFooter } from "./segment_format.ts";
import type { SegmentInfo } from "./segment_info.ts";
import { type SortedRows, sortRows, timesOf } from "./sort.ts";

/** Rows of one stream and contract, in order of sequence, with the commits they came in. */
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
  const keyId = target.sealer.keyring.currentKeyId;
  const keys = target.sealer.keyring.chunks(keyId, nonce);
  const bound = chunkBinder(target.sealer.storeId, file, rows.stream, batch.contract.fingerprint);
  const out = openSync(join(segmentsPath(target.directory), file), "wx", 0o600);
  const lengths: number[] = [];
  let bytes = 0;
  const put = (plain: Uint8Array) => {
    const chunk = lengths.length;
    const sealed = keys.seal(chunk, compress(plain, ZSTD_LEVEL), bound(chunk));
    for (let at = 0; at < sealed.length; ) at += writeSync(out, sealed, at, sealed.length - at);
    lengths.push(sealed.length);
    bytes += sealed.length;
  };
  try {
    const shared = batch.columns.map((column) => isShared(column, batch.length));
    const blocks = blocksOf(batch, sorted.order);
    for (const block of blocks) {
      putBlock(rows, sorted.order.subarray(block.from, block.to), shared, put);
      await target.pause();
    }
    const dictionaries = putDictionaries(batch, shared, put);
    const chunks = Float64Array.from(lengths);
    const footerAt = bytes;
    put(encodeFooter({ ...fencesOf(batch, sorted, blocks), chunkLengths: chunks, dictionaries, ...spansOf(rows) }));
    fsyncSync(out);
    const first = rows.commits[0]!;
    const last = rows.commits.at(-1)!;
    return {
      file,
      stream: rows.stream,
      contractId: rows.contractId,
      level,
      firstCommit: first.commitNo,
      lastCommit: last.commitNo,
      firstKnownTime: first.knownTime,
      lastKnownTime: last.knownTime,
      firstSequence: rows.sequences[0]!,
      rows: batch.length,
      bytes,
      keyId,
      nonce: toHex(nonce),
      footerAt,
      footerChunk: chunks.length,
    };
  } finally {
    closeSync(out);
  }
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
  const heavy = batch.columns.filter((column) => column.kind === "bytes" || column.kind === "text");
  const blocks: Block[] = [];
  let from = 0;
  let bytes = 0;
  for (let i = 0; i < order.length; i++) {
    for (const column of heavy) bytes += sizeAt(column, order[i]!);
    if (i + 1 - from < BLOCK_ROWS && bytes < BLOCK_BYTES && i + 1 < order.length) continue;
    blocks.push({ from, to: i + 1 });
    from = i + 1;
    bytes = 0;
  }
  return blocks;
}

function sizeAt(column: Column, index: number): number {
  if (column.kind === "bytes") return column.values[index]?.length ?? 0;
  if (column.kind !== "text" || column.codes[index]! < 0) return 0;
  return column.dictionary[column.codes[index]!]!.length;
}

function putBlock(rows: SegmentRows, order: Int32Array, shared: readonly boolean[], put: Put): void {
  const block = takeRows(rows.batch, order);
  block.columns.forEach((column, c) => {
    put(encodeColumn(column, block.length, shared[c]));
  });
  const sequences = Float64Array.from(order, (index) => rows.sequences[index]!);
  put(encodeColumn({ kind: "number", values: sequences }, block.length));
  put(packFlags(Uint8Array.from(order, (index) => rows.tombstones[index]!)));
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
  const entityOf = (position: number) => sorted.entities[rankAt(sorted.starts, position)]!;
  return {
    blockRows: Float64Array.from(blocks, ({ from, to }) => to - from),
    minTimes,
    maxTimes,
    firstEntities: blocks.map(({ from }) => entityOf(from)),
    lastEntities: blocks.map(({ to }) => entityOf(to - 1)),
  };
}

/** The last start that is not beyond the position. */
function rankAt(starts: Int32Array, position: number): number {
  let low = 0;
  let high = starts.length - 1;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (starts[middle]! <= position) low = middle;
    else high = middle;
  }
  return low;
}

function spansOf({ commits }: SegmentRows) {
  return {
    commitNos: Float64Array.from(commits, ({ commitNo }) => commitNo),
    knownTimes: Float64Array.from(commits, ({ knownTime }) => knownTime),
    firstSequences: Float64Array.from(commits, ({ firstSequence }) => firstSequence),
  };
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
