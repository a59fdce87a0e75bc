import type { Database, Statement } from "bun:sqlite";
import { fromHex, toHex } from "../base/bytes.ts";
import type { Clock } from "../base/clock.ts";
import { MICROS_PER_SECOND, type Micros } from "../base/time.ts";
import {
  type CommitRow,
  type CompactedState,
  damaged,
  type Names,
  namesOf,
  readState,
  type Sealer,
  type StreamState,
} from "./catalogue.ts";
import { commitQueue, type Queued } from "./commit_queue.ts";
import { storeErrors } from "./errors.ts";
import { FULL, fullDisk, isFull } from "./full.ts";
import type { Head, Receipt } from "./port.ts";
import { type EncodedCommit, encodeRanges, leafOf, type Range } from "./record.ts";
import { type RelaxedCommits, relaxedCommits } from "./relaxed.ts";
import type { SumsKeeper } from "./sums.ts";
import { bodyOf, type TailCommit, tailCommit } from "./tail_index.ts";
import { addLeaf, type Frontier } from "./tree.ts";

/** What a transaction writes beside its records, about. */
const PAGES_BYTES = 8 << 10;
/** A reader opens the files of its snapshot at once; replaced ones stay this long for a slow one. */
const UNLINK_AFTER = 10 * MICROS_PER_SECOND;

/** Everything that the commits add up to so far, in memory. */
export interface LogState {
  head: Head;
  readonly cursors: Map<string, string>;
  readonly readers: Map<string, number>;
  readonly streams: Map<string, StreamState>;
  frontier: Frontier;
  tail: { firstCommit: number; records: number; bytes: number };
}

export interface LogWriter {
  commit(request: EncodedCommit): Promise<Receipt>;
  /**
   * A transaction of its own, at once: `change` to the catalogue, and the commit that records it. Throws
   * store.stale_writer where the head is not commit `head` any more, and store.failed_write as `commit`; then, and on any
   * failure, nothing was changed.
   */
  commitWith(request: EncodedCommit, head: number, change: () => void): Receipt;
  state(): LogState;
  /** About how much was committed since the log was opened: records, and the pages around them. */
  writtenBytes(): number;
  readonly names: Names;
  readonly database: Database;
  readonly sealer: Sealer;
  /** Makes the checkpoints. */
  readonly sums: SumsKeeper;
  readonly now: () => Micros;
  /** The oldest `records` of the tail were moved into segments. */
  compacted(records: number, bytes: number): void;
  /**
   * Segment files that no row names any more: removed when no reader can still be about to open them, those of an erasure
   * when the log is closed at the latest.
   */
  replaced(files: readonly string[], erased?: "erased"): void;
  /** Files that may be removed now. */
  takeReplaced(closing?: "closing"): string[];
  /** Files that no row names any more and that stay for now. */
  keptReplaced(): string[];
  /** Commits wait, those of `commitWith` do not, until the answer is called. */
  hold(): () => void;
  /** Called after each transaction. */
  onCommitted(listener: () => void): void;
  /** Refuses new commits and waits for those queued. */
  drain(): Promise<void>;
}

/** What the writer's functions share. */
interface Writing {
  /** The last transaction failed and the log could not be read since: the state is not to be trusted. */
  stale?: boolean;
  readonly database: Database;
  readonly sealer: Sealer;
  readonly clock: Clock;
  readonly names: Names;
  readonly begin: Statement;
  readonly insert: Statement;
  readonly relaxed: RelaxedCommits;
  writtenBytes: number;
  state: LogState;
}

/** The one writer of a log, over a database that is migrated and identified. Commits what is queued in groups. */
export function logWriter(
  database: Database,
  sealer: Sealer,
  clock: Clock,
  sums: SumsKeeper,
  relaxed = relaxedCommits(database),
): LogWriter {
  const names = namesOf(database, sealer);
  const writing: Writing = {
    database,
    sealer,
    clock,
    names,
    begin: database.query("BEGIN IMMEDIATE"),
    insert: database.query("INSERT INTO commits VALUES (?, ?, ?, ?, ?)"),
    relaxed,
    writtenBytes: 0,
    state: foldLog(database, sealer, names),
  };
  const listeners: (() => void)[] = [];
  let gone: { files: readonly string[]; since: Micros; erased: boolean }[] = [];
  const queue = commitQueue((group) => {
    if (runGroup(writing, group)) for (const listener of listeners) listener();
  });
  return {
    commit: queue.add,
    commitWith(request, head, change) {
      const receipt = runAlone(writing, request, head, change);
      for (const listener of listeners) listener();
      return receipt;
    },
    state: () => writing.state,
    writtenBytes: () => writing.writtenBytes,
    names,
    database,
    sealer,
    sums,
    now: () => Math.round(clock.now()),
    compacted(records, bytes) {
      const { tail } = writing.state;
      const firstCommit = tail.firstCommit + records;
      writing.state.tail = { firstCommit, records: tail.records - records, bytes: tail.bytes - bytes };
    },
    replaced(files, erased) {
      gone.push({ files, since: clock.now(), erased: erased !== undefined });
    },
    takeReplaced(closing) {
      const now = clock.now();
      // A clock that was set back would have them stay until it comes back.
      const isDue = ({ since, erased }: (typeof gone)[number]) =>
        Math.abs(now - since) >= UNLINK_AFTER || (closing !== undefined && erased);
      const due = gone.filter(isDue);
      gone = gone.filter((one) => !isDue(one));
      return due.flatMap(({ files }) => files);
    },
    hold: queue.hold,
    keptReplaced: () => gone.flatMap(({ files }) => files),
    onCommitted: (listener) => listeners.push(listener),
    async drain() {
      await queue.drain();
      relaxed.close();
    },
  };
}

/** One transaction. On a failure nothing of it is kept: every request is told so, and the state is folded again. */
function runGroup(writing: Writing, group: readonly Queued[]): boolean {
  const { database } = writing;
  const done: (() => void)[] = [];
  const transact = () => {
    writing.begin.run();
    for (const { request, resolve, reject } of group) {
      const refusal = checkKey(writing.sealer, request) ?? checkExpected(writing.state, request);
      if (refusal) {
        done.push(() => reject(refusal));
        continue;
      }
      const receipt = applyCommit(writing, request);
      done.push(() => resolve(receipt));
    }
    database.run("COMMIT");
  };
  try {
    writing.relaxed.check();
    if (writing.stale) foldAgain(writing);
    if (group.every(({ request }) => request.relaxed)) writing.relaxed.run(transact);
    else transact();
  } catch (cause) {
    for (const { reject } of group) reject(writeFailure(cause));
    rollBack(writing);
    return false;
  }
  for (const tell of done) tell();
  return true;
}

function runAlone(writing: Writing, request: EncodedCommit, head: number, change: () => void): Receipt {
  const { database, sealer, names } = writing;
  writing.relaxed.check();
  if (writing.stale) foldAgain(writing);
  const found = writing.state.head.commitNo;
  if (found !== head) {
    throw storeErrors.error("stale_writer", `the log stands at commit ${found}, not at ${head}`);
  }
  try {
    writing.begin.run();
    change();
    // What the change did to the catalogue's state is part of what the commit is added to.
    writing.state = foldLog(database, sealer, names);
    const receipt = applyCommit(writing, request);
    database.run("COMMIT");
    return receipt;
  } catch (cause) {
    rollBack(writing);
    throw writeFailure(cause);
  }
}

/** Undoes a transaction that failed. Where the log can't be read either, the next one looks again. */
function rollBack(writing: Writing): void {
  try {
    if (writing.database.inTransaction) writing.database.run("ROLLBACK");
    foldAgain(writing);
  } catch {
    writing.stale = true;
  }
}

function foldAgain(writing: Writing): void {
  const { database, sealer, names } = writing;
  writing.stale = true;
  names.reset();
  writing.state = foldLog(database, sealer, names);
  writing.stale = false;
}

/** Numbers one commit, writes its row, and folds it into the state. */
function applyCommit(writing: Writing, request: EncodedCommit): Receipt {
  const { state, names, clock, insert } = writing;
  const commitNo = state.head.commitNo + 1;
  const knownTime = Math.max(Math.round(clock.now()), state.head.knownTime + 1);
  const firstSequence: Record<string, number> = {};
  const ranges: Range[] = [];
  const stated = request.appends.map((append) => {
    const known = state.streams.get(append.stream);
    const first = known?.rows ?? 0;
    const streamId = names.streamIdOf(append.stream) ?? names.addStream(append.stream);
    firstSequence[append.stream] ??= first;
    ranges.push({ streamId, contractId: contractIdOf(names, append), firstSequence: first, rows: append.rows });
    const firstCommit = known?.firstCommit ?? commitNo;
    state.streams.set(append.stream, { ...known, rows: first + append.rows, firstCommit, lastCommit: commitNo });
    return { ...append, firstSequence: first };
  });
  const leaf = leafOf({ commitNo, knownTime, appends: stated });
  insert.run(commitNo, knownTime, encodeRanges(ranges), leaf, request.record);
  writing.writtenBytes += request.record.length + PAGES_BYTES;
  state.frontier = addLeaf(state.frontier, commitNo - 1, leaf);
  for (const [name, cursor] of Object.entries(request.cursors)) state.cursors.set(name, cursor);
  for (const [name, position] of Object.entries(request.readers)) state.readers.set(name, position);
  state.head = { commitNo, knownTime };
  state.tail = {
    firstCommit: state.tail.records === 0 ? commitNo : state.tail.firstCommit,
    records: state.tail.records + 1,
    bytes: state.tail.bytes + request.record.length,
  };
  return { commitNo, knownTime, firstSequence };
}

/** Once a rotation began, nothing more is sealed under the key before: whoever sealed it does so again. */
function checkKey({ keyring }: Sealer, { record }: EncodedCommit): Error | undefined {
  if (record[0] === keyring.currentKeyId) return undefined;
  return storeErrors.error("rekeyed", "the commit is sealed under a key that is retired");
}

function checkExpected(state: LogState, { expect }: EncodedCommit): Error | undefined {
  for (const [name, position] of Object.entries(expect.readers ?? {})) {
    const actual = state.readers.get(name) ?? 0;
    if (actual !== position) {
      return storeErrors.error("stale_writer", `reader ${name} stands at ${actual}, not at ${position}`);
    }
  }
  for (const [name, cursor] of Object.entries(expect.cursors ?? {})) {
    if ((state.cursors.get(name) ?? "") !== cursor) {
      return storeErrors.error("stale_writer", `source ${name} has moved on from the expected cursor`);
    }
  }
  return undefined;
}

function contractIdOf(names: Names, append: EncodedCommit["appends"][number]): number {
  const known = names.contractIdOf(append.fingerprint);
  if (known !== undefined) return known;
  if (append.schema === undefined) throw new Error(`invariant broken: no schema came with a new contract`);
  return names.addContract(append.fingerprint, append.schema);
}

/** What is told of a write that failed: store.full, store.failed_write, or the cause where it is something else. */
export function writeFailure(cause: unknown, what = "the commit"): unknown {
  const code = (cause as { code?: string } | null)?.code ?? "";
  if (code === FULL) return cause;
  if (isFull(cause)) return fullDisk(cause);
  if (!/^(SQLITE_(IOERR|READONLY|CANTOPEN|BUSY)|EIO$|EROFS$|EACCES$)/.test(code)) return cause;
  return storeErrors.error("failed_write", `${what} could not be written (${code})`, { cause });
}

/** The state of the log: what the catalogue holds, and the tail folded onto it. */
function foldLog(database: Database, sealer: Sealer, names: Names): LogState {
  const base = readState(database, sealer);
  const state = stateOf(base);
  const rows = database.query<CommitRow, [number]>("SELECT * FROM commits WHERE commit_no > ? ORDER BY commit_no");
  for (const row of rows.iterate(base.lastCommit)) foldRow(state, tailCommit(row), sealer, names);
  return state;
}

export function stateOf(base: CompactedState): LogState {
  return {
    head: { commitNo: base.lastCommit, knownTime: base.lastKnownTime },
    cursors: new Map(Object.entries(base.cursors)),
    readers: new Map(Object.entries(base.readers)),
    streams: new Map(Object.entries(base.streams)),
    frontier: base.frontier.map(fromHex),
    tail: { firstCommit: base.lastCommit + 1, records: 0, bytes: 0 },
  };
}

/** What a state says of the commits it was folded from, for the catalogue. */
export function compactedOf(state: LogState): Omit<CompactedState, "generation" | "segments"> {
  return {
    lastCommit: state.head.commitNo,
    lastKnownTime: state.head.knownTime,
    cursors: Object.fromEntries(state.cursors),
    readers: Object.fromEntries(state.readers),
    streams: Object.fromEntries(state.streams),
    frontier: state.frontier.map(toHex),
  };
}

/** Adds the next commit of the tail to the state. Throws store.damaged where it is not the next or does not open. */
export function foldRow(state: LogState, commit: TailCommit, sealer: Sealer, names: Names): void {
  const { commitNo, knownTime, leaf, ranges, sealed } = commit;
  if (commitNo !== state.head.commitNo + 1) throw damaged(`commit ${state.head.commitNo + 1}`);
  const body = bodyOf(commit, sealer);
  for (const range of ranges) {
    const stream = names.streamOf(range.streamId);
    const known = state.streams.get(stream);
    if ((known?.rows ?? 0) !== range.firstSequence) throw damaged(`commit ${commitNo}`);
    state.streams.set(stream, {
      ...known,
      rows: range.firstSequence + range.rows,
      firstCommit: known?.firstCommit ?? commitNo,
      lastCommit: commitNo,
    });
  }
  for (const [name, cursor] of Object.entries(body.cursors)) state.cursors.set(name, cursor);
  for (const [name, position] of Object.entries(body.readers)) state.readers.set(name, position);
  state.frontier = addLeaf(state.frontier, commitNo - 1, leaf);
  state.head = { commitNo, knownTime };
  state.tail = {
    firstCommit: state.tail.firstCommit,
    records: state.tail.records + 1,
    bytes: state.tail.bytes + sealed.length,
  };
}
