import type { Database } from "bun:sqlite";
import { unlinkSync } from "node:fs";
import { join } from "node:path";
import type { Clock } from "../base/clock.ts";
import { MlpeError } from "../base/errors.ts";
import type { Random } from "../base/random.ts";
import { othersTurn } from "../base/turn.ts";
import { newDataKey, newestStoreKey, nextStoreKey } from "../keys/keyring.ts";
import {
  boundTo,
  damaged,
  insertWrappedKey,
  readIdentity,
  readState,
  readWrappedKeys,
  type Sealer,
  writeState,
} from "./catalogue.ts";
import { sweepOrphans } from "./compact.ts";
import { segmentsPath } from "./database.ts";
import { storeErrors } from "./errors.ts";
import { replaceSegments } from "./replace.ts";
import { resealSegment, retiredIn } from "./rotate_segment.ts";
import { type Keys, providerOf } from "./sealer.ts";
import { readSegmentInfos, type SegmentInfo } from "./segment_info.ts";
import { type SegmentTarget, syncDirectory } from "./segment_write.ts";
import type { LogWriter } from "./sqlite_log.ts";
import { dropUnusedKeys, readStreamKeys } from "./stream_keys.ts";
import { type OpenWriter, openWriter } from "./writer.ts";

/**
 * A rotation makes a new store key, under which everything new is sealed at once, and so new stream keys too. What is
 * old is sealed again: the tail by compacting it, segments file by file, rows of the catalogue in one transaction. Each
 * step is whole by itself, so a rotation that was interrupted goes on where it was: as long as there are two store keys
 * it is not finished, and every row and file says by itself which key it is under.
 */
export interface RotateOptions {
  readonly directory: string;
  readonly keys: Keys;
  readonly clock: Clock;
  readonly random: Random;
  /** Called after each durable step. */
  readonly progress?: (step: RotationStep) => void | Promise<void>;
}

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

/**
 * Rotates the keys of a store that nobody has open for writing. Throws store.locked first; store.damaged where a segment
 * or a row does not open, and then the old key stays until that is mended and the rotation run again.
 */
export async function rotateKeys(options: RotateOptions): Promise<Rotation> {
  const { directory, keys, clock, random, progress = () => {} } = options;
  let resumed = false;
  const prepare = async (database: Database) => {
    resumed = await addStoreKey(database, directory, keys, random);
  };
  const writer = await openWriter(directory, keys, clock, random, { prepare });
  try {
    await progress({ step: "key made", done: 0, of: 0 });
    writer.folds.forget(); // they cost time and are under the old key
    await writer.compact();
    await progress({ step: "tail compacted", done: 0, of: 0 });
    const target: SegmentTarget = { directory, sealer: writer.log.sealer, random, pause: othersTurn };
    const { files, bytes } = await resealSegments(writer.log, target, progress);
    const retired = finish(writer);
    sweepOrphans(writer.log, directory);
    await progress({ step: "finished", done: files, of: files });
    return { keyId: writer.log.sealer.keyring.currentKeyId, retired, resumed, segments: files, bytes };
  } finally {
    await writer.close();
  }
}

/** Adds the next store key, unless a rotation that was not finished left one. */
async function addStoreKey(database: Database, directory: string, keys: Keys, random: Random): Promise<boolean> {
  const rows = readWrappedKeys(database);
  if (rows.length > 1) return true;
  const { storeId } = readIdentity(database)!;
  const keyId = nextStoreKey(newestStoreKey(rows.map((row) => row.keyId)));
  const provider = providerOf(keys, directory, false, random);
  insertWrappedKey(database, await newDataKey(provider, keyId, storeId, random));
  return false;
}

async function resealSegments(
  log: LogWriter,
  target: SegmentTarget,
  progress: NonNullable<RotateOptions["progress"]>,
): Promise<{ files: number; bytes: number }> {
  const { database, sealer, names } = log;
  const folder = segmentsPath(target.directory);
  const isRetired = retiredIn(readStreamKeys(database, sealer), sealer);
  const retired = readSegmentInfos(database, sealer).filter(isRetired);
  const broken: MlpeError[] = [];
  let [done, bytes] = [0, 0];
  let written: [SegmentInfo, SegmentInfo][] = [];
  const record = async () => {
    if (written.length === 0) return;
    syncDirectory(folder);
    database.transaction(() => {
      const [gone, fresh] = [written.map(([old]) => old), written.map(([, made]) => made)];
      writeState(database, sealer, replaceSegments(database, sealer, readState(database, sealer), gone, fresh));
    })();
    log.replaced(written.map(([{ file }]) => file));
    for (const file of log.takeReplaced()) unlinkSync(join(folder, file));
    done += written.length;
    written = [];
    await progress({ step: "segments", done, of: retired.length });
  };
  for (const info of retired) {
    try {
      written.push([info, await resealSegment(info, target, names)]);
      bytes += info.bytes;
    } catch (cause) {
      if (!(cause instanceof MlpeError)) throw cause;
      broken.push(cause); // the others go on
    }
    const waiting = written.reduce((sum, [{ bytes: size }]) => sum + size, 0);
    if (written.length >= FILES_AT_ONCE || waiting >= BYTES_AT_ONCE) await record();
  }
  await record();
  if (broken.length === 0) return { files: done, bytes };
  const message = `${broken.length} of ${retired.length} segments can't be sealed again, and the old key stays: ${broken[0]!.message}`;
  throw storeErrors.error("damaged", message, { place: broken[0]!.place, cause: broken[0] });
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
function finish({ log }: OpenWriter): number[] {
  const { database, sealer } = log;
  const { currentKeyId } = sealer.keyring;
  const retired = readWrappedKeys(database)
    .map(({ keyId }) => keyId)
    .filter((keyId) => keyId !== currentKeyId);
  database.transaction(() => {
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
  })();
  // The pages as they were, with the old key on them, stand in the write-ahead log until it is cut.
  database.run("PRAGMA wal_checkpoint(TRUNCATE)");
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
