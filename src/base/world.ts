import type { Clock } from "./clock.ts";
import type { Random } from "./random.ts";

/** Everything outside the process that commands may touch. `main.ts` wires the real one; tests may narrow it. */
export interface World {
  readonly clock: Clock;
  readonly random: Random;
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** Absolute; relative paths on the command line start here. */
  readonly workingDirectory: string;
  /** Whether a person watches: progress and colour only then. */
  readonly terminal: boolean;
  /** A line on standard output. */
  print(text: string): void;
  /** Bytes on standard output; resolves once it took them. Where its reader went away there is an error. */
  write(bytes: Uint8Array): Promise<void>;
  /** A line on standard output; resolves once it took that, or never will: a slow reader holds up who waits for it. */
  printed(text: string): Promise<void>;
  /** A line on standard error. */
  warn(text: string): void;
  /** Rewrites one status line on a terminal; silent elsewhere. */
  progress(text: string): void;
  readonly files: Files;
  /** Runs this same program again as a new process and waits for it. */
  again(args: readonly string[], options?: AgainOptions): Promise<{ code: number; output: string; errors: string }>;
  /** Everything on standard input. */
  input(): Promise<string>;
  /** Resolves when the process is asked to stop. Asked a second time, the process ends at once. */
  stopRequested(): Promise<StopSignal>;
  /** Bytes of memory the process holds now. */
  residentBytes(): number;
  /** Where the threads' entry files are. */
  readonly workers: {
    readonly log: string;
    readonly pipeline: string;
    readonly query: string;
    readonly restore: string;
  };
}

export type StopSignal = "SIGINT" | "SIGTERM";

export interface AgainOptions {
  /** Given on standard input, which is otherwise empty. */
  readonly input?: string;
  /** Variables beside this process's own. */
  readonly environment?: Readonly<Record<string, string>>;
  readonly timeoutMs?: number;
}

export interface DirectoryEntry {
  readonly name: string;
  readonly kind: "file" | "directory" | "other";
  readonly bytes: number;
}

export interface Files {
  read(path: string): Promise<Uint8Array>;
  /** Writes whole: to a temporary neighbour, synced, then renamed. */
  write(path: string, bytes: Uint8Array | string, mode?: number): Promise<void>;
  /** The same of parts that come one after another; what could not be written whole is not there. */
  writeParts(path: string, parts: AsyncIterable<Uint8Array>, mode?: number): Promise<void>;
  exists(path: string): Promise<boolean>;
  /** Plain files below a directory, as relative paths with `/`, sorted. */
  list(directory: string): Promise<readonly string[]>;
  /** What lies directly in a directory, sorted, at most `most` of it; a link is `other`. Undefined where it can't be read. */
  look(directory: string, most: number): Promise<readonly DirectoryEntry[] | undefined>;
  makeDirectory(path: string): Promise<void>;
  /** Removes a plain file; one that is not there is no error, a directory is. */
  removeFile(path: string): Promise<void>;
  removeDirectory(path: string): Promise<void>;
  /**
   * Until what it gives is called: a signal that ends the process removes the file, or the directory with what is in it, first,
   * also where another thread is still writing there.
   */
  removedWhenStopped(path: string): () => void;
  /** Bytes of all files below. */
  size(directory: string): Promise<number>;
}
