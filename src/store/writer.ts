import type { Database } from "bun:sqlite";
import { existsSync } from "node:fs";
import { dirname } from "node:path";
import type { Clock } from "../base/clock.ts";
import type { Random } from "../base/random.ts";
import { newDataKey, openKeyring } from "../keys/keyring.ts";
import type { KeyProvider } from "../keys/provider.ts";
import {
  EMPTY_STATE,
  insertSecret,
  insertWrappedKey,
  type PendingErasure,
  readIdentity,
  readState,
  SECRETS,
  type Sealer,
  STORE_FORMAT,
  writeState,
} from "./catalogue.ts";
import { checkpointsOf } from "./checkpoints.ts";
import { type CompactionFailure, compactor, sweepOrphans } from "./compact.ts";
import { type Hands, handsOf } from "./compact_work.ts";
import {
  checkRemains,
  checkWritable,
  closeWithoutMoving,
  databasePath,
  openReaderDatabase,
  openWriterDatabase,
} from "./database.ts";
import { type Erasing, type Erasures, erasingOf, erasures } from "./erase.ts";
import { type FoldKeeper, foldKeeper } from "./folds.ts";
import { isFull } from "./full.ts";
import { takeWriterLock } from "./lock.ts";
import { migrate } from "./migrations.ts";
import { notePending, type Pending } from "./pending.ts";
import type { Receipt } from "./port.ts";
import type { EncodedCommit } from "./record.ts";
import { type RetentionOutcome, retainRows } from "./retain.ts";
import type { RetentionPolicy } from "./retention_rules.ts";
import { type Rotations, rotations } from "./rotate.ts";
import { type Scrubbing, scrub, scrubbing } from "./scrub.ts";
import { type Keys, openSealer, providerOf } from "./sealer.ts";
import { readStatedInfos } from "./segment_info.ts";
import { removeSegments, syncDirectory } from "./segment_write.ts";
import type { SpaceReport, SpaceSettings } from "./space.ts";
import { removeBallast } from "./space_ballast.ts";
import { type SpaceWatch, watchSpace } from "./space_watch.ts";
import { type LogWriter, logWriter, writeFailure } from "./sqlite_log.ts";
import { type CheckpointMode, keepSums, type SumsKeeper, walBytesOf } from "./sums.ts";

interface WriterOptions {
  /** Watch the free space. */
  readonly space?: SpaceSettings | undefined;
  /** Who does the long part of compaction; by default this thread. */
  readonly makeHands?: ((keys: () => Keys) => Hands) | undefined;
}

export interface OpenWriter extends Rotations {
  readonly log: LogWriter;
  readonly folds: FoldKeeper;
  /** Throws store.full where the disk has no room for it. */
  commit(request: EncodedCommit): Promise<Receipt>;
  /** Told of each look at the free space; at once of the last. */
  onSpace(listener: (report: SpaceReport) => void): void;
  /** Moves the write-ahead log into log.db now; it makes those by itself. False where a reader is in the way. */
  checkpoint(mode: CheckpointMode): boolean;
  /** Moves the tail into segments now. */
  compact(): Promise<void>;
  readonly erasures: Omit<Erasures, "spared" | "close">;
  /** Drops what the policy no longer keeps: see retain.ts. Merging goes by the last policy from then on. */
  retain(policy: RetentionPolicy): Promise<RetentionOutcome>;
  onCompactionFailed(listener: (failure: CompactionFailure) => void): void;
  /** As of `PendingWork`. */
  pend(erasure: PendingErasure, what: Pending): Promise<void>;
  interrupt(): void;
  close(): Promise<void>;
}

/**
 * Opens the directory for writing, making the store where there is none; on a full disk the ballast goes for it. Throws
 * store.locked, store.newer_format, store.failed_write, keys.missing_key or keys.wrong_key, each before anything is changed,
 * and store.full.
 */
export async function openWriter(
  directory: string,
  keys: Keys,
  clock: Clock,
  random: Random,
  options: WriterOptions = {},
): Promise<OpenWriter> {
  const open = () => openOnce(directory, keys, clock, random, options);
  return open()
    .catch((cause) => (isFull(cause) && removeBallast(directory) ? open() : Promise.reject(cause)))
    .catch((cause) => Promise.reject(isFull(cause) ? writeFailure(cause) : cause));
}

async function openOnce(
  directory: string,
  keys: Keys,
  clock: Clock,
  random: Random,
  { space, makeHands }: WriterOptions,
): Promise<OpenWriter> {
  await checkFirst(directory, keys, random);
  const database = openWriterDatabase(directory);
  let release: (() => void) | undefined;
  let giveUp = () => closeWithoutMoving(database);
  try {
    release = takeWriterLock(directory);
    const left = walBytesOf(directory);
    const sealer = await madeStore(database, directory, keys, random);
    const keeper = keepSums(database, directory, sealer, left);
    giveUp = keeper.abandon;
    const log = logWriter(database, sealer, clock, keeper);
    const folds = await finishCutOff(log, directory);
    const erasing = erasingOf(log, folds, directory, random);
    const listeners: ((failure: CompactionFailure) => void)[] = [];
    let watch: SpaceWatch | undefined;
    let policy: RetentionPolicy | undefined;
    const failed = (failure: CompactionFailure) => {
      watch?.failed(failure.cause);
      for (const listener of listeners) listener(failure);
    };
    const { changed, close: endCheckpoints } = checkpointsOf(keeper, log.writtenBytes);
    const held = { keys };
    const hands = makeHands?.(() => held.keys) ?? handsOf({ ...erasing.target, database, names: log.names });
    const spared = () => erases.spared();
    const compacts = compactor({ log, directory, hands, policy: () => policy, failed, spared, changed });
    const scrubs = scrubbing(log, directory, compacts.alone);
    const erases = erasures(erasing, hands, compacts.alone, scrubs);
    watch = space && watchSpace(log, directory, space, clock, random);
    log.onCommitted(compacts.maybe);
    const begin = makeHands && setTimeout(compacts.maybe, STAYS_MS).unref();
    log.onCommitted(changed);
    const unlock = release;
    return {
      log,
      folds,
      commit: (request) => (watch ? watch.commit(request) : log.commit(request)),
      onSpace: (listener) => watch?.onReport(listener),
      checkpoint: keeper.checkpoint,
      compact: () => told(compacts.compact(), "a segment"),
      erasures: toldErasures(erases),
      retain(given) {
        policy = given;
        const retained = compacts.alone(async () => retainRows(erasing, given, clock.now()));
        return told(retained, "the retention");
      },
      ...toldRotations(rotations({ ...erasing, hands, held, scrubs, alone: compacts.alone })),
      onCompactionFailed: (listener) => listeners.push(listener),
      ...pendingOf(erasing, scrubs),
      async close() {
        clearTimeout(begin);
        await closeAll([
          ...[erases.close, scrubs.close, log.drain, compacts.close, endCheckpoints],
          ...[() => watch?.close(), () => settle(log, directory), keeper.close, unlock],
        ]);
      },
    };
  } catch (cause) {
    giveUp();
    release?.();
    throw cause;
  }
}

function pendingOf({ log, stopping }: Erasing, scrubs: Scrubbing): Pick<OpenWriter, "pend" | "interrupt"> {
  return {
    async pend(erasure, what) {
      try {
        notePending(log, erasure, what);
      } catch (cause) {
        throw writeFailure(cause, "the erasure");
      }
      if (what === "done" && !(await scrubs.now())) scrubs.later();
    },
    interrupt() {
      stopping.asked = true;
    },
  };
}

const toldErasures = ({ prepare, hold, finish, ...others }: Erasures): Erasures => ({
  ...others,
  prepare: (erasure, streams) => told(prepare(erasure, streams), "the erasure"),
  hold: () => told(hold(), "the erasure"),
  finish: (erasure) => told(finish(erasure), "the erasure"),
});

const toldRotations = ({ rotate, ...others }: Rotations): Rotations => ({
  ...others,
  rotate: (progress) => told(rotate(progress), "the rotation"),
});

/** What fails for want of room, say, is told so. */
const told = <T>(act: Promise<T>, what: string): Promise<T> =>
  act.catch((cause) => {
    throw writeFailure(cause, what);
  });

/** One after another, and each though one before it failed: whoever opens the directory next must get the lock. */
async function closeAll(acts: readonly (() => unknown)[]): Promise<void> {
  const failures: unknown[] = [];
  for (const act of acts) {
    try {
      await act();
    } catch (cause) {
      failures.push(cause);
    }
  }
  if (failures.length > 0) throw failures[0];
}

/** What a crash left: files without a row, and an erasure whose last step is missing. */
async function finishCutOff(log: LogWriter, directory: string): Promise<FoldKeeper> {
  const { database, sealer } = log;
  readStatedInfos(database, sealer, readState(database, sealer)); // a row that is gone must not take its file with it
  sweepOrphans(log, directory);
  const folds = foldKeeper(directory, database, sealer);
  if (readState(database, sealer).scrub) await scrub(log, directory);
  return folds;
}

/**
 * Who has the log open for so long stays: then a tail that is over its bounds already is compacted beside it. A host that is
 * killed again and again before it commits would never compact else, and start more slowly each time.
 */
const STAYS_MS = 500;

/** What closing leaves is all in log.db and in files that rows name, as far as that can be. */
function settle({ database, sums, takeReplaced }: LogWriter, directory: string): void {
  giveBack(database);
  checkpoint(sums);
  removeSegments(directory, takeReplaced("closing"));
}

/** Pages in use, at most, for which closing may write the file anew: 16 MiB. */
const VACUUM_PAGES = 4_096;

/**
 * The pages that a long tail once took serve the next tail while the log is open; on closing they are given back where
 * they are most of the file. (SQLite's own auto_vacuum would write one more page in every commit.)
 */
function giveBack(database: Database): void {
  try {
    const count = (name: "page_count" | "freelist_count") =>
      database.query<Record<string, number>, []>(`PRAGMA ${name}`).get()![name]!;
    const free = count("freelist_count");
    const used = count("page_count") - free;
    if (free > used && used <= VACUUM_PAGES) database.run("VACUUM");
  } catch {
    // A full disk, say: the pages stay free and are used again.
  }
}

/** Moves the log's file into the database; where the disk has no room for it, the next opening goes on from that file. */
function checkpoint(sums: SumsKeeper): void {
  try {
    sums.checkpoint("TRUNCATE");
  } catch (cause) {
    if (!isFull(cause)) throw cause;
  }
}

/** A store that is there must open with these keys before a byte of its directory is touched. */
async function checkFirst(directory: string, keys: Keys, random: Random): Promise<void> {
  checkWritable(directory);
  if (!existsSync(databasePath(directory))) {
    checkRemains(directory); // before a key file is made
    providerOf(keys, directory, true, random);
    return;
  }
  const database = openReaderDatabase(directory);
  try {
    const made = database.query("SELECT 1 FROM sqlite_master WHERE name = 'store'").get();
    if (made) await openSealer(database, keys, directory, random);
  } finally {
    database.close();
  }
}

/** The store is there, migrated and prepared. */
async function madeStore(database: Database, directory: string, keys: Keys, random: Random): Promise<Sealer> {
  migrate(database);
  if (!readIdentity(database)) {
    await makeStore(database, providerOf(keys, directory, true, random), random);
    syncDirectory(dirname(directory)); // the directory's own name: SQLite makes those inside it durable
  }
  return (await openSealer(database, keys, directory, random))!;
}

async function makeStore(database: Database, provider: KeyProvider, random: Random): Promise<void> {
  const storeId = random.bytes(16);
  const key = await newDataKey(provider, 1, storeId, random);
  const keyring = await openKeyring([key], provider, storeId, random);
  const sealer: Sealer = { storeId, keyring };
  database.transaction(() => {
    insertWrappedKey(database, key);
    for (const [name, make] of Object.entries(SECRETS)) insertSecret(database, sealer, name, make(random));
    writeState(database, sealer, EMPTY_STATE);
    database.run("INSERT INTO store VALUES (1, ?, ?)", [STORE_FORMAT, storeId]);
  })();
}
