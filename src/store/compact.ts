import { existsSync, readdirSync } from "node:fs";
import { othersTurn } from "../base/turn.ts";
import { readState, writeState } from "./catalogue.ts";
import type { Hands, MergedRun, PackedTail } from "./compact_work.ts";
import { damagedRows } from "./damage.ts";
import { segmentsPath } from "./database.ts";
import { storeErrors } from "./errors.ts";
import { replaceSegments } from "./replace.ts";
import type { RetentionPolicy } from "./retention_rules.ts";
import { readSegmentInfos } from "./segment_info.ts";
import { removeSegments } from "./segment_write.ts";
import type { LogWriter } from "./sqlite_log.ts";
import { statementContract } from "./statements.ts";
import { noteUpkeep } from "./upkeep.ts";

/** The tail is compacted at this many records or bytes. */
const COMPACT_RECORDS = 256;
const COMPACT_BYTES = 4 << 20;
/** Records of compacted commits that are deleted in one transaction. */
const RECORDS_A_DELETION = 64;
/** A compaction that failed is tried again after this long, then twice as long, up to the second. */
const FIRST_RETRY_MS = 1_000;
const LONGEST_RETRY_MS = 60_000;
/** So long a close waits for the work of the compaction thread under way; then it is given up, and done again later. */
const CLOSE_WAIT_MS = 5_000;

export interface Compactor {
  /** Compacts the tail as it stands, then merges; one at a time. Commits go on meanwhile. */
  compact(): Promise<void>;
  /** Compacts, then runs `act` while no compaction does; `pack` moves the tail as it stands then into segments. */
  alone<T>(act: (pack: () => Promise<void>) => Promise<T>): Promise<T>;
  /** Starts a compaction where the tail is over its bounds and none is to be tried again later. */
  maybe(): void;
  /**
   * Waits for all that was asked for, and for the turn of what nobody asked for; refuses what comes later. Work of another
   * thread that takes longer than 5 s is given up.
   */
  close(): Promise<void>;
}

/** A compaction that failed by itself: commits go on, and it is tried again. */
export interface CompactionFailure {
  readonly cause: unknown;
  /** Undefined where the cause is a damaged segment: it stays as it is, and everything else is done. Told once of each. */
  readonly retryInMs?: number | undefined;
}

/** What the compactor of an open log works with. */
export interface CompactorParts {
  readonly log: LogWriter;
  readonly directory: string;
  /** Who opens, sorts, seals and writes; the catalogue is changed here alone. */
  readonly hands: Hands;
  /** What is kept how long: a merged segment is to be dropped in time. */
  readonly policy: () => RetentionPolicy | undefined;
  readonly failed: (failure: CompactionFailure) => void;
  /** Files that are neither merged nor swept: an erasure is about to put others in their place. */
  readonly spared: () => readonly string[];
  /** Called after each transaction: the write-ahead log is longer. */
  readonly changed: () => void;
}

/** Damaged segments that merging leaves out, by file: kept in memory, so that each start tries them once more. */
type Damaged = Set<string>;

/** The compactor of an open log, in the thread that writes. */
export function compactor(parts: CompactorParts): Compactor {
  const { log, hands, failed } = parts;
  let running: Promise<void> | undefined;
  let failures = 0; // one after another
  let retry: ReturnType<typeof setTimeout> | undefined;
  let closed = false;
  const damaged: Damaged = new Set();
  const start = (act?: () => Promise<void>, asked = true): Promise<void> => {
    running = compactAll(parts, damaged, () => closed, asked)
      .then(act)
      .catch((cause) => {
        const { log, directory, spared } = parts;
        sweepOrphans(log, directory, [...log.keptReplaced(), ...spared()]); // what was written for nothing takes no place
        throw cause;
      })
      .finally(() => {
        running = undefined;
      });
    return running;
  };
  const startAlone = async (act?: () => Promise<void>) => {
    if (closed) throw storeErrors.error("closed", "the store is closed");
    while (running) await running.catch(() => {});
    return start(act);
  };
  const maybe = () => {
    const { tail } = log.state();
    if (running || retry || closed || (tail.records < COMPACT_RECORDS && tail.bytes < COMPACT_BYTES)) return;
    start(undefined, false).then(
      () => {
        failures = 0;
        maybe(); // commits that came meanwhile
      },
      (cause) => {
        if (closed) return; // given up: the next opening does it
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
    compact: () => startAlone(),
    async alone<T>(act: (pack: () => Promise<void>) => Promise<T>) {
      let result: { value: T } | undefined;
      await startAlone(async () => {
        result = { value: await act(() => packAll(parts, () => false)) };
      });
      return result!.value;
    },
    maybe,
    async close() {
      closed = true;
      clearTimeout(retry);
      const giveUp = setTimeout(() => hands.abandon?.(), CLOSE_WAIT_MS);
      while (running) await running.catch(() => {}); // who asked before has had a turn by then
      clearTimeout(giveUp);
      await hands.close();
    },
  };
}

/**
 * Moves the commits up to the head as it is now into segments, some at a time, and merges what is worth it. Where the log is
 * closed meanwhile, only the first, and only if somebody asked for it: of the rest the next opening does more.
 */
async function compactAll(
  parts: CompactorParts,
  damaged: Damaged,
  closing: () => boolean,
  asked: boolean,
): Promise<void> {
  const { log, directory } = parts;
  removeSegments(directory, log.takeReplaced());
  await packAll(parts, () => !asked && closing());
  while (!closing() && (await mergeOnce(parts, damaged)));
}

async function packAll(parts: CompactorParts, closing: () => boolean): Promise<void> {
  const { log, hands } = parts;
  await deleteCompacted(parts);
  const contractId = statementContractId(log);
  const head = log.state().head.commitNo;
  while (!closing()) {
    const packed = await hands.packTail(head, contractId);
    if (!packed) break;
    recordPacked(log, packed);
    await deleteCompacted(parts);
  }
}

/** False where nothing is left to merge. A segment that turns out to be damaged is left out from then on. */
async function mergeOnce(parts: CompactorParts, damaged: Damaged): Promise<boolean> {
  const { log, hands, policy, failed, spared, changed } = parts;
  try {
    const merged = await hands.mergeNext(policy(), [...damaged, ...spared()]);
    if (merged) recordMerged(log, merged);
    changed();
    return merged !== undefined;
  } catch (cause) {
    const rows = damagedRows(cause);
    if (!rows || damaged.has(rows.file)) throw cause;
    damaged.add(rows.file);
    failed({ cause });
    return true;
  }
}

/**
 * Removes files that no catalogue row names, but for `kept`: what a crash between writing and recording left. Where a file
 * that a row names is missing, files and catalogue are not of one time (an older log.db put back, half a copy), and others
 * may be the newer rows: then all stay until the right ones are put back.
 */
export function sweepOrphans(log: LogWriter, directory: string, kept: readonly string[] = []): void {
  const folder = segmentsPath(directory);
  if (!existsSync(folder)) return;
  const named = readSegmentInfos(log.database, log.sealer).map((info) => info.file);
  const there = readdirSync(folder);
  const found = new Set(there);
  if (named.some((file) => !found.has(file))) return;
  const spared = new Set([...named, ...kept]);
  removeSegments(
    directory,
    there.filter((file) => !spared.has(file)),
  );
}

function statementContractId(log: LogWriter): number {
  const { fingerprint, schema } = statementContract;
  return log.names.contractIdOf(fingerprint) ?? log.names.addContract(fingerprint, JSON.stringify(schema));
}

/** One transaction: the segments are there, and the state is what both add up to; the records count no longer. */
function recordPacked(log: LogWriter, packed: PackedTail): void {
  const { database, sealer } = log;
  // Immediate: a transaction that has read can't wait for the right to write, and a reader beside may have it for a moment.
  database
    .transaction(() => {
      const base = readState(database, sealer);
      if (base.generation !== packed.generation) throw changedMeanwhile();
      const { lastCommit } = packed.state;
      const next = replaceSegments(database, sealer, { ...base, ...packed.state }, [], packed.written);
      writeState(database, sealer, next);
      noteUpkeep(log, {
        what: "compact",
        commits: [packed.firstCommit, lastCommit],
        gone: [],
        written: packed.written,
      });
    })
    .immediate();
  log.compacted(packed.records, packed.bytes);
}

const changedMeanwhile = () => storeErrors.error("stale_writer", "the catalogue changed while the log was compacted");

/**
 * The records of compacted commits, some at a time: nobody reads them any more. Their places are not overwritten, which
 * would write each record once more: the next tail does it, and an erasure does it at once.
 */
async function deleteCompacted({ log: { database, sealer }, changed }: CompactorParts): Promise<void> {
  const { lastCommit } = readState(database, sealer);
  const some = database.query(
    "DELETE FROM commits WHERE commit_no IN (SELECT commit_no FROM commits WHERE commit_no <= ? ORDER BY commit_no LIMIT ?)",
  );
  for (;;) {
    database.run("PRAGMA secure_delete = OFF");
    try {
      if (some.run(lastCommit, RECORDS_A_DELETION).changes === 0) return;
    } finally {
      database.run("PRAGMA secure_delete = ON");
    }
    changed();
    await othersTurn();
  }
}

function recordMerged(log: LogWriter, { gone, written }: MergedRun): void {
  const { database, sealer } = log;
  database
    .transaction(() => {
      const state = readState(database, sealer);
      const there = new Set(state.segments);
      if (gone.some(({ segmentId }) => !there.has(segmentId))) throw changedMeanwhile();
      writeState(database, sealer, replaceSegments(database, sealer, state, gone, written));
      const commits = [gone[0]!.firstCommit, gone.at(-1)!.lastCommit] as const;
      noteUpkeep(log, { what: "merge", commits, gone, written });
    })
    .immediate();
  log.replaced(gone.map((info) => info.file));
}
