import { MlpeError } from "../base/errors.ts";
import type { World } from "../base/world.ts";
import { createIngestState, type IngestState } from "../ingestion/state.ts";
import type { LogStore, OpenOptions } from "../store/store.ts";
import { openStore } from "../store/store.ts";
import { runtimeErrors } from "./errors.ts";
import { openProject, type Project, type ProjectLocation } from "./project.ts";

/** A project with its store open: what every command and thread works on. */
export interface Engine {
  readonly world: World;
  readonly project: Project;
  readonly store: LogStore;
  /** Dedupe state and places in the sources, folded when first needed. */
  readonly ingestState: IngestState;
  close(): Promise<void>;
}

/** Opens a project and its store. `read` is allowed beside a running server, `write` is not. */
export async function openEngine(world: World, location: ProjectLocation, mode: "read" | "write"): Promise<Engine> {
  const project = await openProject(world, location);
  const store = await openLog({
    directory: project.dataDirectory,
    keys: project.config.keys,
    clock: world.clock,
    random: world.random,
    mode,
    cacheBytes: cacheOf(project),
    space: { ...project.config.space, ballast: { bytes: 0 } }, // only a server makes the ballast
    // Compaction and the waits for the disk happen beside the work, not in it.
    ...(mode === "write" ? { thread: true, workerUrl: world.workers.log } : {}),
  });
  return engineOver(world, project, store);
}

/** The threads that read: the one that serves, and the pipeline. */
const READING_THREADS = 2;

/** A thread's share of what reads of the log keep decoded. */
export const cacheOf = ({ config }: Project): number => Math.floor(config.store.cache / READING_THREADS);

/** Opens the store; what the operating system or SQLite refuses is said of the data directory, in words. */
export const openLog = (options: OpenOptions): Promise<LogStore> => ofDirectory(options.directory, openStore(options));

/** The same of whatever opens a store and works. */
export async function ofDirectory<Result>(directory: string, work: Promise<Result>): Promise<Result> {
  try {
    return await work;
  } catch (cause) {
    if (cause instanceof MlpeError) throw cause;
    const code = systemCode(cause);
    if (code === undefined) throw cause;
    const refused = UNUSABLE[code] ?? UNUSABLE[primaryCode(code)] ?? `the operating system answers ${code}`;
    throw runtimeErrors.error("unusable_data", `${directory} can't be used as a data directory: ${refused}`, {
      place: directory,
      cause,
    });
  }
}

/** SQLite's extended codes begin with the primary one: `SQLITE_READONLY_DIRECTORY`. */
const primaryCode = (code: string): string => code.split("_").slice(0, 2).join("_");

/** From the log thread an error comes as its message alone, which begins with the code (`ENOTDIR: ...`). */
function systemCode(cause: unknown): string | undefined {
  const { code, message = "" } = cause as { code?: unknown; message?: string };
  if (typeof code === "string") return code;
  return SQLITE_SAYS[message] ?? /^(E[A-Z]+):/.exec(message)?.[1];
}

const SQLITE_SAYS: Readonly<Record<string, string>> = {
  "file is not a database": "SQLITE_NOTADB",
  "database disk image is malformed": "SQLITE_CORRUPT",
  "unable to open database file": "SQLITE_CANTOPEN",
  "attempt to write a readonly database": "SQLITE_READONLY",
  "disk I/O error": "SQLITE_IOERR",
  "database or disk is full": "SQLITE_FULL",
};

const UNUSABLE: Readonly<Record<string, string>> = {
  ENOTDIR: "it is a file, or lies below one",
  EEXIST: "it is a file",
  EACCES: "this user may not use it",
  EPERM: "this user may not use it",
  EROFS: "its file system is read-only",
  ENOSPC: "its disk is full",
  SQLITE_NOTADB: "its log.db is no log of MLPE",
  SQLITE_CORRUPT: "its log.db is damaged",
  SQLITE_CANTOPEN: "it or its log.db can't be written by this user, or its file system is read-only",
  SQLITE_READONLY: "its log.db can't be written by this user, or its file system is read-only",
  SQLITE_IOERR: "its disk can't be read or written",
  SQLITE_FULL: "its disk is full",
};

/** The engine over a store that is open already. */
export function engineOver(world: World, project: Project, store: LogStore): Engine {
  return { world, project, store, ingestState: createIngestState(), close: () => store.close() };
}

/** Opens, works, and closes whatever happens. */
export async function withEngine<Result>(
  world: World,
  location: ProjectLocation,
  mode: "read" | "write",
  work: (engine: Engine) => Promise<Result>,
): Promise<Result> {
  const engine = await openEngine(world, location, mode);
  try {
    return await work(engine);
  } finally {
    await engine.close();
  }
}
