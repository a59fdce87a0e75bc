import type { Database } from "bun:sqlite";
import {
  closeSync,
  existsSync,
  fdatasyncSync,
  fstatSync,
  fsyncSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  renameSync,
  rmSync,
  statSync,
  unlinkSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import type { Sealer } from "./catalogue.ts";
import { closeWithoutMoving, databasePath, segmentsPath, waitingAtMost } from "./database.ts";
import { bytesOf } from "./file_size.ts";
import { syncDirectory } from "./segment_write.ts";
import {
  afterMove,
  type Base,
  DIGEST_BYTES,
  decodeSums,
  digestOf,
  encodeBase,
  encodeMove,
  isSame,
  MARK_BYTES,
  type MovedFrames,
  PAGE_BYTES,
  sumsPath,
} from "./sums_file.ts";
import { framesIn, isOwnFrame, moveOf } from "./wal_frames.ts";
import { bootOf, laidOver } from "./wal_moved.ts";

/** Pages of log.db at most: of one that is larger than 1 GiB nothing is kept. */
const PAGES_MAX = 262_144;
/** Entries may take so many bytes more than the base before both are written anew as one. */
const ENTRIES_BYTES = 16 << 10;

/** So long opening waits for readers. */
const CUT_WAIT_MS = 50;

export type CheckpointMode = "PASSIVE" | "FULL" | "RESTART" | "TRUNCATE";

/**
 * Whoever has the log open for writing moves its write-ahead log into log.db here and nowhere else: `log.sums` says
 * beforehand, and durably, which pages that changes and into what, and afterwards that it was done. So at any moment, and
 * after any crash, every byte of log.db is known: it is as the file says, or as the last entry says it becomes.
 */
export interface SumsKeeper {
  /** False where a reader holds on to an earlier version: then some of it is moved, or it is not cut. */
  checkpoint(mode: CheckpointMode): boolean;
  /** How many pages in the write-ahead log were not moved yet. */
  waiting(): number;
  /** Takes the file away until the next checkpoint: what it is sealed under is about to go. */
  drop(): void;
  /** Closes the handle. What log.db then is stands in the file, and which segment files no row names. */
  close(): void;
  /** Closes the handle after a failure: nothing is moved. */
  abandon(): void;
}

/** What the functions below share. */
interface Keeping {
  readonly database: Database;
  readonly directory: string;
  readonly sealer: Sealer;
  /** Digests of the pages of log.db, once every checkpoint that was begun is done. */
  parts: Uint8Array | undefined;
  /** Of the write-ahead log, as far as it was moved and still stands there. */
  frames: readonly MovedFrames[];
  /** The first place in the write-ahead log from which that is no longer so, until the next checkpoint says it. */
  tornFrom: number | undefined;
  /** A checkpoint was begun and not all was moved. */
  moving: boolean;
  file: SumsFile | undefined;
  /** Never closed before the database is: closing any handle of log.db takes the locks of SQLite in this process with it. */
  log: number | undefined;
}

interface SumsFile {
  readonly handle: number;
  readonly base: Uint8Array;
  readonly baseBytes: number;
  end: number;
  entries: number;
  /** What the last entry is given once it came true. */
  mark: Uint8Array | undefined;
}

/**
 * To be called with the lock held, before anything is moved. `walBytes` is what the write-ahead log had before this process
 * opened it: where a kill left none, another program may have moved it, so that log.db is read through once.
 */
export function keepSums(database: Database, directory: string, sealer: Sealer, walBytes: number): SumsKeeper {
  const keeping: Keeping = {
    database,
    directory,
    sealer,
    parts: undefined,
    frames: [],
    tornFrom: undefined,
    moving: false,
    file: undefined,
    log: undefined,
  };
  keeping.parts = knownParts(keeping, walBytes);
  if (keeping.parts) writeBase(keeping, true);
  else dropFile(keeping);
  if (walBytes > 0 || !keeping.parts) cutLog(keeping);
  return {
    checkpoint: (mode) => checkpoint(keeping, mode),
    waiting() {
      const { log, checkpointed } = stateOfLog(database);
      return log - checkpointed;
    },
    drop: () => dropFile(keeping),
    close: () => closeWithBase(keeping),
    abandon() {
      closeFile(keeping);
      closeWithoutMoving(database);
      closeLog(keeping);
    },
  };
}

export const walBytesOf = (directory: string): number => bytesOf(`${databasePath(directory)}-wal`);

/** What the file says, where that is so: nothing else may have been done to log.db since. */
function knownParts(keeping: Keeping, walBytes: number): Uint8Array | undefined {
  const { directory, sealer } = keeping;
  const path = sumsPath(directory);
  if (!existsSync(path)) return undefined;
  const read = decodeSums(readFileSync(path), sealer);
  if (!read || read.rest || read.badMark || read.moving.size > 0 || read.base.partBytes !== PAGE_BYTES)
    return undefined;
  if (read.bytes !== statSync(databasePath(directory)).size) return undefined;
  if (read.base.open && walBytes === 0 && !isSame(partsOfLog(keeping), read.parts)) return undefined;
  return read.parts;
}

interface LogState {
  readonly busy: number;
  /** Frames in the write-ahead log, and how many of them were moved. */
  readonly log: number;
  readonly checkpointed: number;
}

const stateOfLog = (database: Database, mode: CheckpointMode | "NOOP" = "NOOP"): LogState =>
  database.query<LogState, []>(`PRAGMA wal_checkpoint(${mode})`).get()!;

function checkpoint(keeping: Keeping, mode: CheckpointMode): boolean {
  const { database } = keeping;
  const before = stateOfLog(database);
  const moves = before.log > before.checkpointed;
  if (moves) beginMove(keeping, before);
  // A transaction that failed, on a full disk say, wrote over what stood behind the end of the log.
  if (isOwnFrame(keeping.directory, before.log)) keeping.tornFrom = before.log;
  const after = stateOfLog(database, mode);
  if (after.log < 0 || after.log !== after.checkpointed) return false;
  keeping.moving = false;
  if (keeping.file) endMove(keeping, keeping.file);
  if (keeping.tornFrom !== undefined) {
    keeping.frames = laidOver(keeping.frames, keeping.tornFrom);
    keeping.tornFrom = undefined;
    dropFile(keeping); // made anew below
  }
  if (keeping.file === undefined || keeping.file.end > 2 * keeping.file.baseBytes + ENTRIES_BYTES) {
    keeping.parts ??= partsOfLog(keeping);
    writeBase(keeping, true);
  }
  return after.busy === 0;
}

/** Behind what a crash left of the write-ahead log may stand what a power cut tore: it goes, where no reader holds on. */
function cutLog(keeping: Keeping): void {
  try {
    waitingAtMost(keeping.database, CUT_WAIT_MS, () => checkpoint(keeping, "TRUNCATE"));
  } catch (cause) {
    if (!isRefusal(cause)) throw cause; // a full disk, say: all is read from where it is
  }
}

/** Says what a checkpoint will do. Where that can't be written, nothing is said of log.db meanwhile. */
function beginMove(keeping: Keeping, { log, checkpointed }: LogState): void {
  const { directory, sealer, file, parts } = keeping;
  keeping.moving = true;
  if (!parts) return;
  const move = moveOf(directory, checkpointed, log);
  if (!move || move.bytes / PAGE_BYTES > PAGES_MAX) {
    keeping.parts = undefined;
    dropFile(keeping);
    return;
  }
  keeping.parts = afterMove(parts, move);
  keeping.frames = [...keeping.frames, move.frames];
  if (!file) return;
  const { entry, mark } = encodeMove(move, sealer, file.base, file.entries);
  try {
    writeAll(file.handle, entry, file.end);
    fdatasyncSync(file.handle);
    file.end += entry.length;
    file.entries++;
    file.mark = mark;
  } catch (cause) {
    if (!isRefusal(cause)) throw cause;
    dropFile(keeping); // a full disk, say: then room is what the checkpoint may make
  }
}

/** All was moved and synced. That need not be known after a power cut: then the pages are as before or as they became. */
function endMove(keeping: Keeping, file: SumsFile): void {
  const { handle, mark, end } = file;
  if (!mark) return;
  try {
    writeAll(handle, mark, end - MARK_BYTES);
    file.mark = undefined;
  } catch (cause) {
    if (!isRefusal(cause)) throw cause;
    dropFile(keeping);
  }
}

/** Puts a file with what is known now in the place of the one that is kept. Where there is no room, that one stays, or none. */
function writeBase(keeping: Keeping, open: boolean, loose: Base["loose"] = new Map()): void {
  const { directory, sealer, parts } = keeping;
  if (!parts) return;
  keeping.frames = laidOver(keeping.frames, framesIn(walBytesOf(directory)));
  const { file: bytes, base } = encodeBase(
    {
      bytes: (parts.length / DIGEST_BYTES) * PAGE_BYTES,
      partBytes: PAGE_BYTES,
      parts,
      loose,
      open,
      boot: bootOf(),
      frames: keeping.frames,
    },
    sealer,
  );
  const draft = `${sumsPath(directory)}.tmp`;
  let handle: number | undefined;
  let placed = false;
  try {
    handle = openSync(draft, "w", 0o600);
    writeAll(handle, bytes, 0);
    fsyncSync(handle);
    renameSync(draft, sumsPath(directory));
    placed = true;
    closeFile(keeping); // the one that was there is gone
    keeping.file = { handle, base, baseBytes: bytes.length, end: bytes.length, entries: 0, mark: undefined };
    syncDirectory(directory);
  } catch (cause) {
    if (!isRefusal(cause)) throw cause;
    if (handle !== undefined && !placed) closeSync(handle);
    rmSync(draft, { force: true });
    // A power cut could bring back the one before this; and to one that nobody has open, nothing would be added.
    if (placed || !keeping.file) dropFile(keeping);
  }
}

function dropFile(keeping: Keeping): void {
  const { directory } = keeping;
  closeFile(keeping);
  if (!existsSync(sumsPath(directory))) return;
  unlinkSync(sumsPath(directory));
  syncDirectory(directory);
}

function closeFile(keeping: Keeping): void {
  if (keeping.file) closeSync(keeping.file.handle);
  keeping.file = undefined;
}

function closeWithBase(keeping: Keeping): void {
  const { database, directory } = keeping;
  let named: ReadonlySet<string>;
  try {
    const rows = database.query<{ file: string }, []>("SELECT file FROM segments").all();
    named = new Set(rows.map(({ file }) => file));
    const state = stateOfLog(database);
    if (state.log > state.checkpointed) beginMove(keeping, state); // SQLite moves it when the last handle goes
  } finally {
    database.close();
    closeLog(keeping);
  }
  try {
    if (walBytesOf(directory) > 0) return;
    keeping.parts ??= partsOfLog(keeping);
    writeBase(keeping, false, looseOf(directory, named));
  } finally {
    closeFile(keeping);
    closeLog(keeping);
  }
}

/** Only once the database is closed: see `log` of a Keeping. */
function closeLog(keeping: Keeping): void {
  if (keeping.log !== undefined) closeSync(keeping.log);
  keeping.log = undefined;
}

function looseOf(directory: string, named: ReadonlySet<string>): Base["loose"] {
  const folder = segmentsPath(directory);
  const loose = readdirSync(folder).filter((name) => !named.has(name));
  return new Map(loose.map((name) => [name, digestOf(readFileSync(join(folder, name)))]));
}

/** Reads log.db through, where everything is in it. Undefined where it is too large. */
function partsOfLog(keeping: Keeping): Uint8Array | undefined {
  keeping.log ??= openSync(databasePath(keeping.directory), "r");
  const { size } = fstatSync(keeping.log);
  const pages = Math.ceil(size / PAGE_BYTES);
  if (pages > PAGES_MAX) return undefined;
  const parts = new Uint8Array(pages * DIGEST_BYTES);
  const bytes = new Uint8Array(1 << 20);
  for (let at = 0; at < size; ) {
    const read = readSync(keeping.log, bytes, 0, bytes.length, at);
    if (read < Math.min(bytes.length, size - at)) throw new Error(`log.db is shorter than its ${size} bytes`);
    for (let from = 0; from < read; from += PAGE_BYTES) {
      parts.set(digestOf(bytes.subarray(from, from + PAGE_BYTES)), ((at + from) / PAGE_BYTES) * DIGEST_BYTES);
    }
    at += read;
  }
  return parts;
}

function writeAll(file: number, bytes: Uint8Array, at: number): void {
  for (let done = 0; done < bytes.length; ) done += writeSync(file, bytes, done, bytes.length - done, at + done);
}

const isRefusal = (cause: unknown): boolean => typeof (cause as { code?: unknown }).code === "string";
