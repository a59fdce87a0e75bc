import { constants, lstatSync, rmSync } from "node:fs";
import { type FileHandle, lstat, mkdir, open, opendir, readdir, rename, rm, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { systemClock } from "./base/clock.ts";
import { MlpeError } from "./base/errors.ts";
import { systemRandom } from "./base/random.ts";
import type { DirectoryEntry, Files, StopSignal, World } from "./base/world.ts";
import { cliErrors, EXIT_OUTPUT, EXIT_STOPPED } from "./cli/errors.ts";
import { removeLeftovers, temporaryOf } from "./store/leftovers.ts";

/** The real world: the only reader of the environment, the terminal and the file system outside the rooms for it. */
const files: Files = {
  async read(path) {
    try {
      return await Bun.file(path).bytes();
    } catch (cause) {
      throw cliErrors.error("no_such_file", `${path} can't be read: ${why(cause)}`, {
        place: path,
        cause,
      });
    }
  },
  write: (path, bytes, mode = 0o644) => writeFile(path, mode, (handle) => handle.writeFile(bytes)),
  writeParts: (path, parts, mode = 0o644) =>
    writeFile(path, mode, async (handle) => {
      for await (const part of parts) await handle.appendFile(part);
    }),
  exists: (path) =>
    stat(path).then(
      () => true,
      () => false,
    ),
  async list(directory) {
    const entries = await readdir(directory, { recursive: true, withFileTypes: true }).catch((cause) => {
      throw cliErrors.error("no_such_file", `${directory} is not a directory that can be read`, {
        place: directory,
        cause,
      });
    });
    return entries
      .filter((entry) => entry.isFile())
      .map((entry) => join(entry.parentPath, entry.name).slice(directory.length).replace(/^\/+/, ""))
      .sort();
  },
  async look(directory, most) {
    const entries: DirectoryEntry[] = [];
    try {
      for await (const { name } of await opendir(directory)) {
        if (entries.length >= most) break;
        const status = await lstat(join(directory, name));
        const kind = status.isFile() ? "file" : status.isDirectory() ? "directory" : "other";
        entries.push({ name, kind, bytes: status.size });
      }
    } catch {
      return undefined;
    }
    return entries.sort((a, b) => (a.name < b.name ? -1 : 1));
  },
  makeDirectory: async (path) => void (await mkdir(path, { recursive: true, mode: 0o700 })),
  removeFile: (path) => rm(path, { force: true }),
  removedWhenStopped,
  removeDirectory: (path) => rm(path, { recursive: true, force: true }),
  async size(directory) {
    const sizes = await Promise.all(
      (await files.list(directory)).map(async (path) => (await stat(join(directory, path))).size),
    );
    return sizes.reduce((sum, size) => sum + size, 0);
  },
};

/** To a temporary neighbour, synced, then renamed. */
async function writeFile(path: string, mode: number, fill: (handle: FileHandle) => Promise<void>): Promise<void> {
  const temporary = temporaryOf(path);
  const unwatch = removedWhenStopped(temporary);
  try {
    await mkdir(dirname(path), { recursive: true });
    const handle = await open(temporary, constants.O_CREAT | constants.O_WRONLY | constants.O_TRUNC, mode);
    try {
      removeLeftovers(path);
      await fill(handle);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(temporary, path);
  } catch (cause) {
    await rm(temporary, { force: true }).catch(() => {}); // the first failure is the one to tell
    if (cause instanceof MlpeError) throw cause; // what makes the parts has its own words
    throw cliErrors.error("not_written", `${path} can't be written: ${why(cause)}`, { place: path, cause });
  } finally {
    unwatch();
  }
}

const SIGNALS = ["SIGINT", "SIGTERM"] as const;

/**
 * Until what it gives is called: a process that a signal ends removes the file first. Where others listen for the signal they
 * decide when the process ends, and the file is written to its end.
 */
function removedWhenStopped(temporary: string): () => void {
  if (!Bun.isMainThread) return () => {};
  function removeAndStop(signal: NodeJS.Signals) {
    if (process.listeners(signal).some(({ name }) => name !== removeAndStop.name)) return;
    removeAll(temporary);
    process.off(signal, removeAndStop);
    // Each file that is being written has one: the last ends the process.
    if (process.listenerCount(signal) === 0) process.exit(EXIT_STOPPED[signal as StopSignal]);
  }
  for (const signal of SIGNALS) process.on(signal, removeAndStop);
  return () => {
    for (const signal of SIGNALS) process.off(signal, removeAndStop);
  };
}

/** Another thread may be writing into the directory: once its folders are gone it can't. */
const REMOVALS_MAX = 100;

function removeAll(path: string): void {
  for (let tries = 1; tries <= REMOVALS_MAX && lstatSync(path, { throwIfNoEntry: false }); tries++) {
    try {
      rmSync(path, { recursive: true, force: true });
    } catch {
      // A file came after the folder was listed.
    }
  }
}

const WHY: Readonly<Record<string, string>> = {
  ENOENT: "it does not exist",
  EISDIR: "it is a directory",
  ENOTDIR: "a part of the path is no directory",
  EEXIST: "a part of the path is no directory",
  EACCES: "this user may not use it",
  EROFS: "the file system is read-only",
  ENOSPC: "the disk is full",
  EPIPE: "its reader went away",
};
function why(cause: unknown): string {
  const code = (cause as NodeJS.ErrnoException).code ?? "unknown";
  return WHY[code] ?? code;
}

/** How to start this program again: the compiled executable, or bun with this file. */
const self = Bun.main.startsWith("/$bunfs/") ? [process.execPath] : [process.execPath, Bun.main];

/**
 * What JavaScriptCore takes for the memory of the machine: the size of a heap by which the next collection comes. By the true
 * size heaps are tripled first, which on a machine of 24 GB were 900 MiB for 250 MiB of live rows. It is no limit: a larger
 * heap is collected each time it has grown by a quarter.
 */
const HEAP_YARDSTICK = 256 << 20;
/** Read by the engine when a process starts, and at no other time. */
const YARDSTICK_VARIABLE = "BUN_JSC_forceRAMSize";
/** What a process whose heaps are kept small has in its environment. */
export const SMALL_HEAPS = { [YARDSTICK_VARIABLE]: String(HEAP_YARDSTICK) };

/** Starts this program again with heaps that are kept small, as the same process; comes back where they are so already. */
export function keepHeapsSmall(): void {
  if (process.env[YARDSTICK_VARIABLE] !== undefined) return;
  const [file, ...first] = [self[0] as string, ...process.execArgv, ...self.slice(1)];
  const words = [process.argv0, ...first, ...process.argv.slice(2)];
  process.execve?.(file, words, { ...process.env, ...SMALL_HEAPS });
}

export const systemWorld: World = {
  clock: systemClock,
  random: systemRandom,
  environment: process.env,
  workingDirectory: process.cwd(),
  terminal: process.stderr.isTTY === true,
  print: (text) => void process.stdout.write(`${text}\n`),
  write: (bytes) =>
    new Promise((resolve, reject) => {
      const failed = (cause: unknown) =>
        reject(cliErrors.error("not_written", `standard output can't be written: ${why(cause)}`, { cause }));
      process.stdout.write(bytes, (cause) => (cause ? failed(cause) : resolve()));
    }),
  // The line's own callback: that of an empty text comes at once, whatever waits before it.
  printed: (text) => new Promise((resolve) => void process.stdout.write(`${text}\n`, () => resolve())),
  warn: (text) => void process.stderr.write(`${text}\n`),
  progress: (text) => void (process.stderr.isTTY && process.stderr.write(`\r\u001b[2K${text}`)),
  files,
  async again(args, { input, environment, timeoutMs = 300_000 } = {}) {
    const child = Bun.spawn([...self, ...args], {
      stdin: input === undefined ? "ignore" : new TextEncoder().encode(input),
      stdout: "pipe",
      stderr: "pipe",
      env: { ...process.env, ...environment },
      timeout: timeoutMs,
    });
    const [output, errors, code] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
    return { code, output, errors };
  },
  input: () => Bun.stdin.text(),
  stopRequested: () =>
    new Promise((resolve) => {
      process.once("SIGINT", () => resolve("SIGINT"));
      process.once("SIGTERM", () => resolve("SIGTERM"));
    }),
  residentBytes: () => process.memoryUsage.rss(),
  // Relative to the entry point: a compiled executable keeps its workers beside it.
  workers: {
    log: new URL("./store/log_worker.ts", import.meta.url).href,
    pipeline: new URL("./pipeline_worker.ts", import.meta.url).href,
    query: new URL("./store/query_worker.ts", import.meta.url).href,
    restore: new URL("./runtime/restore_worker.ts", import.meta.url).href,
  },
};

/**
 * Watches the two output streams, and gives what waits at the end until they have taken everything: a pipe takes 64 KiB
 * at once, the rest would be lost with the process. Output that can't be written is said once and is the exit code; a
 * reader that went away (`| head`) is no failure.
 */
export function outputGuard(): (code: number) => Promise<number> {
  const streams = [process.stdout, process.stderr];
  const failed = new Map<NodeJS.WriteStream, string>();
  const over = new Set<NodeJS.WriteStream>();
  for (const stream of streams) {
    stream.on("error", (cause) => {
      over.add(stream);
      if ((cause as NodeJS.ErrnoException).code !== "EPIPE" && !failed.has(stream)) failed.set(stream, why(cause));
    });
  }
  const taken = (stream: NodeJS.WriteStream) =>
    new Promise<void>((resolve) => {
      stream.once("error", () => resolve());
      stream.once("close", () => resolve());
      if (over.has(stream) || stream.destroyed) resolve();
      else stream.end(() => resolve());
    });
  return async (code) => {
    await taken(process.stdout);
    const reason = failed.get(process.stdout);
    if (reason !== undefined)
      process.stderr.write(`error cli.not_written: standard output can't be written: ${reason}\n`);
    await taken(process.stderr);
    return failed.size > 0 ? EXIT_OUTPUT : code;
  };
}
