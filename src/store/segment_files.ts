import { concatBytes } from "../base/bytes.ts";
import type { Value } from "../base/row.ts";
import type { Micros } from "../base/time.ts";
import { concatBatches, joinNumbers } from "../contract/batch.ts";
import type { PointColumn } from "../contract/codec_point.ts";
import type { Names, Sealer } from "./catalogue.ts";
import { passing } from "./damage.ts";
import { type KeyHash, keyHasher, mayHold } from "./entity_filter.ts";
import type { ScanOptions, StoredRows } from "./port.ts";
import type { SegmentInfo } from "./segment_info.ts";
import { commitsOf, decodedBlocks } from "./segment_pages.ts";
import { openSegment, readFilter, type SegmentFile } from "./segment_read.ts";
import { columnsNeeded, entityKey, pickRows, selectRows } from "./select.ts";
import { STATEMENTS } from "./statements.ts";

/** Reads of compacted rows: pruned by stream, commit, time and entity, through bounded caches. */
export interface SegmentFiles {
  scan(segments: readonly SegmentInfo[], stream: string, options: ScanOptions): Iterable<StoredRows>;
  /** False where no row of the segment is of the entity. */
  mayHold(info: SegmentInfo, hash: KeyHash): boolean;
  /** The segment's file, from a bounded cache of open files. */
  open(info: SegmentInfo): SegmentFile;
  /** Column `index` of a block (beyond the fields: sequences, tombstones), from the bounded cache. */
  cached(file: SegmentFile, block: number, index: number): PointColumn;
  /** The compacted commits after `after`, as a page of the tail. */
  commitsAfter(
    segments: readonly SegmentInfo[],
    lastCompacted: number,
    after: number,
    streams: ReadonlySet<string>,
    maxRows: number,
  ): Promise<{ rows: StoredRows[]; upTo: number }>;
  commitAt(segments: readonly SegmentInfo[], knownTime: Micros): number;
  close(): void;
}

export interface CacheBounds {
  /** Decoded columns kept for as-of reads. */
  readonly blockBytes: number;
  readonly openFiles: number;
  /** Entity filters kept. */
  readonly filterBytes: number;
  /** Whole segments kept decoded while readers of the tail page through them. */
  readonly pagedBytes: number;
}

const DEFAULT_CACHES: CacheBounds = {
  blockBytes: 64 << 20,
  openFiles: 128,
  filterBytes: 32 << 20,
  pagedBytes: 192 << 20, // two partitions at least: streams are read side by side
};

export function segmentFiles(
  directory: string,
  sealer: Sealer,
  names: Names,
  bounds: CacheBounds = DEFAULT_CACHES,
): SegmentFiles {
  const hashOf = keyHasher(sealer.storeId);
  const files = boundedCache<number, SegmentFile>(bounds.openFiles, (file) => file.close());
  const blocks = boundedCache<number, PointColumn>(bounds.blockBytes);
  const filters = boundedCache<number, Uint8Array | null>(bounds.filterBytes);
  const ordered = boundedCache<number, Promise<readonly StoredRows[]>>(bounds.pagedBytes);
  const open = (info: SegmentInfo) =>
    files.get(info.segmentId, () => ({ value: openSegment(directory, info, sealer, names), cost: 1 }));
  const cached = (file: SegmentFile, block: number, index: number) =>
    blocks.get(columnKey(file, block, index), () => {
      const value = readPoints(file, block, index);
      return { value, cost: value.bytes };
    });
  const filterOf = (info: SegmentInfo) =>
    filters.get(info.segmentId, () => {
      const value = readFilter(directory, info, sealer, names) ?? null;
      return { value, cost: (value?.length ?? 0) + 64 };
    });
  const maybe = (info: SegmentInfo, hash: KeyHash): boolean => {
    const filter = info.filter === undefined && !info.filterChunk ? null : filterOf(info);
    return filter === null || mayHold(filter, hash);
  };
  // A file of its own: decoding takes turns, and the cache may close the other meanwhile.
  const blocksOf = (info: SegmentInfo) =>
    ordered.get(info.segmentId, () => {
      const value = decodedBlocks(openSegment(directory, info, sealer, names));
      value.catch(() => ordered.forget(info.segmentId));
      return { value, cost: pagedCost(info) };
    });
  return {
    open,
    cached,
    mayHold: maybe,
    *scan(segments, stream, options) {
      const { upTo = Number.POSITIVE_INFINITY, after = 0, leftOut } = options;
      const wanted = segments.filter(
        (info) =>
          info.stream === stream && info.firstCommit <= upTo && info.lastCommit > after && inTime(info, options),
      );
      const key = options.entity && entityKey(options.entity);
      const hash = key ? hashOf(key) : undefined;
      const holding = hash ? wanted.filter((info) => passing(leftOut, () => maybe(info, hash)) ?? false) : wanted;
      // Opened before the first row is handed out: a file that is replaced meanwhile stays readable.
      const fresh = (info: SegmentInfo) => openSegment(directory, info, sealer, names);
      const opened = holding.flatMap((info) => passing(leftOut, () => fresh(info)) ?? []);
      try {
        for (const file of opened) yield* scanFile(file, options);
      } finally {
        for (const file of opened) file.close();
      }
    },
    async commitsAfter(segments, lastCompacted, after, streams, maxRows) {
      const { wanted, bound } = pageSegments(segments, streams, lastCompacted, after, maxRows);
      const upTo = pageEnd(wanted.map(open), bound, after, maxRows);
      const held = wanted.filter(({ firstCommit }) => firstCommit <= upTo);
      const rows = await inTurn(held, async (info) => commitsOf(open(info), await blocksOf(info), after, upTo));
      return { rows: rows.flat().sort(compareStored), upTo };
    },
    commitAt(segments, knownTime) {
      const holder = newestBegun(segments, knownTime);
      return holder ? commitIn(open(holder), knownTime) : 0;
    },
    close: () => files.clear(),
  };
}

/** Columns, and for each row its commit and known time. Segments of older versions don't say what they take. */
const pagedCost = ({ rows, bytes, decodedBytes }: SegmentInfo): number => (decodedBytes ?? bytes * 10) + rows * 16;

/** One after another, so that each turn that others have is between two short pieces of work. */
async function inTurn<Item, Found>(items: readonly Item[], find: (item: Item) => Promise<Found>): Promise<Found[]> {
  const found: Found[] = [];
  for (const item of items) found.push(await find(item));
  return found;
}

/** The newest statements that begin by then: a segment written anew has a higher number than some that are newer. */
function newestBegun(segments: readonly SegmentInfo[], knownTime: Micros): SegmentInfo | undefined {
  let newest: SegmentInfo | undefined;
  for (const info of segments) {
    if (info.stream !== STATEMENTS || info.firstKnownTime > knownTime) continue;
    if (!newest || info.firstKnownTime > newest.firstKnownTime) newest = info;
  }
  return newest;
}

function commitIn({ footer: { knownTimes, commitNos } }: SegmentFile, knownTime: Micros): number {
  return commitNos[knownTimes.findLastIndex((known) => known <= knownTime)] ?? 0;
}

/** Whether a row of the segment may lie in the event time bounds. Those without bounds of their own may. */
function inTime({ minTime, maxTime }: SegmentInfo, { from, to }: ScanOptions): boolean {
  if (to !== undefined && minTime !== undefined && minTime > to) return false;
  return !(from !== undefined && maxTime !== undefined && maxTime < from);
}

/** One number for a column of a block of a segment: blocks stay below 2^20, fields below 2^10. */
function columnKey(file: SegmentFile, block: number, index: number): number {
  return (file.info.segmentId * 2 ** 20 + block) * 2 ** 10 + index;
}

function readPoints(file: SegmentFile, block: number, index: number): PointColumn {
  if (index <= file.contract.fields.length) return file.point(block, index);
  const flags = file.tombstones(block);
  if (!flags.some((flag) => flag !== 0)) return NO_FLAGS;
  return { at: (row) => flags[row]!, bytes: flags.length };
}

const NO_FLAGS: PointColumn = { at: () => 0, bytes: 64 };

function* scanFile(file: SegmentFile, options: ScanOptions): Iterable<StoredRows> {
  const { footer, contract } = file;
  const columns = columnsNeeded(contract, options);
  const key = options.entity && (entityKey(options.entity as readonly Value[]) ?? undefined);
  if (options.entity && key === undefined) return;
  for (let block = 0; block < footer.blockRows.length; block++) {
    if (footer.minTimes.length > 0) {
      if (options.to !== undefined && footer.minTimes[block]! > options.to) continue;
      if (options.from !== undefined && footer.maxTimes[block]! < options.from) continue;
    }
    if (key !== undefined && (footer.firstEntities[block]! > key || footer.lastEntities[block]! < key)) continue;
    // Whichever columns are asked for, the same blocks are left out: readers look twice.
    const needed = options.leftOut ? undefined : columns;
    const rows = passing(options.leftOut, () => file.rows(block, needed));
    const selected = rows && selectRows(rows, options);
    if (selected) yield selected;
  }
}

/** The segments that a page can need, and the commit before the first that it can't. */
function pageSegments(
  segments: readonly SegmentInfo[],
  streams: ReadonlySet<string>,
  lastCompacted: number,
  after: number,
  maxRows: number,
): { wanted: SegmentInfo[]; bound: number } {
  const later = segments.filter((info) => streams.has(info.stream) && info.lastCommit > after);
  later.sort((a, b) => a.firstCommit - b.firstCommit);
  let rows = 0;
  for (let i = 0; i < later.length; i++) {
    const bound = later[i]!.firstCommit - 1;
    if (rows >= maxRows && bound > after) return { wanted: later.slice(0, i), bound };
    if (later[i]!.firstCommit > after) rows += later[i]!.rows;
  }
  return { wanted: later, bound: lastCompacted };
}

/** The commit after which a page of about `maxRows` rows ends; `bound` where all fit. */
function pageEnd(files: readonly SegmentFile[], bound: number, after: number, maxRows: number): number {
  const counts = new Map<number, number>();
  for (const { footer, info } of files) {
    for (let i = 0; i < footer.commitNos.length; i++) {
      const commitNo = footer.commitNos[i]!;
      if (commitNo <= after) continue;
      const end = footer.firstSequences[i + 1] ?? info.firstSequence + info.rows;
      counts.set(commitNo, (counts.get(commitNo) ?? 0) + end - footer.firstSequences[i]!);
    }
  }
  let rows = 0;
  for (const commitNo of [...counts.keys()].sort((a, b) => a - b)) {
    rows += counts.get(commitNo)!;
    if (rows >= maxRows) return Math.min(commitNo, bound);
  }
  return bound;
}

/** The whole segment in order of sequence, erased rows too. Every chunk of the file is opened. */
export function bySequence(file: SegmentFile): StoredRows {
  file.filter();
  const whole = joinStored(Array.from(file.footer.blockRows, (_, block) => file.rows(block)));
  const { sequences } = whole;
  const order = new Int32Array(sequences.length);
  for (let i = 0; i < order.length; i++) order[i] = i;
  const gapless = placeBySequence(sequences, file.info.firstSequence, order);
  if (!gapless) order.sort((a, b) => sequences[a]! - sequences[b]!);
  return pickRows(whole, order);
}

/** The whole segment in its own order: entity key, event time, sequence. */
export async function inSegmentOrder(file: SegmentFile, pause: () => Promise<void>): Promise<StoredRows> {
  const parts: StoredRows[] = [];
  for (let block = 0; block < file.footer.blockRows.length; block++) {
    parts.push(file.rows(block));
    await pause();
  }
  return joinStored(parts);
}

function joinStored(parts: readonly StoredRows[]): StoredRows {
  return {
    stream: parts[0]!.stream,
    batch: concatBatches(parts.map((part) => part.batch)),
    sequences: joinNumbers(parts.map((part) => part.sequences)),
    commitNos: joinNumbers(parts.map((part) => part.commitNos)),
    knownTimes: joinNumbers(parts.map((part) => part.knownTimes)),
    tombstones: concatBytes(parts.map((part) => part.tombstones)),
  };
}

/** Fills `order` by counting where the sequences are gapless; false where they are not. */
function placeBySequence(sequences: Float64Array, first: number, order: Int32Array): boolean {
  const placed = new Int32Array(order.length).fill(-1);
  for (let i = 0; i < sequences.length; i++) {
    const at = sequences[i]! - first;
    if (!(at >= 0 && at < placed.length) || placed[at] !== -1) return false;
    placed[at] = i;
  }
  order.set(placed);
  return true;
}

function compareStored(a: StoredRows, b: StoredRows): number {
  const byCommit = a.commitNos[0]! - b.commitNos[0]!;
  if (byCommit !== 0) return byCommit;
  if (a.stream !== b.stream) return a.stream < b.stream ? -1 : 1;
  return a.sequences[0]! - b.sequences[0]!;
}

interface BoundedCache<K, V> {
  get(key: K, make: () => { value: V; cost: number }): V;
  forget(key: K): void;
  clear(): void;
}

/** Least recently used values go first once the costs exceed the bound; one value alone may exceed it. */
function boundedCache<K, V>(bound: number, drop: (value: V) => void = () => {}): BoundedCache<K, V> {
  const entries = new Map<K, { value: V; cost: number }>();
  let total = 0;
  return {
    get(key, make) {
      let entry = entries.get(key);
      if (entry) entries.delete(key);
      else {
        entry = make();
        total += entry.cost;
      }
      entries.set(key, entry);
      for (const [oldest, { value, cost }] of entries) {
        if (total <= bound || oldest === key) break;
        entries.delete(oldest);
        total -= cost;
        drop(value);
      }
      return entry.value;
    },
    forget(key) {
      total -= entries.get(key)?.cost ?? 0;
      entries.delete(key);
    },
    clear() {
      for (const { value } of entries.values()) drop(value);
      entries.clear();
      total = 0;
    },
  };
}
