import type { Database } from "bun:sqlite";
import { othersTurn } from "../base/turn.ts";
import type { Batch } from "../contract/batch.ts";
import { decodeBatch, decodeBatchInTurns } from "../contract/codec.ts";
import {
  boundTo,
  type CommitRow,
  type CompactedState,
  damaged,
  hasNewKeys,
  type Names,
  readGeneration,
  readState,
  type Sealer,
} from "./catalogue.ts";
import { unpackFlags } from "./encode.ts";
import { storeErrors } from "./errors.ts";
import type { Head, StoredRows } from "./port.ts";
import { decodeBody, decodeBodyBeside, decodeRanges, type Range, type RecordBody } from "./record.ts";
import { readStatedInfos, type SegmentInfo } from "./segment_info.ts";

/** A commit of the tail, opened when it is first needed. */
export interface TailCommit {
  readonly commitNo: number;
  readonly knownTime: number;
  readonly ranges: readonly Range[];
  readonly sealed: Uint8Array;
  /** Its leaf in the audit tree, as it was stored. */
  readonly leaf: Uint8Array;
  body?: RecordBody | undefined;
  batches?: (Batch | undefined)[];
}

/** The log as one short read saw it: nothing of it changes afterwards. */
export interface Snapshot {
  readonly head: Head;
  /** The state up to the last compacted commit. */
  readonly compacted: CompactedState;
  readonly segments: readonly SegmentInfo[];
  /** Every later commit, in order. */
  readonly tail: readonly TailCommit[];
}

/** A reader's copy of the segment list and the sealed tail, brought up to date by one short transaction a look. */
export interface TailIndex {
  look(): Snapshot;
}

export function tailIndex(database: Database, sealer: Sealer): TailIndex {
  let last: Snapshot | undefined;
  const newer = database.query<CommitRow, [number]>("SELECT * FROM commits WHERE commit_no > ? ORDER BY commit_no");
  const read = database.transaction((): Snapshot => {
    const generation = readGeneration(database);
    const changed = last === undefined || last.compacted.generation !== generation;
    const compacted = changed ? readState(database, sealer) : last!.compacted;
    const segments = changed ? readStatedInfos(database, sealer, compacted, last?.segments) : last!.segments;
    const kept = last?.tail.filter((commit) => !changed || commit.commitNo > compacted.lastCommit) ?? [];
    const from = kept.at(-1)?.commitNo ?? compacted.lastCommit;
    const rows = newer.all(from);
    if (rows.some(({ record }) => !sealer.keyring.knows(record[0]!)) && hasNewKeys(database, sealer)) throw rekeyed();
    if (!changed && rows.length === 0) return last!;
    const tail = [...kept, ...rows.map(tailCommit)];
    tail.forEach((commit, i) => {
      if (commit.commitNo !== compacted.lastCommit + 1 + i) throw damaged(`commit ${compacted.lastCommit + 1 + i}`);
    });
    const end = tail.at(-1);
    const head = end
      ? { commitNo: end.commitNo, knownTime: end.knownTime }
      : { commitNo: compacted.lastCommit, knownTime: compacted.lastKnownTime };
    return { head, compacted, segments, tail };
  });
  return {
    look() {
      try {
        last = read();
      } catch (cause) {
        throw hasNewKeys(database, sealer) ? rekeyed() : cause;
      }
      return last;
    },
  };
}

const rekeyed = () => storeErrors.error("rekeyed", "the store has new data keys");

export function tailCommit(row: CommitRow): TailCommit {
  return {
    commitNo: row.commit_no,
    knownTime: row.known_time,
    ranges: decodeRanges(row.ranges),
    sealed: row.record,
    leaf: row.leaf,
  };
}

/** The opened record. Throws store.damaged naming the commit. */
export function bodyOf(commit: TailCommit, sealer: Sealer): RecordBody {
  if (commit.body) return commit.body;
  const opened = openedRecord(commit, sealer);
  try {
    return keepBody(commit, decodeBody(opened));
  } catch (cause) {
    throw damaged(`commit ${commit.commitNo}`, cause);
  }
}

function openedRecord({ commitNo, sealed }: TailCommit, sealer: Sealer): Uint8Array {
  const opened = sealer.keyring.open(sealed, boundTo(sealer.storeId, "record"));
  if (!opened) throw damaged(`commit ${commitNo}`);
  return opened;
}

function keepBody(commit: TailCommit, body: RecordBody): RecordBody {
  if (body.appends.length !== commit.ranges.length) throw new RangeError("it has another number of appends");
  commit.body = body;
  return body;
}

/** A record of so many bytes, and an append of so many rows, is opened in turns where `openInTurns` is asked. */
const LARGE_RECORD = 1 << 16;
const LARGE_APPEND = 4_096;

/**
 * Opens the record, and decodes append `index`, so that `rowsOfAppend` finds them done: others have turns, and what can
 * be done beside this thread is. Does nothing where it is little, or done already.
 */
export async function openInTurns(commit: TailCommit, index: number, sealer: Sealer, names: Names): Promise<void> {
  const range = commit.ranges[index]!;
  if (!commit.body && commit.sealed.length >= LARGE_RECORD) {
    const opened = openedRecord(commit, sealer);
    await othersTurn();
    await guarded(commit, async () => keepBody(commit, await decodeBodyBeside(opened)));
    await othersTurn();
  }
  if (range.rows < LARGE_APPEND || commit.batches?.[index]) return;
  const { batch } = bodyOf(commit, sealer).appends[index]!;
  const contract = names.contractOf(range.contractId);
  const decoded = await guarded(commit, () => decodeBatchInTurns(batch, contract));
  commit.batches ??= [];
  commit.batches[index] = decoded;
}

async function guarded<T>({ commitNo }: TailCommit, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (cause) {
    throw damaged(`commit ${commitNo}`, cause);
  }
}

/** The rows of append `index` of the commit. With `columns` only those are decoded. */
export function rowsOfAppend(
  commit: TailCommit,
  index: number,
  sealer: Sealer,
  names: Names,
  columns?: readonly string[],
): StoredRows {
  const range = commit.ranges[index]!;
  const append = bodyOf(commit, sealer).appends[index]!;
  try {
    commit.batches ??= [];
    let batch = commit.batches[index];
    if (!batch) {
      batch = decodeBatch(append.batch, names.contractOf(range.contractId), columns);
      if (columns === undefined) commit.batches[index] = batch;
    }
    if (batch.length !== range.rows) throw new RangeError("the row counts differ");
    const sequences = new Float64Array(range.rows);
    for (let i = 0; i < range.rows; i++) sequences[i] = range.firstSequence + i;
    return {
      stream: names.streamOf(range.streamId),
      batch,
      sequences,
      commitNos: new Float64Array(range.rows).fill(commit.commitNo),
      knownTimes: new Float64Array(range.rows).fill(commit.knownTime),
      tombstones: unpackFlags(append.tombstones, range.rows),
    };
  } catch (cause) {
    throw cause instanceof RangeError ? damaged(`commit ${commit.commitNo}`, cause) : cause;
  }
}
