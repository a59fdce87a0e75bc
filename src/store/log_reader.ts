import type { Database } from "bun:sqlite";
import { firstWhere } from "../base/bisect.ts";
import type { MlpeError } from "../base/errors.ts";
import type { Row } from "../base/row.ts";
import type { Micros } from "../base/time.ts";
import { othersTurn } from "../base/turn.ts";
import { winnerOf } from "./as_of.ts";
import { type Names, namesOf, type Sealer } from "./catalogue.ts";
import { passing } from "./damage.ts";
import { openReaderDatabase } from "./database.ts";
import { type KeyHash, keyHasher } from "./entity_filter.ts";
import type { AsOfOptions, Head, Probe, ScanOptions, StoredRows, StreamInfo, TailPage } from "./port.ts";
import {
  type GivenRows,
  givenRows,
  isReplaced,
  overtaken,
  REPLACED_TRIES_MAX,
  readAgain,
  readAgainInTurns,
} from "./replaced.ts";
import { type SegmentFiles, segmentFiles } from "./segment_files.ts";
import type { SegmentInfo } from "./segment_info.ts";
import { segmentCursor } from "./segment_versions.ts";
import { type SegmentsByTime, segmentsByStream } from "./segments_by_time.ts";
import { columnsNeeded, entityKey, selectRows } from "./select.ts";
import { type LogState, stateOf } from "./sqlite_log.ts";
import {
  bodyOf,
  openInTurns,
  rowsOfAppend,
  type Snapshot,
  type TailCommit,
  type TailIndex,
  tailIndex,
} from "./tail_index.ts";
import { type TailVersions, tailVersions } from "./tail_versions.ts";

/** Every read of the port, in the caller's thread, over its own handle: synchronous but for the port's sake and the tail's, which takes turns. */
export interface LogReader {
  head(): Head;
  commitAt(knownTime: Micros): number;
  tail(after: number, streams: readonly string[], maxRows: number): Promise<TailPage>;
  /** Undefined between two steps: others may have a turn then. */
  scan(stream: string, options: ScanOptions): Iterable<StoredRows | undefined>;
  asOf(stream: string, probes: readonly Probe[], options: AsOfOptions): (Row | null)[];
  streams(): StreamInfo[];
  /** Cursors and positions, folded from the log: for readers with no writer to ask. */
  state(): LogState;
  snapshot(): Snapshot;
  readonly directory: string;
  readonly database: Database;
  readonly names: Names;
  readonly segments: SegmentFiles;
  close(): void;
}

export function logReader(directory: string, sealer: Sealer, cacheBytes?: number): LogReader {
  const database = openReaderDatabase(directory);
  const names = namesOf(database, sealer);
  const segments = segmentFiles(directory, sealer, names, cacheBytes);
  const newest = withoutGone(tailIndex(database, sealer), segments);
  const view: View = {
    sealer,
    names,
    segments,
    tail: tailVersions(sealer, names),
    hashOf: keyHasher(sealer.storeId),
    listed: undefined,
  };
  const look = () => listedSnapshot(newest(), view);
  return {
    head: () => look().head,
    commitAt: (knownTime) => readAgain(look, (snapshot) => commitAt(snapshot, view, knownTime)),
    tail: (after, streams, maxRows) =>
      readAgainInTurns(look, (snapshot) => tailPage(snapshot, view, after, streams, maxRows)),
    scan: (stream, options) => scanAgain(look, view, stream, options),
    asOf: (stream, probes, options) => readAgain(look, (snapshot) => asOfRows(snapshot, view, stream, probes, options)),
    streams: () => streamInfos(look(), view),
    state: () => foldState(look(), view),
    snapshot: look,
    directory,
    database,
    names,
    segments,
    close() {
      segments.close();
      database.close();
    },
  };
}

/** What is kept of segments that are gone goes with the first look that finds them gone. */
function withoutGone(index: TailIndex, segments: SegmentFiles): TailIndex["look"] {
  let last: Snapshot["segments"] | undefined;
  return () => {
    const snapshot = index.look();
    if (last !== undefined && snapshot.segments !== last) segments.keep(snapshot.segments);
    last = snapshot.segments;
    return snapshot;
  };
}

interface View {
  readonly sealer: Sealer;
  readonly names: Names;
  readonly segments: SegmentFiles;
  readonly tail: TailVersions;
  readonly hashOf: (key: string) => KeyHash;
  /** The segments of the newest snapshot, as as-of reads go through them. */
  listed: { readonly segments: readonly SegmentInfo[]; readonly of: (stream: string) => SegmentsByTime } | undefined;
}

/** Where the list of segments is another, it is put in order and its contracts are parsed: not by the first read. */
function listedSnapshot(snapshot: Snapshot, view: View): Snapshot {
  const { segments } = snapshot;
  if (view.listed?.segments === segments) return snapshot;
  view.listed = { segments, of: segmentsByStream(segments) };
  for (const contractId of new Set(segments.map((info) => info.contractId))) {
    try {
      view.names.contractOf(contractId);
    } catch {
      // damaged: the read that needs it says so
    }
  }
  return snapshot;
}

function commitAt(snapshot: Snapshot, { segments }: View, knownTime: Micros): number {
  const { tail, compacted } = snapshot;
  if (knownTime >= snapshot.head.knownTime) return snapshot.head.commitNo;
  if (knownTime < compacted.lastKnownTime) return segments.commitAt(snapshot.segments, knownTime);
  return compacted.lastCommit + firstWhere(0, tail.length, (at) => tail[at]!.knownTime > knownTime);
}

async function tailPage(
  snapshot: Snapshot,
  view: View,
  after: number,
  streams: readonly string[],
  maxRows: number,
): Promise<TailPage> {
  const rows: StoredRows[] = [];
  let upTo = after;
  let count = 0;
  const wanted = new Set(streams);
  if (upTo < snapshot.compacted.lastCommit) {
    const page = await view.segments.commitsAfter(
      snapshot.segments,
      snapshot.compacted.lastCommit,
      after,
      wanted,
      maxRows,
    );
    rows.push(...page.rows);
    count = page.rows.reduce((sum, stored) => sum + stored.batch.length, 0);
    upTo = page.upTo;
  }
  const start = upTo - snapshot.compacted.lastCommit;
  for (let i = start; i >= 0 && i < snapshot.tail.length && count < maxRows; i++) {
    const commit = snapshot.tail[i]!;
    for (const index of appendsOf(commit, view.names, wanted)) {
      await openInTurns(commit, index, view.sealer, view.names);
      const stored = rowsOfAppend(commit, index, view.sealer, view.names);
      rows.push(stored);
      count += stored.batch.length;
      await othersTurn();
    }
    upTo = commit.commitNo;
  }
  return { rows, upTo, head: snapshot.head };
}

/** The appends of the commit to these streams, by stream name and then in their order. */
function appendsOf(commit: TailCommit, names: Names, wanted: ReadonlySet<string>): number[] {
  const found: { stream: string; index: number }[] = [];
  commit.ranges.forEach((range, index) => {
    const stream = names.streamOf(range.streamId);
    if (range.rows > 0 && wanted.has(stream)) found.push({ stream, index });
  });
  if (found.length > 1) found.sort((a, b) => (a.stream < b.stream ? -1 : a.stream > b.stream ? 1 : a.index - b.index));
  return found.map(({ index }) => index);
}

/**
 * A scan opens the files of its snapshot before it hands out the first row, and is begun again where one of them was gone.
 * What it goes up to stays: later commits are not part of it. Of very many files the largest are opened in their turn: where
 * one of these was replaced by then, it goes on over the log as it is then, with the rows that were not given out. Throws
 * store.overtaken where that happens again and again without one segment in between.
 */
function* scanAgain(
  look: () => Snapshot,
  view: View,
  stream: string,
  options: ScanOptions,
): Iterable<StoredRows | undefined> {
  const told = new Set<string>();
  const { leftOut } = options;
  const only = leftOut && {
    leftOut(damage: MlpeError) {
      if (isReplaced(damage, look)) throw damage; // it is not damaged: the scan is begun again
      if (!told.has(damage.message)) leftOut(damage);
      told.add(damage.message);
    },
  };
  const given = givenRows();
  let upTo = options.upTo;
  for (let tries = 1, before = 0; ; tries++, before = given.count()) {
    try {
      const snapshot = look();
      upTo ??= snapshot.head.commitNo;
      yield* scanRows(snapshot, view, stream, { ...options, ...only, upTo }, given);
      return;
    } catch (cause) {
      if (!isReplaced(cause, look)) throw cause;
      if (given.count() > before) tries = 1; // as long as it gets on, it goes on
      if (tries >= REPLACED_TRIES_MAX) throw overtaken(cause);
    }
  }
}

type BoundedScan = ScanOptions & { readonly upTo: number };

function* scanRows(
  snapshot: Snapshot,
  view: View,
  stream: string,
  options: BoundedScan,
  given: GivenRows,
): Generator<StoredRows | undefined, void> {
  const { upTo } = options;
  yield* view.segments.scan(snapshot.segments, stream, options, given);
  const streamId = view.names.streamIdOf(stream);
  for (const commit of snapshot.tail) {
    if (commit.commitNo > upTo) return;
    if (commit.commitNo <= (options.after ?? 0)) continue;
    for (let i = 0; i < commit.ranges.length; i++) {
      const range = commit.ranges[i]!;
      if (range.streamId !== streamId || range.rows === 0) continue;
      const columns = columnsNeeded(view.names.contractOf(range.contractId), options);
      const rows = passing(options.leftOut, () => rowsOfAppend(commit, i, view.sealer, view.names, columns));
      const selected = rows && selectRows(rows, options);
      if (selected) yield selected;
    }
  }
}

function asOfRows(
  snapshot: Snapshot,
  view: View,
  stream: string,
  probes: readonly Probe[],
  options: AsOfOptions,
): (Row | null)[] {
  const upTo = options.upTo ?? snapshot.head.commitNo;
  const segments = view.listed!.of(stream);
  return probes.map((probe) => {
    const key = entityKey(probe.entity);
    if (key === null) return null;
    const tail = view.tail.cursor(snapshot, stream, key, probe.at, upTo);
    const hash = view.hashOf(key);
    const { mayHold, open, opened } = view.segments;
    const sources = segments.sources(hash, probe.at, upTo, {
      knows: (info) => opened(info)?.runs.knows(key) ?? false,
      open: (info, filtered) =>
        filtered || mayHold(info, hash) ? segmentCursor(view.segments, open(info), key, probe.at, upTo) : undefined,
    });
    const winner = winnerOf(tail, sources, probe, options);
    return winner ? winner.row(options.columns) : null;
  });
}

function streamInfos({ compacted, segments, tail }: Snapshot, { names }: View): StreamInfo[] {
  const infos = new Map<string, Omit<StreamInfo, "stream" | "contracts">>();
  const newest = new Map<string, Map<number, number>>();
  const seen = (stream: string, contractId: number, lastSequence: number) => {
    const known = newest.get(stream) ?? new Map<number, number>();
    newest.set(stream, known.set(contractId, Math.max(known.get(contractId) ?? 0, lastSequence)));
  };
  for (const [stream, { droppedContracts: _, ...state }] of Object.entries(compacted.streams)) {
    infos.set(stream, { ...state, bytes: 0 });
  }
  for (const segment of segments) {
    const info = infos.get(segment.stream);
    if (info) infos.set(segment.stream, { ...info, bytes: info.bytes + segment.bytes, ...erasedWith(info, segment) });
    seen(segment.stream, segment.contractId, segment.firstSequence + segment.rows - 1);
  }
  for (const { commitNo, ranges } of tail) {
    for (const range of ranges) {
      const stream = names.streamOf(range.streamId);
      const known = infos.get(stream) ?? { rows: 0, firstCommit: commitNo, lastCommit: commitNo, bytes: 0 };
      infos.set(stream, { ...known, rows: range.firstSequence + range.rows, lastCommit: commitNo });
      if (range.rows > 0) seen(stream, range.contractId, range.firstSequence + range.rows - 1);
    }
  }
  return [...infos].map(([stream, info]) => {
    const byAge = [...(newest.get(stream) ?? [])].sort((a, b) => b[1] - a[1]).map(([contractId]) => contractId);
    const held = byAge.length > 0 ? byAge : (compacted.streams[stream]?.droppedContracts ?? []);
    return { stream, ...info, contracts: held.map((contractId) => names.contractOf(contractId)) };
  });
}

function erasedWith({ erased = 0 }: { readonly erased?: number }, segment: SegmentInfo): { erased?: number } {
  const sum = erased + (segment.erased ?? 0);
  return sum === 0 ? {} : { erased: sum };
}

function foldState(snapshot: Snapshot, view: View): LogState {
  const state = stateOf(snapshot.compacted);
  for (const commit of snapshot.tail) {
    const body = bodyOf(commit, view.sealer);
    for (const [name, cursor] of Object.entries(body.cursors)) state.cursors.set(name, cursor);
    for (const [name, position] of Object.entries(body.readers)) state.readers.set(name, position);
  }
  state.head = snapshot.head;
  return state;
}
