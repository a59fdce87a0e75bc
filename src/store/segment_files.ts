import type { Value } from "../base/row.ts";
import type { Micros } from "../base/time.ts";
import { pace } from "../base/turn.ts";
import { byteColumn, type PointColumn } from "../contract/codec_point.ts";
import { compareText } from "../contract/codec_texts.ts";
import type { Names, Sealer } from "./catalogue.ts";
import { passing, passingSteps } from "./damage.ts";
import { type KeyHash, keyHasher, mayHold } from "./entity_filter.ts";
import type { ScanOptions, StoredRows } from "./port.ts";
import { readCache } from "./read_cache.ts";
import type { GivenRows } from "./replaced.ts";
import { SYSTEM_COLUMNS } from "./segment_format.ts";
import type { SegmentInfo } from "./segment_info.ts";
import { commitsOf, type SegmentWindows, windowOf } from "./segment_pages.ts";
import { type HeldSegment, holdSegment, openSegment, readFilter, type SegmentFile } from "./segment_read.ts";
import { columnsNeeded, entityKey, joinStored, pickRows, selectRows } from "./select.ts";
import { STATEMENTS } from "./statements.ts";

/** Reads of compacted rows: pruned by stream, commit, time and entity, through bounded caches. */
export interface SegmentFiles {
  /** Undefined between two steps: others may have a turn then. */
  scan(
    segments: readonly SegmentInfo[],
    stream: string,
    options: ScanOptions,
    /** Rows that are left out, to which those of each segment are added once they were all given. */
    given: GivenRows,
  ): Iterable<StoredRows | undefined>;
  /** False where no row of the segment is of the entity. */
  mayHold(info: SegmentInfo, hash: KeyHash): boolean;
  /** The segment's file, from a bounded cache of open files. */
  open(info: SegmentInfo): SegmentFile;
  /** The same where it is open; undefined where not. */
  opened(info: SegmentInfo): SegmentFile | undefined;
  /** The columns of a block that were read so far, from the bounded cache. */
  block(file: SegmentFile, number: number): BlockColumns;
  /** Column `index` (beyond the fields: sequences, flags), read when it is first asked for. */
  column(block: BlockColumns, index: number): PointColumn;
  /** The compacted commits after `after`, as a page of the tail. */
  commitsAfter(
    segments: readonly SegmentInfo[],
    lastCompacted: number,
    after: number,
    streams: ReadonlySet<string>,
    maxRows: number,
  ): Promise<{ rows: StoredRows[]; upTo: number }>;
  commitAt(segments: readonly SegmentInfo[], knownTime: Micros): number;
  /** Forgets what is kept of all other segments: what was erased or merged is not looked for again. */
  keep(segments: readonly SegmentInfo[]): void;
  /** What is kept decoded, about. */
  cachedBytes(): number;
  close(): void;
}

/** The columns of a block that were read so far, those of the store after the fields. */
export interface BlockColumns {
  readonly file: SegmentFile;
  readonly number: number;
  readonly columns: (PointColumn | undefined)[];
  bytes: number;
}

/** What a reader keeps decoded, where its owner says nothing. */
const DEFAULT_CACHE_BYTES = 64 << 20;
/** Open files, each of which counts as this part of the cache at least. */
const OPEN_FILES_MAX = 128;
/** A scan has so many files open from its beginning on, the smallest: larger ones are full, and hardly ever replaced. */
const SCAN_FILES_MAX = 256;
/** Readers of the tail page through a segment in windows, those of one page together at most this part of the cache. */
const WINDOW_PART = 2;

/** Reads through one cache of `cacheBytes` for open files, decoded columns, entity filters, and windows of the tail. */
export function segmentFiles(
  directory: string,
  sealer: Sealer,
  names: Names,
  cacheBytes: number = DEFAULT_CACHE_BYTES,
): SegmentFiles {
  const hashOf = keyHasher(sealer.storeId);
  const { cache, fresh, open, maybe, windowsOf, ...parts } = cachedParts(directory, sealer, names, cacheBytes);
  return {
    open,
    ...parts,
    mayHold: maybe,
    *scan(segments, stream, options, given) {
      const { upTo = Number.POSITIVE_INFINITY, after = 0, leftOut } = options;
      const wanted = segments.filter(
        (info) =>
          info.stream === stream && info.firstCommit <= upTo && info.lastCommit > after && inTime(info, options),
      );
      const rest = wanted.filter((info) => !given.all(info));
      const key = options.entity && entityKey(options.entity);
      const hash = key ? hashOf(key) : undefined;
      const holding = hash ? rest.filter((info) => passing(leftOut, () => maybe(info, hash)) ?? false) : rest;
      // Opened before the first row is handed out: a file that is replaced meanwhile stays readable.
      const early = new Map<SegmentInfo, HeldSegment | undefined>();
      const hold = (info: SegmentInfo) => passing(leftOut, () => holdSegment(directory, info, sealer, names));
      try {
        for (const info of smallest(holding, SCAN_FILES_MAX)) early.set(info, hold(info));
        for (const info of holding) {
          const held = early.has(info) ? early.get(info) : hold(info);
          early.set(info, held);
          const file = held && passing(leftOut, held.open);
          yield undefined;
          const again = given.some(info);
          if (file) for (const rows of scanFile(file, options)) yield rows && again ? given.rest(rows) : rows;
          given.add(info);
          early.delete(info);
          held?.close();
        }
      } finally {
        for (const held of early.values()) held?.close();
      }
    },
    async commitsAfter(segments, lastCompacted, after, streams, maxRows) {
      const { wanted, bound } = pageSegments(segments, streams, lastCompacted, after, maxRows);
      const upTo = pageEnd(await inTurn(wanted, async (info) => open(info)), bound, after, maxRows);
      const held = wanted.filter(({ firstCommit }) => firstCommit <= upTo);
      const count = new Set(held.map(({ stream }) => stream)).size;
      const rows = await inTurn(held, (info) => commitsOf(open(info), windowsOf(info, count), after, upTo));
      return { rows: rows.flat().sort(compareStored), upTo };
    },
    commitAt(segments, knownTime) {
      const holder = newestBegun(segments, knownTime);
      return holder ? commitIn(open(holder), knownTime) : 0;
    },
    keep(segments) {
      const there = new Set(segments.map(({ segmentId }) => segmentId));
      cache.keep((key) => there.has(segmentOf(key)));
    },
    cachedBytes: cache.bytes,
    close: cache.clear,
  };
}

/** The parts of segments that are kept, each read when it is first asked for. */
function cachedParts(directory: string, sealer: Sealer, names: Names, cacheBytes: number) {
  const cache = readCache(cacheBytes);
  const fresh = (info: SegmentInfo, grown?: (bytes: number) => void) =>
    openSegment(directory, info, sealer, names, undefined, grown);
  const costOf = (bytes: number) => Math.max(bytes, cacheBytes / OPEN_FILES_MAX);
  const opened = (info: SegmentInfo) => cache.find<SegmentFile>(-2 * info.segmentId);
  const open = (info: SegmentInfo): SegmentFile => {
    const key = -2 * info.segmentId;
    return cache.get(key, () => {
      const value = fresh(info, (bytes) => cache.recost(key, costOf(bytes)));
      return { value, cost: costOf(value.bytes()), drop: value.close };
    });
  };
  const keyOf = (file: SegmentFile, number: number) => file.info.segmentId * 2 ** 20 + number; // there are fewer blocks
  const block = (file: SegmentFile, number: number): BlockColumns => {
    const key = keyOf(file, number);
    return cache.find<BlockColumns>(key) ?? cache.get(key, () => emptyBlock(file, number));
  };
  const column = (own: BlockColumns, index: number): PointColumn => {
    const known = own.columns[index];
    if (known) return known;
    const read = readPoints(own.file, own.number, index);
    own.columns[index] = read;
    own.bytes += read.bytes;
    cache.recost(keyOf(own.file, own.number), own.bytes);
    return read;
  };
  const filterOf = (info: SegmentInfo) =>
    cache.get(-2 * info.segmentId - 1, () => {
      const value = readFilter(directory, info, sealer, names) ?? null;
      return { value, cost: (value?.length ?? 0) + 64 };
    });
  const maybe = (info: SegmentInfo, hash: KeyHash): boolean => {
    if (info.filterBytes) return mayHold(info.filterBytes, hash);
    const filter = info.filter === undefined && !info.filterChunk ? null : filterOf(info);
    return filter === null || mayHold(filter, hash);
  };
  const windowsOf = (info: SegmentInfo, streams: number): SegmentWindows => {
    const bytes = cacheBytes / (WINDOW_PART * Math.max(1, streams));
    const rows = Math.max(1, Math.floor((bytes * info.rows) / pagedCost(info)));
    const at = (from: number) => {
      const key = `${info.segmentId} ${rows} ${from}`;
      const until = Math.min(from + rows, info.firstSequence + info.rows);
      return cache.get(key, () => {
        // A file of its own: decoding takes turns, and the cache may close the other meanwhile.
        const value = windowOf(fresh(info), from, until);
        value.catch(() => cache.forget(key));
        return { value, cost: (pagedCost(info) / info.rows) * (until - from) };
      });
    };
    return { rows, at };
  };
  return { cache, fresh, open, opened, block, column, maybe, windowsOf };
}

/** The smallest segments, at most so many. */
export const smallest = (infos: readonly SegmentInfo[], most: number): SegmentInfo[] =>
  [...infos].sort((a, b) => a.bytes - b.bytes).slice(0, most);

/** Columns, and for each row its commit and known time. Segments of older versions don't say what they take. */
const pagedCost = ({ rows, bytes, decodedBytes }: SegmentInfo): number => (decodedBytes ?? bytes * 10) + rows * 16;

/** One after another, so that each turn that others have is between two short pieces of work. */
async function inTurn<Item, Found>(items: readonly Item[], find: (item: Item) => Promise<Found>): Promise<Found[]> {
  const steps = pace();
  const found: Found[] = [];
  for (const item of items) {
    if (steps.due()) await steps.turn();
    found.push(await find(item));
  }
  if (steps.due()) await steps.turn();
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

/** What a block without columns takes, about. */
const EMPTY_BLOCK_BYTES = 256;

function emptyBlock(file: SegmentFile, number: number): { value: BlockColumns; cost: number } {
  const columns = new Array<PointColumn | undefined>(file.contract.fields.length + SYSTEM_COLUMNS).fill(undefined);
  return { value: { file, number, columns, bytes: EMPTY_BLOCK_BYTES }, cost: EMPTY_BLOCK_BYTES };
}

/** The segment of a cache's key: a block's, its file's or filter's (negative), or a window's (text). */
function segmentOf(key: number | string): number {
  if (typeof key === "string") return Number.parseInt(key, 10);
  return key < 0 ? Math.floor(-key / 2) : Math.floor(key / 2 ** 20);
}

function readPoints(file: SegmentFile, block: number, index: number): PointColumn {
  if (index <= file.contract.fields.length) return file.point(block, index);
  if (!file.hasFlags(block)) return NO_FLAGS;
  const flags = file.tombstones(block);
  return flags.some((flag) => flag !== 0) ? byteColumn(flags) : NO_FLAGS;
}

const NO_FLAGS = byteColumn(undefined); // one for all blocks

function* scanFile(file: SegmentFile, options: ScanOptions): Iterable<StoredRows | undefined> {
  const { footer, contract } = file;
  const columns = columnsNeeded(contract, options);
  const key = options.entity && (entityKey(options.entity as readonly Value[]) ?? undefined);
  if (options.entity && key === undefined) return;
  for (let block = 0; block < footer.blockRows.length; block++) {
    if (footer.minTimes.length > 0) {
      if (options.to !== undefined && footer.minTimes[block]! > options.to) continue;
      if (options.from !== undefined && footer.maxTimes[block]! < options.from) continue;
    }
    if (key !== undefined && !withinFences(file, block, key)) continue;
    // Whichever columns are asked for, the same blocks are left out: readers look twice.
    const needed = options.leftOut ? undefined : columns;
    const rows = yield* passingSteps(options.leftOut, file.steps(block, needed, options.packed));
    yield undefined;
    const selected = rows && selectRows(rows, options);
    if (selected) yield selected;
  }
}

function withinFences({ footer }: SegmentFile, block: number, key: string): boolean {
  return compareText(footer.firstEntities, block, key) <= 0 && compareText(footer.lastEntities, block, key) >= 0;
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
