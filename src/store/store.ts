import type { Clock } from "../base/clock.ts";
import type { Random } from "../base/random.ts";
import { pace } from "../base/turn.ts";
import type { KeySettings } from "../keys/registry.ts";
import { readSecret, refreshKeys, type Sealer } from "./catalogue.ts";
import { localChannel, remoteChannel, type WriteChannel } from "./channel.ts";
import type { CompactionFailure } from "./compact.ts";
import { handsInThread } from "./compact_thread.ts";
import { isFixed, openReaderDatabase } from "./database.ts";
import { type Encoder, encodeCommit, encoderOf } from "./encode.ts";
import { type Erased, type EraseRequest, type ErasurePlan, eraseEntity, planErasure } from "./erase_select.ts";
import { type ErasedEntities, erasedEntities } from "./erased.ts";
import { storeErrors } from "./errors.ts";
import { type FoldName, openFold, type SavedFold, writeFold } from "./folds.ts";
import { type LogReader, logReader } from "./log_reader.ts";
import { startLogThread } from "./log_thread.ts";
import { checkMigrations } from "./migrations.ts";
import { type PendingWork, pendingWork } from "./pending.ts";
import type { CommitRequest, ScanOptions, Store, StoredRows } from "./port.ts";
import type { EncodedCommit } from "./record.ts";
import type { RetentionOutcome } from "./retain.ts";
import type { RetentionPolicy } from "./retention_rules.ts";
import type { Rotation } from "./rotate.ts";
import { type Keys, openSealer, providerOf } from "./sealer.ts";
import { sliceStored } from "./select.ts";
import type { SpaceReport, SpaceSettings } from "./space.ts";
import type { CheckpointMode } from "./sums.ts";
import { openWriter } from "./writer.ts";

export interface OpenOptions {
  readonly directory: string;
  /** Where the wrapping key is: settings (`{ provider: "file", path }`), or a provider made by the caller. */
  readonly keys: Keys;
  readonly clock: Clock;
  readonly random: Random;
  /** Reading is allowed beside a writer in another process. Default `write`. */
  readonly mode?: "write" | "read";
  /** Write in a thread of its own (with the system's clock and randomness). Needs key settings. Default in this one. */
  readonly thread?: boolean;
  /** What reads through this handle keep decoded, at most. */
  readonly cacheBytes?: number | undefined;
  /** Watch the free space of the disk, with these marks and ballast. Default: only refused writes are told. */
  readonly space?: SpaceSettings | undefined;
  /**
   * The thread's entry file. The composition root gives `new URL("./store/log_worker.ts", import.meta.url)`: in a compiled
   * binary this file's own place is lost. Default the file beside this one.
   */
  readonly workerUrl?: string | URL;
  /**
   * The same of the thread that compacts, which needs key settings. Default the file beside the log thread's; without a log
   * thread, this one compacts too.
   */
  readonly compactorUrl?: string | URL;
}

/** The port, and what only the sealed log has. */
export interface LogStore extends Store {
  /** Moves the tail into segment files now. */
  compact(): Promise<void>;
  /** Moves SQLite's write-ahead log into log.db now, which happens by itself. False where a reader is in the way. */
  checkpoint(mode: CheckpointMode): Promise<boolean>;
  /**
   * Erases an entity from every stream, for good, and records that. Commits go on meanwhile, and wait only while the last of
   * them are looked through. Throws store.nothing_to_erase, and store.stale_writer where it did not come to an end.
   */
  erase(request: EraseRequest): Promise<Erased>;
  /** The same of what was committed `after` a commit; undefined, and nothing is done, where nothing was. */
  eraseLater(request: EraseRequest & { readonly after: number }): Promise<Erased | undefined>;
  /** What `erase` would erase. */
  planErase(request: EraseRequest): Promise<ErasurePlan>;
  /** Drops the oldest segments that the policy no longer keeps, and records that. */
  retain(policy: RetentionPolicy): Promise<RetentionOutcome>;
  /** Makes new data keys and seals everything again under them, while commits and reads go on. Throws as rotateInPlace. */
  rotate(): Promise<Rotation>;
  /**
   * Has other keys wrap the store keys; gives the numbers of these. All threads go by the new ones from then on. Throws
   * keys.missing_key, keys.bad_key_file, keys.wrong_key or keys.same_key: then nothing was changed.
   */
  rewrap(to: Keys): Promise<number[]>;
  /** What was asked for and goes on after a stop. */
  readonly pending: PendingWork;
  /** Called once there is another store key: saved folds are gone. */
  onRekeyed(listener: () => void): void;
  /** Which entities were erased, to tell them when they come again; undefined where none. */
  erased(): Promise<ErasedEntities | undefined>;
  /** To be transferred to another thread of this process, for `connectStore` there. */
  port(): MessagePort;
  onCompactionFailed(listener: (failure: CompactionFailure) => void): void;
  /** Told of each look at the free space, where the store was opened for writing with `space`; at once of the last. */
  onSpace(listener: (report: SpaceReport) => void): void;
  /** Called once the log thread is gone though nobody closed the store: nothing can be committed any more. */
  onEnded(listener: (cause: Error) => void): void;
  /** To be asked before the first row is folded, for `saveFold`. */
  beginFold(): Promise<number>;
  /**
   * Saves what was folded up to the commit `upTo`, instead of the fold of that name before it. Parts are a few megabytes
   * at most. False where rows were removed from the log (erasure, retention) since `begun`: the fold may hold them. Throws
   * store.failed_fold: then nothing changed.
   */
  saveFold(fold: FoldName & { readonly upTo: number }, begun: number, parts: FoldParts): Promise<boolean>;
  /** The saved fold, undefined where there is none of use: fold from the log then. `passedOver` hears why. */
  loadFold(fold: FoldName, passedOver: (why: string) => void): Promise<SavedFold | undefined>;
  readonly directory: string;
  readonly reader: LogReader;
  readonly sealer: Sealer;
}

type FoldParts = AsyncIterable<Uint8Array> | Iterable<Uint8Array>;

/** How many bytes of records may wait for their acknowledgement; beyond it `commit` waits before it hands over more. */
const MOST_BYTES_WAITING = 64 << 20;

/** Most rows that a scan hands out at once. */
const SCAN_ROWS = 4_096;

/**
 * Opens the sealed log of a directory; in write mode it is made where there is none.
 * Throws store.not_a_store, store.locked, store.newer_format, store.damaged, keys.missing_key, keys.wrong_key.
 */
export async function openStore(options: OpenOptions): Promise<LogStore> {
  if (options.mode === "read") return readerStore(options, undefined);
  if (options.thread) {
    const keys = options.keys as KeySettings;
    const { directory, space, workerUrl, compactorUrl } = options;
    return readerStore(options, await startLogThread({ directory, keys, space, compactorUrl }, workerUrl));
  }
  const { directory, keys, clock, random, space, compactorUrl } = options;
  const hasThread = compactorUrl !== undefined && "provider" in keys;
  const makeHands = hasThread
    ? (now: () => Keys) => handsInThread(directory, now as () => KeySettings, compactorUrl)
    : undefined;
  const writer = await openWriter(directory, keys, clock, random, { space, makeHands });
  return readerStore(options, localChannel(writer));
}

/** The same store in another thread of the process: commits go through `port`, reads are made here. */
export async function connectStore(options: OpenOptions, port: MessagePort): Promise<LogStore> {
  const remote = remoteChannel(port, async () => port.close());
  port.onmessage = (event: { data: unknown }) => remote.receive(event.data);
  return readerStore(options, remote.channel);
}

async function readerStore(options: OpenOptions, channel: WriteChannel | undefined): Promise<LogStore> {
  const { directory, random } = options;
  try {
    const probe = openReaderDatabase(directory);
    let sealer: Sealer;
    let saltKey: Uint8Array;
    try {
      const opened = await openSealer(probe, options.keys, directory, random);
      if (!opened) throw storeErrors.error("not_a_store", `${directory} holds no store`, { place: directory });
      checkMigrations(probe); // fewer are no hindrance to reading, unknown ones are
      sealer = opened;
      saltKey = readSecret(probe, sealer, "salt");
    } finally {
      probe.close();
    }
    const encoder = encoderOf(sealer, saltKey, random);
    return storeOver(options, logReader(directory, sealer, options.cacheBytes), encoder, channel);
  } catch (cause) {
    await channel?.close();
    throw cause;
  }
}

function storeOver(
  { directory, clock }: OpenOptions,
  reader: LogReader,
  encoder: Encoder,
  channel: WriteChannel | undefined,
): LogStore {
  const waiters = new Set<() => void>();
  let closed = false;
  const wake = () => {
    for (const waiter of [...waiters]) waiter();
  };
  channel?.onHead(wake);
  const keys = keysOf(reader, encoder);
  channel?.onRekeyed(() => void keys.refresh().catch(() => {})); // who meets the new key first tries again, and says why
  channel?.onRewrapped((to) => {
    try {
      encoder.sealer.keyring.trust(providerOf(to, directory, false, encoder.random));
    } catch {
      // The file is gone again: what is open stays open, and who needs another key says so.
    }
  });
  const read = <T>(look: (log: LogReader) => T | Promise<T>) => keys.again(async () => look(open()));
  const open = () => {
    if (closed) throw storeErrors.error("closed", "the store is closed");
    return reader;
  };
  const writable = () => {
    open();
    return channel ?? raise(storeErrors.error("read_only", "the store was opened for reading only"));
  };
  return {
    commit: committing(encoder, keys, writable),
    head: () => read((log) => log.head()),
    commitAt: (knownTime) => read((log) => log.commitAt(knownTime)),
    cursor: async (source) => channel?.cursor(source) ?? read((log) => log.state().cursors.get(source) ?? ""),
    position: async (name) => channel?.position(name) ?? read((log) => log.state().readers.get(name) ?? 0),
    tail: (after, streams, maxRows = 65_536) => read((log) => log.tail(after, streams, maxRows)),
    waitBeyond: (after, timeoutMs) =>
      keys.again(async () => {
        if (open().head().commitNo > after) return;
        if (isFixed(directory, reader.database)) throw nothingFollows(directory);
        const pollMs = channel ? CONNECTED_POLL_MS : POLL_MS;
        await waitFor(() => closed || reader.head().commitNo > after, waiters, pollMs, timeoutMs);
      }),
    scan: (stream, scanOptions = {}) => scanInTurns(open, keys, stream, scanOptions),
    asOf: (stream, probes, asOfOptions = {}) => read((log) => log.asOf(stream, probes, asOfOptions)),
    streams: () => read((log) => log.streams()),
    compact: async () => writable().compact(),
    checkpoint: async (mode) => writable().checkpoint(mode),
    port: () => writable().port(),
    pending: pendingWork(reader, encoder.sealer, writable),
    ...listenersOf(channel),
    ...foldsOf(directory, encoder, open, writable),
    ...erasuresOf(encoder, clock, writable),
    directory,
    reader,
    sealer: encoder.sealer,
    async close() {
      if (closed) return;
      closed = true;
      wake();
      reader.close();
      await channel?.close();
    },
  };
}

function nothingFollows(directory: string): Error {
  const message = `${directory} can't be written, and is read as it was when it was opened: nothing follows`;
  const fix = "Follow where the server runs, or as a user who may write there.";
  return storeErrors.error("read_only_directory", message, { place: directory, fix });
}

function committing(encoder: Encoder, keys: StoreKeys, writable: () => WriteChannel): LogStore["commit"] {
  let waiting = 0;
  const gate: (() => void)[] = [];
  return async (request: CommitRequest) => {
    const writer = writable();
    while (waiting > MOST_BYTES_WAITING) await new Promise<void>((resolve) => gate.push(resolve));
    const encoded = encodeCommit(request, encoder);
    const bytes = encoded.record.length;
    waiting += bytes;
    try {
      let sealed: EncodedCommit | undefined = encoded; // its record is handed over
      const receipt = await keys.again(() => {
        const handed = sealed ?? encodeCommit(request, encoder);
        sealed = undefined;
        return writer.commit(handed);
      });
      for (const { fingerprint } of encoded.appends) encoder.known.add(fingerprint);
      return receipt;
    } finally {
      waiting -= bytes;
      for (const resume of gate.splice(0)) resume();
    }
  };
}

function listenersOf(channel: WriteChannel | undefined) {
  return {
    onRekeyed: (listener) => channel?.onRekeyed(listener),
    onCompactionFailed: (listener) => channel?.onCompactionFailed(listener),
    onSpace: (listener) => channel?.onSpace(listener),
    onEnded: (listener) => channel?.onEnded(listener),
  } satisfies Partial<LogStore>;
}

function erasuresOf({ random }: Encoder, clock: Clock, writable: () => WriteChannel) {
  return {
    planErase(this: LogStore, request) {
      return planErasure(this, request);
    },
    async erase(this: LogStore, { after: _, ...request }) {
      return (await eraseEntity(this, writable(), request, clock, random))!;
    },
    eraseLater(this: LogStore, request) {
      return eraseEntity(this, writable(), request, clock, random);
    },
    retain: async (policy) => writable().retain(policy),
    rotate: async () => writable().rotate(),
    rewrap: async (to) => writable().rewrap(to),
    erased(this: LogStore) {
      return erasedEntities(this);
    },
  } satisfies Partial<LogStore>;
}

function foldsOf(
  directory: string,
  { sealer, random }: Encoder,
  open: () => LogReader,
  writable: () => WriteChannel,
): Pick<LogStore, "beginFold" | "saveFold" | "loadFold"> {
  return {
    beginFold: async () => writable().beginFold(),
    async saveFold(fold, begun, parts) {
      const writer = writable();
      return writer.keepFold(await writeFold(directory, sealer, random, fold, parts), begun);
    },
    loadFold: async (fold, passedOver) => {
      const { database, head } = open();
      return openFold(directory, database, sealer, fold, head().commitNo, passedOver);
    },
  };
}

/** Long scans may be made in the thread that serves: others have a turn before each part. */
async function* scanInTurns(
  open: () => LogReader,
  keys: StoreKeys,
  stream: string,
  options: ScanOptions,
): AsyncIterable<StoredRows> {
  const steps = pace();
  const { parts, first } = await keys.again(async () => {
    const begun = open().scan(stream, options)[Symbol.iterator]();
    return { parts: begun, first: begun.next() };
  });
  try {
    for (let part = first; !part.done; part = parts.next()) {
      const stored = part.value;
      if (steps.due()) await steps.turn();
      if (!stored) continue;
      for (let from = 0; from < stored.batch.length; from += SCAN_ROWS) {
        await steps.turn();
        const to = Math.min(from + SCAN_ROWS, stored.batch.length);
        yield to - from === stored.batch.length ? stored : sliceStored(stored, from, to);
      }
    }
  } finally {
    parts.return?.();
  }
}

/** The store keys as this thread holds them. */
interface StoreKeys {
  refresh(): Promise<void>;
  /** What `act` gives; where the store got other keys meanwhile, once more with these. */
  again<T>(act: () => Promise<T>): Promise<T>;
}

function keysOf({ database }: LogReader, { sealer }: Encoder): StoreKeys {
  const refresh = () => refreshKeys(database, sealer);
  return {
    refresh,
    async again<T>(act: () => Promise<T>): Promise<T> {
      try {
        return await act();
      } catch (cause) {
        if ((cause as { code?: string }).code !== REKEYED) throw cause;
        await refresh();
        return act();
      }
    },
  };
}

const REKEYED = `${storeErrors.prefix}.rekeyed`;

function raise(error: Error): never {
  throw error;
}

/** Commits of another process are found by looking; those of this one wake the waiters, and looking is a safeguard. */
const POLL_MS = 10;
const CONNECTED_POLL_MS = 250;

function waitFor(done: () => boolean, waiters: Set<() => void>, pollMs: number, timeoutMs: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const finish = (settle: () => void) => {
      clearTimeout(deadline);
      clearInterval(poll);
      waiters.delete(look);
      settle();
    };
    const look = () => {
      try {
        if (done()) finish(resolve);
      } catch (cause) {
        finish(() => reject(cause));
      }
    };
    const deadline = setTimeout(() => finish(resolve), timeoutMs);
    const poll = setInterval(look, pollMs);
    waiters.add(look);
  });
}
