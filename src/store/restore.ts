import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readlinkSync,
  realpathSync,
  renameSync,
  rmSync,
} from "node:fs";
import { dirname, join, resolve } from "node:path";
import { MlpeError } from "../base/errors.ts";
import { databasePath, RESTORING } from "./database.ts";
import { storeErrors } from "./errors.ts";
import { LOCK_FILE, takeWriterLock } from "./lock.ts";
import { syncDirectory } from "./segment_write.ts";

/** Where a restore works before its copy has a name. */
export interface Claimed {
  /** Is not there yet. */
  readonly unpacked: string;
  /** Removes it, with what is still in it. */
  release(): void;
}

/** Where a directory is restored, and where the work is done meanwhile. */
export interface RestorePlace {
  /** Where the directory really lies: links are followed, so that it comes to the disk that they name. */
  readonly directory: string;
  /** `<directory>.restoring`; inside of a directory that is there already, which may be the root of a mounted volume. */
  readonly working: string;
}

const UNPACKED = "data";
/** What the root of a volume may hold of its own. */
const OF_THE_VOLUME = "lost+found";
/** What a restore that was killed while it moved its copy into the directory may have left there. */
const MOVED: readonly string[] = ["segments", "log.db-wal", "log.db-shm", "log.sums"];

/** Throws `store.not_empty` where the directory is there and holds anything but an unfinished restore. */
export function restorePlace(path: string): RestorePlace {
  const directory = followed(path);
  if (!existsSync(directory)) return { directory, working: `${directory}.restoring` };
  const working = join(directory, RESTORING);
  if (!isUnfinished(directory)) requireEmpty(directory);
  return { directory, working };
}

/** Only what a restore of ours leaves: its lock file tells it, or nothing was made yet. */
function isUnfinished(directory: string): boolean {
  const working = join(directory, RESTORING);
  if (!existsSync(working)) return false;
  if (!existsSync(join(working, LOCK_FILE)) && readdirSync(working).length > 0) return false;
  const known = [RESTORING, OF_THE_VOLUME, ...MOVED];
  return readdirSync(directory).every((name) => known.includes(name));
}

function followed(path: string): string {
  if (existsSync(path)) return realpathSync(path);
  const link = lstatSync(path, { throwIfNoEntry: false });
  return link?.isSymbolicLink() ? resolve(dirname(path), readlinkSync(path)) : path;
}

/**
 * Takes a directory to restore in, which no other process gets as long as this one lives, and removes what an interrupted
 * restore left in it: one is told by the lock file that each makes first. Throws `store.locked` where another restore is at
 * it and `store.not_empty` where it holds anything else; then nothing was removed.
 */
export function claimForRestore(directory: string): Claimed {
  try {
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    const held = readdirSync(directory);
    const isLeftover =
      held.includes(LOCK_FILE) && held.every((name) => name === UNPACKED || name.startsWith("writer."));
    if (!isLeftover) requireEmpty(directory, "No interrupted restore left this: look what it is, and move it away.");
    const unlock = takeWriterLock(directory);
    const unpacked = join(directory, UNPACKED);
    rmSync(unpacked, { recursive: true, force: true });
    const release = () => {
      rmSync(directory, { recursive: true, force: true });
      unlock();
    };
    return { unpacked, release };
  } catch (cause) {
    throw failed(cause, directory);
  }
}

/** Throws `store.not_empty` where the directory holds anything; `fix` says what to do then, if it is not to name another. */
export function requireEmpty(directory: string, fix?: string): void {
  if (!existsSync(directory)) return;
  let held: string[];
  try {
    held = readdirSync(directory).filter((name) => name !== OF_THE_VOLUME);
  } catch {
    held = [directory]; // a file, or a directory that is not ours to read
  }
  const details = fix === undefined ? { place: directory } : { place: directory, fix };
  if (held.length > 0) throw storeErrors.error("not_empty", `${directory} is not empty`, details);
}

/**
 * Gives an unpacked and proven directory its place. Into a directory that is there its parts are moved, `log.db` last: until
 * then `RESTORING` says to whoever opens it that it is unfinished.
 */
export function placeRestored(from: string, { directory, working }: RestorePlace): void {
  try {
    if (dirname(working) !== directory) {
      requireEmpty(directory);
      renameSync(from, directory); // also over an empty one
      syncDirectory(dirname(directory));
      return;
    }
    chmodSync(directory, 0o700);
    for (const name of MOVED) rmSync(join(directory, name), { recursive: true, force: true });
    const parts = readdirSync(from).filter((name) => join(from, name) !== databasePath(from));
    for (const name of parts) renameSync(join(from, name), join(directory, name));
    syncDirectory(directory);
    renameSync(databasePath(from), databasePath(directory));
    syncDirectory(directory);
  } catch (cause) {
    throw failed(cause, directory);
  }
}

export function failed(cause: unknown, place: string): MlpeError {
  if (cause instanceof MlpeError) return cause;
  const said = cause instanceof Error ? cause.message : String(cause);
  return storeErrors.error("backup_failed", `${place} can't be made: ${said}`, { place, cause });
}
