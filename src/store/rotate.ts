import type { Database } from "bun:sqlite";
import type { MlpeError } from "../base/errors.ts";
import { newDataKey, newestStoreKey, nextStoreKey } from "../keys/keyring.ts";
import {
  boundTo,
  damaged,
  insertWrappedKey,
  readState,
  readWrappedKeys,
  refreshKeys,
  type Sealer,
  writeState,
} from "./catalogue.ts";
import type { Compactor } from "./compact.ts";
import type { Hands } from "./compact_work.ts";
import { isDamage } from "./damage.ts";
import { segmentsPath } from "./database.ts";
import { storeErrors } from "./errors.ts";
import type { FoldKeeper } from "./folds.ts";
import { interrupted } from "./pending.ts";
import { replaceSegments } from "./replace.ts";
import { rewrapInPlace } from "./rewrap.ts";
import { retiredIn } from "./rotate_segment.ts";
import type { Scrubbing } from "./scrub.ts";
import { type Keys, providerOf } from "./sealer.ts";
import { readSegmentInfos, type SegmentInfo } from "./segment_info.ts";
import { type SegmentTarget, syncDirectory } from "./segment_write.ts";
import type { LogWriter } from "./sqlite_log.ts";
import { dropUnusedKeys, readStreamKeys } from "./stream_keys.ts";

/**
 * A rotation makes a new store key, under which everything new is sealed at once, and so new stream keys too. What is
 * old is sealed again: the tail by compacting it, segments file by file, rows of the catalogue in one transaction. Each
 * step is whole by itself, so a rotation that was interrupted goes on where it was: as long as there are two store keys
 * it is not finished, and every row and file says by itself which key it is under.
 */
export interface RotationStep {
  readonly step: "key made" | "tail compacted" | "segments" | "finished";
  /** Segment files under retired keys that were sealed again so far, of so many. */
  readonly done: number;
  readonly of: number;
}

export interface Rotation {
  /** The store key there is now, and the one that is gone. */
  readonly keyId: number;
  readonly retired: readonly number[];
  /** An earlier rotation was finished, and no further key made. */
  readonly resumed: boolean;
  readonly segments: number;
  readonly bytes: number;
}

/** Files that are sealed again before their rows are changed, in one transaction. */
const FILES_AT_ONCE = 16;
const BYTES_AT_ONCE = 64 << 20;

/** What rotating needs of the thread that writes. */
interface Rotating {
  readonly log: LogWriter;
  readonly folds: Pick<FoldKeeper, "drop">;
  readonly target: SegmentTarget;
  /** What wraps the store keys: a re-wrapping puts others here. */
  readonly held: { keys: Keys };
  readonly hands: Hands;
  readonly alone: Compactor["alone"];
  /** Tells all who read and commit that there are other keys. */
  readonly rekeyed: () => void;
  /** One after another: what adds store keys, and what wraps those there are anew. */
  readonly inTurn: <T>(act: () => Promise<T>) => Promise<T>;
  readonly stopping: { readonly asked: boolean };
  readonly scrubs: Pick<Scrubbing, "now" | "later">;
}

export interface Rotations {
  /** Makes new keys and seals everything again under them. Who asks meanwhile waits for the same. Throws as rotateInPlace. */
  rotate(progress?: Progress): Promise<Rotation>;
  /** Called once there is another store key. */
  onRekeyed(listener: () => void): void;
  /** Has other keys wrap the store keys, whatever else goes on; gives the numbers of the store keys. Throws as rewrapStore. */
  rewrap(to: Keys): Promise<number[]>;
  /** Called once other keys wrap the store keys. */
  onRewrapped(listener: (to: Keys) => void): void;
}

/** The rotations of an open log, one at a time. */
export function rotations(parts: Omit<Rotating, "rekeyed" | "inTurn">): Rotations {
  const listeners: (() => void)[] = [];
  const wrapListeners: ((to: Keys) => void)[] = [];
  let last: Promise<unknown> = Promise.resolve();
  const inTurn = <T>(act: () => Promise<T>): Promise<T> => {
    const mine = last.then(act);
    last = mine.catch(() => {});
    return mine;
  };
  const rotating: Rotating = { ...parts, rekeyed: () => listeners.forEach((listener) => listener()), inTurn };
  let running: Promise<Rotation> | undefined;
  return {
    rotate(progress) {
      running ??= rotateInPlace(rotating, progress).finally(() => {
        running = undefined;
      });
      return running;
    },
    onRekeyed: (listener) => listeners.push(listener),
    rewrap: (to) =>
      inTurn(async () => {
        const { log, target, held, scrubs } = rotating;
        const { keyIds, provider } = await rewrapInPlace({ log, ...target }, held.keys, to);
        log.sealer.keyring.trust(provider);
        held.keys = to;
        for (const listener of wrapListeners) listener(to);
        scrubs.later(0);
        return keyIds;
      }),
    onRewrapped: (listener) => wrapListeners.push(listener),
  };
}

/** Called after each durable step. */
export type Progress = (step: RotationStep) => void | Promise<void>;

/**
 * Rotates the keys of an open log, while commits and reads go on: files are sealed again by the compaction's hands, some
 * between two compactions, and only the rows of the catalogue in one turn of this thread. Throws store.damaged where a
 * segment or a row does not open; then the old key stays until that is mended and the rotation run again.
 */
async function rotateInPlace(rotating: Rotating, progress: Progress = () => {}): Promise<Rotation> {
  const { log, folds, alone, scrubs } = rotating;
  const { keyring } = log.sealer;
  const resumed = await rotating.inTurn(() => addStoreKey(rotating));
  await progress({ step: "key made", done: 0, of: 0 });
  folds.drop(); // they cost time and are under the old key
  await alone(async () => {});
  await progress({ step: "tail compacted", done: 0, of: 0 });
  const { files, bytes } = await resealSegments(rotating, progress);
  const retired = await alone(async () => finish(log));
  await scrubs.now();
  scrubs.later();
  await progress({ step: "finished", done: files, of: files });
  return { keyId: keyring.currentKeyId, retired, resumed, segments: files, bytes };
}

/** Adds the next store key, unless a rotation that was not finished left one; it is current from then on. */
async function addStoreKey({ log, held, target, rekeyed }: Rotating): Promise<boolean> {
  const { database, sealer } = log;
  const rows = readWrappedKeys(database);
  if (rows.length > 1) return true;
  const keyId = nextStoreKey(newestStoreKey(rows.map((row) => row.keyId)));
  const key = await newDataKey(
    providerOf(held.keys, target.directory, false, target.random),
    keyId,
    sealer.storeId,
    target.random,
  );
  insertWrappedKey(database, key);
  await refreshKeys(database, sealer);
  rekeyed();
  return false;
}

/** The segments under retired keys that are sealed again together, and what became of them so far. */
interface Resealing {
  files: number;
  bytes: number;
  readonly broken: Map<string, MlpeError>;
}

async function resealSegments(rotating: Rotating, progress: Progress): Promise<Resealing> {
  const { log, alone } = rotating;
  const { database, sealer } = log;
  const done: Resealing = { files: 0, bytes: 0, broken: new Map() };
  const retired = () => {
    const isRetired = retiredIn(readStreamKeys(database, sealer), sealer);
    return readSegmentInfos(database, sealer).filter((info) => isRetired(info) && !done.broken.has(info.file));
  };
  for (;;) {
    if (rotating.stopping.asked) throw interrupted();
    const before = done.files;
    const left = await alone(async () => {
      const all = retired();
      const some = all.filter((_, i) => i < FILES_AT_ONCE && sumOf(all.slice(0, i)) < BYTES_AT_ONCE);
      await resealSome(rotating, some, done);
      return all.length - some.length;
    });
    if (done.files > before) await progress({ step: "segments", done: done.files, of: done.files + left });
    if (left === 0 && retired().length === 0) break;
  }
  const [first] = done.broken.values();
  if (!first) return done;
  const message = `${done.broken.size} of ${done.broken.size + done.files} segments can't be sealed again, and the old key stays: ${first.message}`;
  throw storeErrors.error("damaged", message, { place: first.place, cause: first });
}

const sumOf = (infos: readonly SegmentInfo[]): number => infos.reduce((sum, { bytes }) => sum + bytes, 0);

async function resealSome({ log, hands, target, stopping }: Rotating, some: readonly SegmentInfo[], done: Resealing) {
  const { database, sealer } = log;
  const written: [SegmentInfo, SegmentInfo][] = [];
  for (const info of some) {
    if (stopping.asked) break; // what is written so far counts
    try {
      written.push([info, await hands.reseal(info)]);
    } catch (cause) {
      if (!isDamage(cause)) throw cause;
      done.broken.set(info.file, cause); // the others go on
    }
  }
  if (written.length === 0) return;
  syncDirectory(segmentsPath(target.directory));
  database
    .transaction(() => {
      const [gone, fresh] = [written.map(([old]) => old), written.map(([, made]) => made)];
      writeState(database, sealer, replaceSegments(database, sealer, readState(database, sealer), gone, fresh));
    })
    .immediate();
  log.replaced(
    written.map(([{ file }]) => file),
    "erased",
  );
  done.files += written.length;
  done.bytes += sumOf(written.map(([old]) => old));
}

/** Where a row that is sealed says what it is: each table with what its rows are bound to. */
interface SealedRow {
  readonly id: number;
  readonly sealed: Uint8Array;
  readonly name: string;
}
const SEALED_TABLES: Readonly<Record<string, { readonly name: string; readonly what: (name: string) => string }>> = {
  secrets: { name: "name", what: (name) => `secret ${name}` },
  streams: { name: "stream_id", what: (id) => `stream ${id}` },
  contracts: { name: "contract_id", what: (id) => `contract ${id}` },
  segments: { name: "segment_id || ' ' || file", what: (name) => `segment ${name}` },
  state: { name: "generation", what: (generation) => `state ${generation}` },
  upkeep: { name: "upkeep_id", what: (id) => `upkeep ${id}` },
};

/** Tables whose rows a rotation does not seal again: they are gone by then, or under a current key. */
const EMPTIED_TABLES: Readonly<Record<string, string>> = { commits: "record", folds: "sealed", stream_keys: "sealed" };

/** Tables that hold nothing sealed under a store key. */
const OPEN_TABLES: readonly string[] = ["migrations", "store", "data_keys"];

/** One transaction: every row under the new key, nothing that names the old one, and the old one gone. */
function finish({ database, sealer, sums }: LogWriter): number[] {
  const { currentKeyId } = sealer.keyring;
  const retired = readWrappedKeys(database)
    .map(({ keyId }) => keyId)
    .filter((keyId) => keyId !== currentKeyId);
  sums.drop(); // it is under the old key
  database
    .transaction(() => {
      for (const [table, { name, what }] of Object.entries(SEALED_TABLES))
        resealTable(database, sealer, table, name, what);
      dropUnusedKeys(database, readSegmentInfos(database, sealer));
      for (const [table, column] of Object.entries(EMPTIED_TABLES)) {
        const left = database
          .query<{ left: number }, [Uint8Array]>(
            `SELECT count(*) AS left FROM ${table} WHERE substr(${column}, 1, 1) <> ?`,
          )
          .get(Uint8Array.of(currentKeyId))!.left;
        if (left > 0) throw new Error(`invariant broken: ${left} rows of ${table} are under an old key`);
      }
      const known = [...Object.keys(SEALED_TABLES), ...Object.keys(EMPTIED_TABLES), ...OPEN_TABLES];
      const tables = database.query<{ name: string }, []>("SELECT name FROM sqlite_master WHERE type = 'table'").all();
      const other = tables.find(({ name }) => !known.includes(name));
      if (other) throw new Error(`invariant broken: a rotation does not know the table ${other.name}`);
      for (const keyId of retired) database.run("DELETE FROM data_keys WHERE key_id = ?", [keyId]);
      // The pages as they were, with the old key on them, stand in unused places and in the write-ahead log until then.
      const state = readState(database, sealer);
      writeState(database, sealer, { ...state, generation: state.generation + 1, scrub: true });
    })
    .immediate();
  return retired;
}

function resealTable(
  database: Database,
  sealer: Sealer,
  table: string,
  name: string,
  what: (name: string) => string,
): void {
  const { keyring, storeId } = sealer;
  const rows = database.query<SealedRow, []>(`SELECT rowid AS id, sealed, ${name} AS name FROM ${table}`).all();
  const update = database.query(`UPDATE ${table} SET sealed = ? WHERE rowid = ?`);
  for (const row of rows) {
    if (row.sealed[0] === keyring.currentKeyId) continue;
    const bound = boundTo(storeId, what(String(row.name)));
    const opened = keyring.open(row.sealed, bound);
    if (!opened) throw damaged(what(String(row.name)));
    update.run(keyring.seal(opened, bound), row.id);
  }
}
