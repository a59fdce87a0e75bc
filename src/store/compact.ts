import { readdirSync, unlinkSync } from "node:fs";
import { join } from "node:path";
import type { Random } from "../base/random.ts";
import { type Batch, batchOf, concatBatches, joinNumbers } from "../contract/batch.ts";
import type { CommitRow } from "./catalogue.ts";
import { readState, type Sealer, writeState } from "./catalogue.ts";
import { segmentsPath } from "./database.ts";
import { bySequence } from "./segment_files.ts";
import { insertSegmentInfo, readSegmentInfos, type SegmentInfo } from "./segment_info.ts";
import { openSegment } from "./segment_read.ts";
import { type CommitSpan, type SegmentRows, type SegmentTarget, syncDirectory, writeSegment } from "./segment_write.ts";
import { compactedOf, foldRow, type LogWriter, stateOf } from "./sqlite_log.ts";
import { STATEMENTS, type StatedCommit, statementContract, statementRows } from "./statements.ts";
import { bodyOf, rowsOfAppend, type TailCommit, tailCommit } from "./tail_index.ts";

/** The tail is compacted at this many records or bytes. */
export const COMPACT_RECORDS = 256;
export const COMPACT_BYTES = 4 << 20;
/** Packed bytes of rows in one segment, about: far below the 64 MB that a file may have. */
const SEGMENT_BYTES = 24 << 20;
/** This many neighbouring segments of a level become one of the next. */
const MERGE_COUNT = 8;
const MERGE_ROWS = 1 << 19;
const MERGE_BYTES = 48 << 20;

export interface Compactor {
  /** Compacts the tail as it stands, then merges; one at a time. Commits go on meanwhile. */
  compact(): Promise<void>;
  /** Starts a compaction where the tail is over its bounds. */
  maybe(): void;
  /** Resolves when none is running. */
  idle(): Promise<void>;
}

/** The compactor of an open log, in the thread that writes. */
export function compactor(log: LogWriter, directory: string, random: Random): Compactor {
  const pause = () => new Promise<void>((resolve) => setImmediate(resolve));
  const target: SegmentTarget = { directory, sealer: log.sealer, random, pause };
  let running: Promise<void> | undefined;
  let triesFrom = 0; // records of the tail from which the next try after a failure is worth it
  const run = async () => {
    for (const file of log.takeReplaced()) unlinkSync(join(segmentsPath(directory), file));
    await compactTail(log, target);
    await mergeSegments(log, target);
  };
  const start = (): Promise<void> => {
    running ??= run().finally(() => {
      running = undefined;
    });
    return running;
  };
  return {
    async compact() {
      await running?.catch(() => {});
      await start();
    },
    maybe() {
      const { tail } = log.state();
      if (tail.records < triesFrom || (tail.records < COMPACT_RECORDS && tail.bytes < COMPACT_BYTES)) return;
      // A failure (a full disk) leaves the tail as it was: commits go on, and it is tried again when the tail has grown.
      start().then(
        () => {
          triesFrom = 0;
        },
        () => {
          triesFrom = log.state().tail.records + COMPACT_RECORDS;
        },
      );
    },
    async idle() {
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

async function compactTail(log: LogWriter, target: SegmentTarget): Promise<void> {
  const rows = log.database.query<CommitRow, []>("SELECT * FROM commits ORDER BY commit_no").all();
  if (rows.length === 0) return;
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
    const added = written.map((info, i) => ({ ...info, segmentId: nextSegmentId(base.segments) + i }));
    for (const info of added) insertSegmentInfo(database, sealer, info);
    const segments = [...base.segments, ...added.map((info) => info.segmentId)];
    writeState(database, sealer, { ...compactedOf(state), segments, generation: base.generation + 1 });
    database.run("DELETE FROM commits WHERE commit_no <= ?", [rows.at(-1)!.commit_no]);
  })();
  log.compacted(
    rows.length,
    rows.reduce((sum, row) => sum + row.record.length, 0),
  );
}

const nextSegmentId = (segments: readonly number[]) => Math.max(0, ...segments) + 1;

/** Merges runs of small neighbours, so that an as-of read opens few segments. */
async function mergeSegments(log: LogWriter, target: SegmentTarget): Promise<void> {
  for (;;) {
    const run = mergeable(readSegmentInfos(log.database, log.sealer));
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
      const gone = new Set(run.map((info) => info.segmentId));
      const segmentId = nextSegmentId(state.segments);
      for (const id of gone) database.run("DELETE FROM segments WHERE segment_id = ?", [id]);
      insertSegmentInfo(database, sealer, { ...merged, segmentId });
      const segments = [...state.segments.filter((id) => !gone.has(id)), segmentId];
      writeState(database, sealer, { ...state, segments, generation: state.generation + 1 });
    })();
    log.replaced(run.map((info) => info.file));
  }
}

/** The first MERGE_COUNT neighbours of one stream, contract and level that fit in one segment. */
function mergeable(infos: readonly SegmentInfo[]): SegmentInfo[] | undefined {
  const streams = Map.groupBy(infos, (info) => info.stream);
  for (const list of streams.values()) {
    const inOrder = [...list].sort((a, b) => a.firstSequence - b.firstSequence);
    let run: SegmentInfo[] = [];
    let rows = 0;
    let bytes = 0;
    for (const info of inOrder) {
      const fits =
        run.length > 0 &&
        run[0]!.level === info.level &&
        run[0]!.contractId === info.contractId &&
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

function rowsOfSegment(info: SegmentInfo, log: LogWriter, directory: string): SegmentRows {
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
