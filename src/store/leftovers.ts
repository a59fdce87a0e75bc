import { type Dirent, lstatSync, opendirSync, readdirSync, rmSync } from "node:fs";
import { basename, dirname, join } from "node:path";

/** Entries of a directory that are looked at: what lies behind them stays. */
const ENTRIES_MAX = 10_000;
/** What was written to so lately may be of a process that is not seen from here: of another container or machine. */
const QUIET_MS = 60_000;
const FILES_MAX = 16;

/** Where this process makes what will be called `path`. */
export const temporaryOf = (path: string): string => `${path}.${process.pid}.tmp`;

/**
 * Removes what processes that were killed left beside `path` while they were making it: `<path>.<process>.tmp`, plain files
 * and directories of a backup's catalogue, where no process of that number lives and nothing was written for a minute. To be
 * called once `temporaryOf(path)` was made. What can't be removed stays: nobody waits for it.
 */
export function removeLeftovers(path: string): void {
  const folder = dirname(path);
  const name = `${basename(path)}.`;
  try {
    const now = lstatSync(temporaryOf(path)).mtimeMs; // by the clock that dates the others too
    for (const entry of entriesOf(folder)) {
      if (!entry.name.startsWith(name) || !isLeft(entry.name.slice(name.length))) continue;
      const left = join(folder, entry.name);
      const files = ownFiles(entry, left);
      if (files.length === 0 || files.some((file) => now - lstatSync(file).mtimeMs < QUIET_MS)) continue;
      rmSync(left, { recursive: entry.isDirectory() });
    }
  } catch {
    // Gone meanwhile, or another user's.
  }
}

function* entriesOf(folder: string): Generator<Dirent> {
  const directory = opendirSync(folder);
  try {
    for (let seen = 0; seen < ENTRIES_MAX; seen++) {
      const entry = directory.readSync();
      if (entry === null) return;
      yield entry;
    }
  } finally {
    directory.closeSync();
  }
}

function isLeft(ending: string): boolean {
  const found = /^([1-9]\d{0,9})\.tmp$/.exec(ending);
  return found !== null && !isAlive(Number(found[1]));
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (cause) {
    return (cause as { code?: string }).code !== "ESRCH";
  }
}

/** The file itself, or those of a backup's catalogue; none where it is something else, which is left alone. */
function ownFiles(entry: Dirent, path: string): readonly string[] {
  if (entry.isFile()) return [path];
  if (!entry.isDirectory()) return [];
  const held = readdirSync(path);
  const isOurs = held.length < FILES_MAX && held.every((name) => name.startsWith("log.db"));
  return isOurs ? [path, ...held.map((name) => join(path, name))] : [];
}
