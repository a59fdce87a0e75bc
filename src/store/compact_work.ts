import type { Database } from "bun:sqlite";
import { concatBytes } from "../base/bytes.ts";
import type { Random } from "../base/random.ts";
import { type Batch, batchOf, type Column, concatBatches, joinNumbers } from "../contract/batch.ts";
import type { CommitRow, CompactedState, Names, Sealer } from "./catalogue.ts";
import { readState } from "./catalogue.ts";
import { mergeable, PARTITION } from "./compact_plan.ts";
import { segmentsPath } from "./database.ts";
import {
  type EmptiedSegments,
  type EmptyWork,
  emptySegments,
  type PuncturedStatements,
  type PunctureWork,
  punctureStatements,
} from "./erase_work.ts";
import type { StoredRows } from "./port.ts";
import { mergedMost, type RetentionPolicy } from "./retention_rules.ts";
import { resealSegment } from "./rotate_segment.ts";
import { bySequence } from "./segment_files.ts";
import { readSegmentInfos, type SegmentInfo } from "./segment_info.ts";
import { openSegment, type SegmentFile } from "./segment_read.ts";
import { type CommitSpan, decodedBytesOf, type SegmentRows, syncDirectory, writeSegment } from "./segment_write.ts";
import { compactedOf, foldRow, stateOf } from "./sqlite_log.ts";
import { STATEMENTS, type StatedCommit, statementContract, statementRows } from "./statements.ts";
import { bodyOf, rowsOfAppend, type TailCommit, tailCommit } from "./tail_index.ts";

/**
 * The long part of compaction: records are opened, rows sorted, files written and fsynced. It changes nothing of the
 * catalogue, so it can be done in any thread, given up at any point, and done again.
 */

/** So much of the tail is compacted at once, about: a tail that grew while compaction failed takes several turns. */
const COMPACT_AT_ONCE_BYTES = 64 << 20;
const COMPACT_AT_ONCE_RECORDS = 4_096;
/** The same of decoded rows. */
const COMPACT_AT_ONCE_MEMORY = 128 << 20;
/** Records that are read from the database at a time. */
const RECORDS_A_READ = 32;

/** What the work needs: a handle to read with, the names and keys, and where files go. */
export interface Workshop {
  readonly directory: string;
  readonly database: Database;
  readonly names: Names;
  readonly sealer: Sealer;
  readonly random: Random;
  /** Awaited between blocks, so that others in this thread have a turn. */
  readonly pause: () => Promise<void>;
}

export type WrittenSegment = Omit<SegmentInfo, "segmentId">;

/** Commits that now stand in files; the catalogue is to say so. */
export interface PackedTail {
  /** Of the state that these commits follow. */
  readonly generation: number;
  /** What that state and the commits add up to. */
  readonly state: Omit<CompactedState, "generation" | "segments">;
  readonly firstCommit: number;
  readonly records: number;
  readonly bytes: number;
  readonly written: readonly WrittenSegment[];
}

/** Neighbouring segments that now stand in one file more; the catalogue is to say so. */
export interface MergedRun {
  readonly gone: readonly SegmentInfo[];
  readonly written: readonly WrittenSegment[];
}

/** Who does the work: this thread, or one of its own. One call at a time. */
export interface Hands {
  /** The oldest commits of the tail, none beyond `upTo`, as segments; undefined where there is none. */
  packTail(upTo: number, statementContractId: number): Promise<PackedTail | undefined>;
  /**
   * The next run that is worth merging, as one segment; undefined where there is none. The files of `without` are left
   * as they are. Throws store.damaged where a segment of the run does not open: then nothing was written.
   */
  mergeNext(policy: RetentionPolicy | undefined, without: readonly string[]): Promise<MergedRun | undefined>;
  /** The long parts of an erasure: see erase_work.ts. */
  empty(work: EmptyWork): Promise<EmptiedSegments>;
  puncture(work: PunctureWork): Promise<PuncturedStatements>;
  /** A segment under its stream's current key: see rotate_segment.ts. */
  reseal(info: SegmentInfo): Promise<SegmentInfo>;
  /** Gives up the call under way, which throws `store.compaction_ended`; so does every later one. Absent where it can't be. */
  abandon?(): void;
  close(): Promise<void>;
}

/** The work in this thread. */
export function handsOf(shop: Workshop): Hands {
  return {
    packTail: (upTo, contractId) => packTail(shop, upTo, contractId),
    mergeNext: (policy, without) => mergeNext(shop, policy, without),
    async empty(work) {
      readSegmentInfos(shop.database, shop.sealer); // the keys of streams are learnt with them
      return emptySegments(shop, work);
    },
    async puncture(work) {
      readSegmentInfos(shop.database, shop.sealer);
      return punctureStatements(shop, work);
    },
    async reseal(info) {
      readSegmentInfos(shop.database, shop.sealer);
      return resealSegment(info, shop, shop.names);
    },
    close: async () => {},
  };
}

async function packTail(shop: Workshop, upTo: number, contractId: number): Promise<PackedTail | undefined> {
  const { database, sealer, names } = shop;
  const base = readState(database, sealer);
  const infos = readSegmentInfos(database, sealer); // the keys of streams are learnt with them
  const state = stateOf(base);
  const grouping = new Grouping(shop);
  const stated: StatedCommit[] = [];
  const query = database.query<CommitRow, [number, number, number]>(
    "SELECT * FROM commits WHERE commit_no > ? AND commit_no <= ? ORDER BY commit_no LIMIT ?",
  );
  const isFull = () =>
    state.tail.bytes >= COMPACT_AT_ONCE_BYTES ||
    state.tail.records >= COMPACT_AT_ONCE_RECORDS ||
    grouping.memory >= COMPACT_AT_ONCE_MEMORY;
  while (state.head.commitNo < upTo && !isFull()) {
    const rows = query.all(state.head.commitNo, upTo, RECORDS_A_READ);
    if (rows.length === 0) break;
    for (const row of rows) {
      if (isFull()) break;
      const commit = tailCommit(row);
      foldRow(state, commit, sealer, names);
      grouping.add(commit);
      stated.push(statedCommit(commit, sealer, names));
      await shop.pause();
    }
  }
  if (stated.length === 0) return undefined;
  const written: WrittenSegment[] = [];
  for (const group of grouping.finish()) written.push(await writeSegment(group(), 0, shop));
  written.push(await writeSegment(statementSegment(stated, contractId, infos), 0, shop));
  syncDirectory(segmentsPath(shop.directory));
  const { records, bytes } = state.tail;
  const firstCommit = base.lastCommit + 1;
  return { generation: base.generation, state: compactedOf(state), firstCommit, records, bytes, written };
}

interface Group {
  readonly stream: string;
  readonly contractId: number;
  readonly batches: Batch[];
  readonly sequences: Float64Array[];
  readonly tombstones: Uint8Array[];
  readonly commits: CommitSpan[];
  rows: number;
  bytes: number;
  memory: number;
}

/** Rows by stream and contract, cut before they grow beyond a partition. */
class Grouping {
  readonly #shop: Workshop;
  readonly #open = new Map<number, Group>();
  readonly #done: Group[] = [];
  /** What all the rows take, about. */
  memory = 0;

  constructor(shop: Workshop) {
    this.#shop = shop;
  }

  add(commit: TailCommit): void {
    commit.ranges.forEach((range, index) => {
      if (range.rows > 0) this.#addAppend(commit, index);
    });
  }

  #addAppend(commit: TailCommit, index: number): void {
    const { sealer, names } = this.#shop;
    const range = commit.ranges[index]!;
    const stored = rowsOfAppend(commit, index, sealer, names);
    const bytes = bodyOf(commit, sealer).appends[index]!.batch.length;
    const memory = decodedBytesOf(stored.batch);
    this.memory += memory;
    let group = this.#open.get(range.streamId);
    if (group && !fits(group, range.contractId, { rows: range.rows, bytes, memory })) {
      this.#done.push(group);
      group = undefined;
    }
    if (!group) {
      group = {
        stream: stored.stream,
        contractId: range.contractId,
        batches: [],
        sequences: [],
        tombstones: [],
        commits: [],
        rows: 0,
        bytes: 0,
        memory: 0,
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
    group.rows += range.rows;
    group.bytes += bytes;
    group.memory += memory;
  }

  /** Each group is joined when its turn comes, and let go after it. */
  finish(): (() => SegmentRows)[] {
    const groups = [...this.#done, ...this.#open.values()];
    this.#open.clear();
    return groups.map((_, i) => () => {
      const group = groups[i]!;
      delete groups[i];
      return joinGroup(group);
    });
  }
}

function fits(group: Group, contractId: number, more: Pick<Group, "rows" | "bytes" | "memory">): boolean {
  return (
    group.contractId === contractId &&
    group.rows + more.rows <= PARTITION.rows &&
    group.bytes + more.bytes <= PARTITION.bytes &&
    group.memory + more.memory <= PARTITION.memory
  );
}

function joinGroup({ stream, contractId, commits, ...group }: Group): SegmentRows {
  return {
    stream,
    contractId,
    commits,
    batch: concatBatches(group.batches),
    sequences: joinNumbers(group.sequences),
    tombstones: concatBytes(group.tombstones),
  };
}

/** What the commits stated, as rows of the statements stream. */
function statementSegment(
  stated: readonly StatedCommit[],
  contractId: number,
  infos: readonly SegmentInfo[],
): SegmentRows {
  const own = infos.filter((info) => info.stream === STATEMENTS);
  let next = own.reduce((end, info) => Math.max(end, info.firstSequence + info.rows), 0);
  const first = next;
  const commits = stated.map(({ commitNo, knownTime, appends }) => {
    const firstSequence = next;
    next += Math.max(1, appends.length);
    return { commitNo, knownTime, firstSequence };
  });
  const batch = batchOf(statementContract, statementRows(stated));
  return {
    stream: STATEMENTS,
    contractId,
    commits,
    batch,
    sequences: Float64Array.from({ length: batch.length }, (_, i) => first + i),
    tombstones: new Uint8Array(batch.length),
  };
}

/** What a commit of the tail stated in the audit tree. */
export function statedCommit(commit: TailCommit, sealer: Sealer, names: Names): StatedCommit {
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

async function mergeNext(
  shop: Workshop,
  policy: RetentionPolicy | undefined,
  without: readonly string[],
): Promise<MergedRun | undefined> {
  const infos = readSegmentInfos(shop.database, shop.sealer);
  const gone = mergeable(infos, (stream) => mergedMost(policy, stream), new Set(without));
  if (!gone) return undefined;
  const level = Math.max(...gone.map((info) => info.level)) + 1;
  const merged = await writeSegment(await joinedRows(gone, shop), level, shop);
  syncDirectory(segmentsPath(shop.directory));
  return { gone, written: [merged] };
}

/**
 * The rows of the segments one after another, each in its own order: equal entities and times follow by sequence. Blocks
 * are joined a column at a time and let go as they are, so that the rows are in memory once, and a column twice.
 */
async function joinedRows(gone: readonly SegmentInfo[], shop: Workshop): Promise<SegmentRows> {
  const blocks: { length: number; columns: (Column | undefined)[]; sequences: Float64Array; tombstones: Uint8Array }[] =
    [];
  const commits: CommitSpan[] = [];
  for (const info of gone) {
    const file = openSegment(shop.directory, info, shop.sealer, shop.names);
    try {
      for (let block = 0; block < file.footer.blockRows.length; block++) {
        const { batch, sequences, tombstones } = file.rows(block);
        blocks.push({ length: batch.length, columns: [...batch.columns], sequences, tombstones });
        await shop.pause();
      }
      for (const span of spansOf(file)) commits.push(span);
    } finally {
      file.close();
    }
  }
  const { stream, contractId } = gone[0]!;
  const contract = shop.names.contractOf(contractId);
  const columns: Column[] = [];
  for (const [c, field] of contract.fields.entries()) {
    const alone = { ...contract, fields: [field] };
    const parts = blocks.map(({ length, columns: own }) => ({ contract: alone, length, columns: [own[c]!] }));
    columns.push(concatBatches(parts).columns[0]!);
    for (const block of blocks) block.columns[c] = undefined;
    await shop.pause();
  }
  return {
    stream,
    contractId,
    batch: { contract, length: blocks.reduce((sum, { length }) => sum + length, 0), columns },
    sequences: joinNumbers(blocks.map(({ sequences }) => sequences)),
    tombstones: concatBytes(blocks.map(({ tombstones }) => tombstones)),
    commits,
  };
}

/** The rows of a segment in order of sequence. */
export function rowsOfSegment(
  info: SegmentInfo,
  { sealer, names }: Pick<Workshop, "sealer" | "names">,
  directory: string,
): SegmentRows {
  const file = openSegment(directory, info, sealer, names);
  try {
    return asWritten(file, bySequence(file));
  } finally {
    file.close();
  }
}

function asWritten(file: SegmentFile, { batch, sequences, tombstones }: StoredRows): SegmentRows {
  const { stream, contractId } = file.info;
  return { stream, contractId, batch, sequences, tombstones, commits: spansOf(file) };
}

const spansOf = ({ footer }: SegmentFile): CommitSpan[] =>
  Array.from(footer.commitNos, (commitNo, i) => ({
    commitNo,
    knownTime: footer.knownTimes[i]!,
    firstSequence: footer.firstSequences[i]!,
  }));
