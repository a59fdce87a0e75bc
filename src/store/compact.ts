import { readdirSync, unlinkSync } from "node:fs";
import { join } from "node:path";
import type { Random } from "../base/random.ts";
import type { Micros } from "../base/time.ts";
import { othersTurn } from "../base/turn.ts";
import { type Batch, batchOf, concatBatches, joinNumbers } from "../contract/batch.ts";
import type { CommitRow } from "./catalogue.ts";
import { readState, type Sealer, writeState } from "./catalogue.ts";
import { segmentsPath } from "./database.ts";
import { nextSegmentId, replaceSegments } from "./replace.ts";
import { bySequence } from "./segment_files.ts";
import { insertSegmentInfo, readSegmentInfos, type SegmentInfo } from "./segment_info.ts";
import { openSegment } from "./segment_read.ts";
import { type CommitSpan, type SegmentRows, type SegmentTarget, syncDirectory, writeSegment } from "./segment_write.ts";
import { compactedOf, foldRow, type LogWriter, stateOf } from "./sqlite_log.ts";
import { STATEMENTS, type StatedCommit, statementContract, statementRows } from "./statements.ts";
import { bodyOf, rowsOfAppend, type TailCommit, tailCommit } from "./tail_index.ts";

/** The tail is compacted at this many records or bytes. */
const COMPACT_RECORDS = 256;
const COMPACT_BYTES = 4 << 20;
/** So much of the tail is compacted at once, about: a tail that grew while compaction failed takes several turns. */
const COMPACT_AT_ONCE_BYTES = 64 << 20;
const COMPACT_AT_ONCE_RECORDS = 4_096;
/** A compaction that failed is tried again after this long, then twice as long, up to the second. */
const FIRST_RETRY_MS = 1_000;
const LONGEST_RETRY_MS = 60_000;
/** Packed bytes of rows in one segment, about: far below the 64 MB that a file may have. */
const SEGMENT_BYTES = 24 << 20;
/** This many neighbouring segments of a level become one of the next. */
const MERGE_COUNT = 8;
const MERGE_ROWS = 1 << 19;
const MERGE_BYTES = 48 << 20;

export interface Compactor {
  /** Compacts the tail as it stands, then merges; one at a time. Commits go on meanwhile. */
  compact(): Promise<void>;
  /** Compacts, then runs `act` while no compaction does. */
  alone<T>(act: () => Promise<T>): Promise<T>;
  /** Starts a compaction where the tail is over its bounds and none is to be tried again later. */
  maybe(): void;
  /** Waits for the one that is running, and starts no other. */
  close(): Promise<void>;
}

/** A compaction that failed by itself: commits go on, and it is tried again. */
export interface CompactionFailure {
  readonly cause: unknown;
  readonly retryInMs: number;
}

/** The compactor of an open log, in the thread that writes. */
export function compactor(
  log: LogWriter,
  directory: string,
  random: Random,
  failed: (failure: CompactionFailure) => void,
  spanOf: (stream: string) => Micros,
): Compactor {
  const target: SegmentTarget = { directory, sealer: log.sealer, random, pause: othersTurn };
  let running: Promise<void> | undefined;
  let failures = 0; // one after another
  let retry: ReturnType<typeof setTimeout> | undefined;
  let closed = false;
  const run = async () => {
    for (const file of log.takeReplaced()) unlinkSync(join(segmentsPath(directory), file));
    await compactTail(log, target);
    await mergeSegments(log, target, spanOf);
  };
  const start = (): Promise<void> => {
    running ??= run().finally(() => {
      running = undefined;
    });
    return running;
  };
  const maybe = () => {
    const { tail } = log.state();
    if (running || retry || closed || (tail.records < COMPACT_RECORDS && tail.bytes < COMPACT_BYTES)) return;
    start().then(
      () => {
        failures = 0;
      },
      (cause) => {
        // A full disk, say: the tail stays as it was and commits go on.
        const retryInMs = Math.min(LONGEST_RETRY_MS, FIRST_RETRY_MS * 2 ** failures++);
        retry = setTimeout(() => {
          retry = undefined;
          maybe();
        }, retryInMs);
        retry.unref();
        failed({ cause, retryInMs });
      },
    );
  };
  return {
    async compact() {
      await running?.catch(() => {});
      await start();
    },
    async alone(act) {
      while (running) await running.catch(() => {});
      let result: { value: Awaited<ReturnType<typeof act>> } | undefined;
      running = run()
        .then(async () => {
          result = { value: await act() };
        })
        .finally(() => {
          running = undefined;
        });
      await running;
      return result!.value;
    },
    maybe,
    async close() {
      closed = true;
      clearTimeout(retry);
      await running?.catch(() => {});
    },
  };
}

/** Removes files that no catalogue row names: what a crash between writing and recording left. */
export function sweepOrphans(log: LogWriter, directory: string): void {
  const named = new Set(readSegmentInfos(log.database, log.sealer).map((info) => info.file));
  for (const file of readdirSync(segmentsPath(directory))) {
    if (!named.has(file)) unlinkSync(join(segmentsPath(directory), file));
  }
}

/** Moves the commits up to the head as it is now into segments, some at a time. */
async function compactTail(log: LogWriter, target: SegmentTarget): Promise<void> {
  const head = log.state().head.commitNo;
  for (let rows = oldestOfTail(log, head); rows.length > 0; rows = oldestOfTail(log, head)) {
    await compactCommits(log, target, rows);
  }
}

function oldestOfTail(log: LogWriter, upTo: number): CommitRow[] {
  const rows: CommitRow[] = [];
  let bytes = 0;
  const oldest = log.database.query<CommitRow, [number]>(
    "SELECT * FROM commits WHERE commit_no <= ? ORDER BY commit_no",
  );
  for (const row of oldest.iterate(upTo)) {
    rows.push(row);
    bytes += row.record.length;
    if (bytes >= COMPACT_AT_ONCE_BYTES || rows.length >= COMPACT_AT_ONCE_RECORDS) break;
  }
  return rows;
}

async function compactCommits(log: LogWriter, target: SegmentTarget, rows: readonly CommitRow[]): Promise<void> {
  const commits = rows.map(tailCommit);
  const groups = new Grouping();
  for (const commit of commits) {
    for (let index = 0; index < commit.ranges.length; index++) {
      if (commit.ranges[index]!.rows > 0) groups.add(commit, index, log);
    }
    commit.body = undefined;
    await target.pause();
  }
  const written: Omit<SegmentInfo, "segmentId">[] = [];
  for (const group of groups.finish()) written.push(await writeSegment(joinGroup(group), 0, target));
  written.push(await writeSegment(statementSegment(commits, log), 0, target));
  syncDirectory(segmentsPath(target.directory));
  recordCompaction(log, rows, written);
}

interface Group {
  readonly stream: string;
  readonly contractId: number;
  readonly batches: Batch[];
  readonly sequences: Float64Array[];
  readonly tombstones: Uint8Array[];
  readonly commits: CommitSpan[];
  bytes: number;
}

/** Rows by stream and contract, cut before they grow beyond one segment. */
class Grouping {
  readonly #open = new Map<number, Group>();
  readonly #done: Group[] = [];

  add(commit: TailCommit, index: number, log: LogWriter): void {
    const range = commit.ranges[index]!;
    const stored = rowsOfAppend(commit, index, log.sealer, log.names);
    const bytes = bodyOf(commit, log.sealer).appends[index]!.batch.length;
    let group = this.#open.get(range.streamId);
    if (group && (group.contractId !== range.contractId || group.bytes + bytes > SEGMENT_BYTES)) {
      this.#done.push(group);
      group = undefined;
    }
    if (!group) {
      const { stream } = stored;
      group = {
        stream,
        contractId: range.contractId,
        batches: [],
        sequences: [],
        tombstones: [],
        commits: [],
        bytes: 0,
      };
      this.#open.set(range.streamId, group);
    }
    group.batches.push(stored.batch);
    group.sequences.push(stored.sequences);
    group.tombstones.push(stored.tombstones);
    const { commitNo, knownTime } = commit;
    if (group.commits.at(-1)?.commitNo !== commitNo) {
      group.commits.push({ commitNo, knownTime, firstSequence: range.firstSequence });
    }
    group.bytes += bytes;
  }

  finish(): Group[] {
    return [...this.#done, ...this.#open.values()];
  }
}

function joinGroup(group: Group): SegmentRows {
  const { stream, contractId, commits } = group;
  return {
    stream,
    contractId,
    commits,
    batch: concatBatches(group.batches),
    sequences: joinNumbers(group.sequences),
    tombstones: Uint8Array.from(Buffer.concat(group.tombstones)),
  };
}

/** What the commits stated, as rows of the statements stream. */
function statementSegment(commits: readonly TailCommit[], log: LogWriter): SegmentRows {
  const infos = readSegmentInfos(log.database, log.sealer).filter((info) => info.stream === STATEMENTS);
  let next = infos.reduce((end, info) => Math.max(end, info.firstSequence + info.rows), 0);
  const spans: CommitSpan[] = [];
  const stated = commits.map((commit) => {
    const { commitNo, knownTime } = commit;
    spans.push({ commitNo, knownTime, firstSequence: next });
    next += Math.max(1, commit.ranges.length);
    return statedCommit(commit, log.sealer, log.names);
  });
  const batch = batchOf(statementContract, statementRows(stated));
  const { fingerprint, schema } = statementContract;
  const contractId = log.names.contractIdOf(fingerprint) ?? log.names.addContract(fingerprint, JSON.stringify(schema));
  const first = spans[0]!.firstSequence;
  return {
    stream: STATEMENTS,
    contractId,
    commits: spans,
    batch,
    sequences: Float64Array.from({ length: batch.length }, (_, i) => first + i),
    tombstones: new Uint8Array(batch.length),
  };
}

/** What a commit of the tail stated in the audit tree. */
export function statedCommit(commit: TailCommit, sealer: Sealer, names: LogWriter["names"]): StatedCommit {
  const { appends } = bodyOf(commit, sealer);
  return {
    commitNo: commit.commitNo,
    knownTime: commit.knownTime,
    appends: commit.ranges.map((range, index) => ({
      stream: names.streamOf(range.streamId),
      fingerprint: names.contractOf(range.contractId).fingerprint,
      firstSequence: range.firstSequence,
      rows: range.rows,
      root: appends[index]!.root,
      salt: appends[index]!.salt,
    })),
  };
}

/** One transaction: the segments are there, their records are gone, the state is what both add up to. */
function recordCompaction(
  log: LogWriter,
  rows: readonly CommitRow[],
  written: readonly Omit<SegmentInfo, "segmentId">[],
): void {
  const { database, sealer, names } = log;
  database.transaction(() => {
    const base = readState(database, sealer);
    const state = stateOf(base);
    for (const row of rows) foldRow(state, row, sealer, names);
    const added = written.map((info, i) => ({ ...info, segmentId: nextSegmentId(base) + i }));
    for (const info of added) insertSegmentInfo(database, sealer, info);
    const segments = [...base.segments, ...added.map((info) => info.segmentId)];
    writeState(database, sealer, { ...base, ...compactedOf(state), segments, generation: base.generation + 1 });
    database.run("DELETE FROM commits WHERE commit_no <= ?", [rows.at(-1)!.commit_no]);
  })();
  log.compacted(
    rows.length,
    rows.reduce((sum, row) => sum + row.record.length, 0),
  );
}

/** How much known time a merged segment of a stream may cover, so that retention can drop it in time. */
type SpanOf = (stream: string) => Micros;

/** Merges runs of small neighbours, so that an as-of read opens few segments. */
async function mergeSegments(log: LogWriter, target: SegmentTarget, spanOf: SpanOf): Promise<void> {
  for (;;) {
    const run = mergeable(readSegmentInfos(log.database, log.sealer), spanOf);
    if (!run) return;
    const rows: SegmentRows[] = [];
    for (const info of run) {
      rows.push(rowsOfSegment(info, log, target.directory));
      await target.pause();
    }
    const merged = await writeSegment(joinSegments(rows), run[0]!.level + 1, target);
    syncDirectory(segmentsPath(target.directory));
    const { database, sealer } = log;
    database.transaction(() => {
      const state = readState(database, sealer);
      writeState(database, sealer, replaceSegments(database, sealer, state, run, [merged]));
    })();
    log.replaced(run.map((info) => info.file));
  }
}

/** The first MERGE_COUNT neighbours of one stream, contract and level that fit in one segment. */
function mergeable(infos: readonly SegmentInfo[], spanOf: SpanOf): SegmentInfo[] | undefined {
  const streams = Map.groupBy(infos, (info) => info.stream);
  for (const [stream, list] of streams) {
    const span = spanOf(stream);
    const inOrder = [...list].sort((a, b) => a.firstSequence - b.firstSequence);
    let run: SegmentInfo[] = [];
    let rows = 0;
    let bytes = 0;
    for (const info of inOrder) {
      const fits =
        run.length > 0 &&
        run[0]!.level === info.level &&
        run[0]!.contractId === info.contractId &&
        info.lastKnownTime - run[0]!.firstKnownTime <= span &&
        rows + info.rows <= MERGE_ROWS &&
        bytes + info.bytes <= MERGE_BYTES;
      if (!fits) {
        run = [];
        rows = 0;
        bytes = 0;
      }
      run.push(info);
      rows += info.rows;
      bytes += info.bytes;
      if (run.length === MERGE_COUNT) return run;
    }
  }
  return undefined;
}

export function rowsOfSegment(info: SegmentInfo, log: LogWriter, directory: string): SegmentRows {
  const file = openSegment(directory, info, log.sealer, log.names);
  try {
    const { batch, sequences, tombstones } = bySequence(file);
    const { footer } = file;
    const commits = Array.from(footer.commitNos, (commitNo, i) => ({
      commitNo,
      knownTime: footer.knownTimes[i]!,
      firstSequence: footer.firstSequences[i]!,
    }));
    return { stream: info.stream, contractId: info.contractId, batch, sequences, tombstones, commits };
  } finally {
    file.close();
  }
}

function joinSegments(parts: readonly SegmentRows[]): SegmentRows {
  return {
    stream: parts[0]!.stream,
    contractId: parts[0]!.contractId,
    batch: concatBatches(parts.map((part) => part.batch)),
    sequences: joinNumbers(parts.map((part) => part.sequences)),
    tombstones: Uint8Array.from(Buffer.concat(parts.map((part) => part.tombstones))),
    commits: parts.flatMap((part) => part.commits),
  };
}
