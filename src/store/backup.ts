import { Database } from "bun:sqlite";
import { closeSync, existsSync, fstatSync, mkdirSync, openSync, renameSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { toHex } from "../base/bytes.ts";
import { canonicalJson, sha256Hex } from "../base/digest.ts";
import type { MlpeError } from "../base/errors.ts";
import type { Micros } from "../base/time.ts";
import { inTurns } from "../base/turn.ts";
import {
  archiveEnd,
  archiveHeader,
  archivePadding,
  badArchive,
  piecesOf,
  readArchive,
  writeInTurns,
  writeWhole,
} from "./archive.ts";
import { databasePath, openUnchecked, segmentsPath } from "./database.ts";
import { storeErrors } from "./errors.ts";
import { removeLeftovers, temporaryOf } from "./leftovers.ts";
import { logReader } from "./log_reader.ts";
import { damageOf } from "./look_through.ts";
import type { Head } from "./port.ts";
import { isReadOnly } from "./read_only.ts";
import { failed, requireEmpty } from "./restore.ts";
import { syncDirectory } from "./segment_write.ts";
import type { LogStore } from "./store.ts";

const FORMAT = "mlpe/backup/1";
const MANIFEST = "manifest.json";
const MANIFEST_DIGEST = "manifest.sha256";
/** A compaction that replaces segments while the catalogue is copied makes the copy begin anew, so often. */
const TRIES_MAX = 5;
const MANIFEST_BYTES_MAX = 64 << 20;

/** What an archive holds: nothing in it is readable without the key, which is not in it. */
export interface BackupManifest {
  readonly format: string;
  readonly store_id: string;
  /** Everything that was committed up to here is in it, and nothing else. */
  readonly commit_no: number;
  readonly known_time: Micros;
  readonly files: readonly { readonly name: string; readonly bytes: number; readonly sha256: string }[];
}

/** Told of each segment that does not open: what has it can't be restored. */
export type OnDamage = (damage: MlpeError) => void;

/** A backup that is ready to be written: what it holds does not change any more. */
export interface OpenBackup {
  readonly manifest: BackupManifest;
  /** The archive, once; throws `store.backup_failed` where a file is no longer what the manifest says. */
  parts(): Generator<Uint8Array>;
  close(): void;
}

/**
 * Opens a copy of a store while commits and compaction go on: a copy of the catalogue as of one commit, made by SQLite in one
 * transaction in a directory beside `out` (by default in the store's,
 * or where that is read-only in the temporary folder; gone afterwards), and the segment files that it names,
 * which never change. Each segment is looked through; `damaged` is told of those that do not open, which the copy has as they
 * are. Throws `store.backup_failed`.
 */
export async function openBackup(
  store: LogStore,
  out = besideStore(store),
  damaged: OnDamage = () => {},
): Promise<OpenBackup> {
  const temporary = temporaryOf(out);
  const open: number[] = [];
  const close = () => {
    for (const file of open.splice(0)) closeSync(file);
  };
  try {
    mkdirSync(temporary, { mode: 0o700 });
    removeLeftovers(out);
    const names = copyCatalogue(store.directory, temporary, open);
    const head = await lookThrough(temporary, store, new Map(names.map((name, i) => [name, open[i + 1]!])), damaged);
    const files: BackupManifest["files"][number][] = [];
    for (const [index, name] of ["log.db", ...names.map((name) => `segments/${name}`)].entries()) {
      const bytes = fstatSync(open[index]!).size;
      files.push({ name, bytes, sha256: await digestOf(piecesOf(open[index]!, bytes)) });
    }
    const manifest: BackupManifest = {
      format: FORMAT,
      store_id: toHex(store.sealer.storeId),
      commit_no: head.commitNo,
      known_time: head.knownTime,
      files,
    };
    return { manifest, parts: () => archiveOf(manifest, open), close };
  } catch (cause) {
    close();
    throw failed(cause, temporary);
  } finally {
    rmSync(temporary, { recursive: true, force: true }); // open files stay readable
  }
}

/** Where the catalogue's copy is made meanwhile, without the ending of `temporaryOf`, if the backup goes to no file. */
export const besideStore = ({ directory }: LogStore): string =>
  isReadOnly(directory) ? join(tmpdir(), "mlpe-backup") : join(directory, "backup");

/**
 * Writes such a copy as one file, which is read again before it gets its name. Others have turns meanwhile, a signal too.
 * Throws `store.backup_failed`.
 */
export async function writeBackup(store: LogStore, out: string, damaged?: OnDamage): Promise<BackupManifest> {
  const temporary = temporaryOf(out);
  const backup = await openBackup(store, out, damaged);
  try {
    await writeInTurns(temporary, backup.parts());
    await inTurns(checkBackup(temporary));
    renameSync(temporary, out);
    syncDirectory(dirname(out));
    return backup.manifest;
  } catch (cause) {
    throw failed(cause, out);
  } finally {
    backup.close();
    rmSync(temporary, { force: true });
  }
}

/** The catalogue as of one commit in `temporary`; opens it and the segment files it names, and gives their names. */
function copyCatalogue(directory: string, temporary: string, open: number[]): string[] {
  const path = databasePath(temporary);
  for (let tries = 1; ; tries++) {
    const source = openUnchecked(directory);
    try {
      source.run("PRAGMA temp_store = memory");
      source.run("VACUUM INTO ?", [path]);
    } finally {
      source.close();
    }
    const copy = new Database(path);
    leaveFolds(copy);
    const names = copy.query<{ file: string }, []>("SELECT file FROM segments ORDER BY segment_id").all();
    copy.close();
    try {
      open.push(openSync(path, "r"));
      for (const { file } of names) open.push(openSync(join(segmentsPath(directory), file), "r"));
      return names.map(({ file }) => file);
    } catch (cause) {
      // Replaced since the copy was made: the newer catalogue names what replaced it.
      for (const file of open.splice(0)) closeSync(file);
      if ((cause as { code?: string }).code !== "ENOENT" || tries === TRIES_MAX) throw cause;
      rmSync(path);
    }
  }
}

/** Saved folds stay behind, files and nonces: they are made again from the log. */
function leaveFolds(copy: Database): void {
  copy.run("PRAGMA secure_delete = ON");
  copy.run("PRAGMA journal_mode = MEMORY");
  if (copy.query("SELECT 1 FROM sqlite_master WHERE name = 'folds'").get()) copy.run("DELETE FROM folds");
}

/** What the copy of the catalogue says is in it, with each segment that it names looked through. */
async function lookThrough(
  copy: string,
  { directory, sealer }: LogStore,
  handles: ReadonlyMap<string, number>,
  damaged: OnDamage,
): Promise<Head> {
  const reader = logReader(copy, sealer);
  try {
    const { head, segments } = reader.snapshot();
    for (const info of segments) {
      const look = { handle: handles.get(info.file) };
      const damage = await inTurns(damageOf(directory, info, reader.names, sealer, look));
      if (damage) damaged(damage);
    }
    return head;
  } finally {
    reader.close();
  }
}

async function digestOf(pieces: Iterable<Uint8Array>): Promise<string> {
  const hasher = new Bun.CryptoHasher("sha256");
  await inTurns(tee(pieces, hasher));
  return hasher.digest("hex");
}

const statedBytes = (manifest: BackupManifest) => new TextEncoder().encode(`${canonicalJson(manifest)}\n`);

/** What `manifest.sha256` says, which tells one backup from every other. */
export const manifestDigest = (manifest: BackupManifest): string => sha256Hex(statedBytes(manifest));

function* archiveOf(manifest: BackupManifest, open: readonly number[]): Generator<Uint8Array> {
  const stated = statedBytes(manifest);
  const digest = new TextEncoder().encode(`${manifestDigest(manifest)}\n`);
  for (const [name, bytes] of [
    [MANIFEST, stated],
    [MANIFEST_DIGEST, digest],
  ] as const) {
    yield archiveHeader(name, bytes.length);
    yield bytes;
    yield archivePadding(bytes.length);
  }
  for (const [index, { name, bytes, sha256 }] of manifest.files.entries()) {
    yield archiveHeader(name, bytes);
    const hasher = new Bun.CryptoHasher("sha256");
    yield* tee(piecesOf(open[index]!, bytes), hasher);
    if (hasher.digest("hex") !== sha256)
      throw storeErrors.error("backup_failed", `${name} changed while it was copied`);
    yield archivePadding(bytes);
  }
  yield archiveEnd();
}

/** Where a backup comes from: a file, or standard input. */
export type BackupSource = string | typeof STDIN;
const STDIN = 0;

/** Reads an archive to its end and compares every digest, a piece a step. Throws `store.bad_backup`. */
const checkBackup = (path: string) => eachFile(path, (_name, pieces) => pieces);

/**
 * Unpacks a backup into a new directory. Throws `store.bad_backup`, and then the directory is not there, or
 * `store.not_empty` where it is there and holds something.
 */
export function unpackBackup(path: BackupSource, directory: string): BackupManifest {
  if (path !== STDIN && !existsSync(path)) {
    throw storeErrors.error("bad_backup", `${path} does not exist`, { place: path });
  }
  if (path !== STDIN && statSync(path).isDirectory()) {
    throw storeErrors.error("bad_backup", `${path} is a directory, and no backup`, { place: path });
  }
  requireEmpty(directory);
  try {
    mkdirSync(segmentsPath(directory), { recursive: true, mode: 0o700 });
    const steps = eachFile(path, (name, pieces) => {
      writeWhole(join(directory, name), pieces);
      return [];
    });
    let step = steps.next();
    while (!step.done) step = steps.next();
    const manifest = step.value;
    for (const folder of [segmentsPath(directory), directory, dirname(directory)]) syncDirectory(folder);
    return manifest;
  } catch (cause) {
    rmSync(directory, { recursive: true, force: true });
    throw failed(cause, directory);
  }
}

/** Hands over each file that the manifest names, in its order, takes the steps that it is given for it, and compares its digest. */
function* eachFile(
  source: BackupSource,
  take: (name: string, pieces: Iterable<Uint8Array>) => Iterable<unknown>,
): Generator<unknown, BackupManifest> {
  const bad = (what: string) => badArchive(source, what);
  let manifest: BackupManifest | undefined;
  let stated: Uint8Array | undefined;
  let next = 0;
  for (const entry of readArchive(source)) {
    if (!stated || !manifest) {
      const wanted = stated ? MANIFEST_DIGEST : MANIFEST;
      if (entry.name !== wanted || entry.size > MANIFEST_BYTES_MAX) throw bad(`it does not have its ${wanted}`);
      const bytes = new Uint8Array(Buffer.concat([...entry.pieces()]));
      if (!stated) stated = bytes;
      else {
        if (new TextDecoder().decode(bytes) !== `${sha256Hex(stated)}\n`) throw bad("its manifest was changed");
        manifest = JSON.parse(new TextDecoder().decode(stated)) as BackupManifest;
        if (manifest.format !== FORMAT) throw bad(`its format is ${manifest.format}, not ${FORMAT}`);
      }
      continue;
    }
    const file = manifest.files[next++];
    if (file?.name !== entry.name || file.bytes !== entry.size) throw bad(`${entry.name} is not what should be there`);
    if (!/^(?:log\.db|segments\/[0-9a-f]{32})$/.test(entry.name)) throw bad(`${entry.name} is no file of a store`);
    const hasher = new Bun.CryptoHasher("sha256");
    yield* take(entry.name, tee(entry.pieces(), hasher));
    if (hasher.digest("hex") !== file.sha256) throw bad(`${entry.name} has another digest`);
  }
  if (!manifest || next !== manifest.files.length) throw bad("files are missing");
  return manifest;
}

function* tee(pieces: Iterable<Uint8Array>, hasher: Bun.CryptoHasher): Generator<Uint8Array> {
  for (const piece of pieces) {
    hasher.update(piece);
    yield piece;
  }
}
