import type { MlpeError } from "../base/errors.ts";
import { errorOf, type Failure } from "./channel.ts";
import { storeErrors } from "./errors.ts";
import type { QueryResult } from "./query.ts";
import type { QueryMessage } from "./query_worker.ts";

/** How often the memory of the process is looked at, in milliseconds. */
const LOOK_EVERY_MS = 10;
/** The longest that a timer can wait: three weeks. */
const TIMER_MAX_MS = 2 ** 31 - 1;
/** What the runtime itself grows by in the time of a query. */
const RUNTIME_BYTES = 8 << 20;

export interface ThreadBounds {
  /** Milliseconds from the start to the answer; no bound where undefined. */
  readonly timeoutMs?: number | undefined;
  /** Bytes of memory that the process holds now. */
  residentBytes(): number;
  /** The thread's entry file. Default the one beside this. */
  readonly workerUrl?: string | URL | undefined;
}

export interface ThreadAnswer {
  readonly result: QueryResult;
  /** What `skipDamaged` left out. */
  readonly leftOut: readonly MlpeError[];
}

type Told =
  | { readonly result: QueryResult; readonly leftOut: readonly Failure[] }
  | { readonly ceiling: number }
  | { readonly failure: Failure };

/**
 * `query` in a thread of its own, bounded in time and in all memory: while SQLite sorts, groups and joins, the process may
 * grow by what the rows left of `limits.memory`. Looked at every 10 ms, so it is passed by what SQLite takes meanwhile. The
 * thread starts while it is not known yet what is `asked`.
 *
 * Throws what `query` throws; at the bounds `store.query_too_large` and `store.query_too_long`. Then the thread may go on
 * inside SQLite, which nothing ends but the end of the process: that is for the caller to do, at once.
 */
export async function queryInThread(asked: Promise<QueryMessage>, bounds: ThreadBounds): Promise<ThreadAnswer> {
  const { timeoutMs, workerUrl } = bounds;
  // Written out here, so that the bundler finds the entry file.
  const worker = workerUrl ? new Worker(workerUrl) : new Worker(new URL("./query_worker.ts", import.meta.url));
  let ceiling = Number.POSITIVE_INFINITY;
  const { promise, resolve, reject } = Promise.withResolvers<ThreadAnswer>();
  promise.catch(() => {}); // it may fail before it is awaited
  const ended = (why: string) => reject(storeErrors.error("query_ended", `the thread of the query ended: ${why}`));
  worker.onerror = (event) => ended(event.message);
  worker.addEventListener("close", () => ended("it stopped by itself"));
  worker.onmessage = ({ data }: MessageEvent<Told>) => {
    if ("ceiling" in data) ceiling = data.ceiling + RUNTIME_BYTES;
    else if ("failure" in data) reject(errorOf(data.failure));
    else resolve({ result: data.result, leftOut: data.leftOut.map((failure) => errorOf(failure) as MlpeError) });
  };
  const look = setInterval(() => {
    if (bounds.residentBytes() > ceiling) reject(tooMuchMemory(memory));
  }, LOOK_EVERY_MS);
  const deadline =
    timeoutMs === undefined
      ? undefined
      : setTimeout(() => reject(tooLong(timeoutMs)), Math.min(timeoutMs, TIMER_MAX_MS));
  let memory: number | undefined;
  try {
    const message = await asked;
    memory = message.limits.memory;
    worker.postMessage(message);
    return await promise;
  } finally {
    clearInterval(look);
    clearTimeout(deadline);
    worker.terminate();
  }
}

function tooMuchMemory(memory: number | undefined): MlpeError {
  const bound = memory === undefined ? "" : ` (${Math.round(memory / (1 << 20))} MiB)`;
  return storeErrors.error(
    "query_too_large",
    `the query needs more memory than its bound${bound} to sort, group, join and answer`,
    {
      fix: "Select, sort, group and join fewer rows and columns, or raise the bound: --memory of `mlpe query`, in MiB; whole streams go out through `mlpe export`.",
    },
  );
}

function tooLong(timeoutMs: number): MlpeError {
  return storeErrors.error("query_too_long", `the query was not answered within ${timeoutMs / 1000} s`, {
    fix: "Read and join less, or raise the bound: --timeout of `mlpe query`, in seconds; 0 is none.",
  });
}
