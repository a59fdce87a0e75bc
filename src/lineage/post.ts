import type { Micros } from "../base/time.ts";
import { columnNamed, valueAt } from "../contract/batch.ts";
import { LINEAGE } from "../contract/streams.ts";
import type { Store, TailPage } from "../store/port.ts";

/** Sends one event's JSON text. Throws, or answers any status, when it did not arrive. */
export type Post = (body: string) => Promise<{ readonly status: number }>;

/** What a poster remembers between steps. Losing it costs only a second look at commits without lineage. */
export interface PostState {
  /** The commit number that is durable as the reader's position. */
  readonly durable: number;
  /** The commit number seen so far: never behind `durable`. */
  readonly seen: number;
  /** Failures in a row. */
  readonly failures: number;
  /** Nothing is tried before this time. */
  readonly notBefore: Micros;
}

export interface PostStep {
  readonly state: PostState;
  readonly posted: number;
  /** Events that the server called invalid: they are skipped, since sending them again can't help. */
  readonly rejected: readonly { readonly event: string; readonly status: number }[];
  /** Why the step stopped early. */
  readonly failure?: string;
  /** No lineage is waiting. */
  readonly atEnd: boolean;
}

export interface PostOptions {
  readonly store: Store;
  readonly post: Post;
  readonly now: Micros;
  /** The state of the step before; absent on the first. */
  readonly state?: PostState | undefined;
  readonly reader?: string;
  /** About so many events a step. */
  readonly maxEvents?: number;
}

export const POST_READER = "lineage/post";
const FIRST_WAIT: Micros = 1_000_000;
const LONGEST_WAIT: Micros = 5 * 60 * 1_000_000;
/** A position this far behind what was seen is made durable even if no lineage was passed. */
const LAG_MAX = 1_000;
/** The event itself is at fault. Anything else (credentials, address, load, the network) may pass. */
const PERMANENT: ReadonlySet<number> = new Set([400, 413, 422]);

/**
 * Posts the lineage events that wait, in commit order, and moves the reader's position past every commit whose events
 * all arrived. On the first failure it stops and waits 1 s, doubling to at most 5 min: events stay in the log however long the
 * server is away. An event may be sent again after a failure or a crash; OpenLineage events are identified by run and
 * type, so the effect is once.
 */
export async function stepPost(options: PostOptions): Promise<PostStep> {
  const { store, now } = options;
  const reader = options.reader ?? POST_READER;
  const state = options.state ?? (await firstState(store, reader));
  if (now < state.notBefore) return { state, posted: 0, rejected: [], atEnd: false };
  const page = await store.tail(state.seen, [LINEAGE], options.maxEvents ?? 512);
  const sent = await sendPage(page, state.seen, options.post);
  const passed = sent.posted + sent.rejected.length > 0 || sent.through - state.durable >= LAG_MAX;
  let durable = state.durable;
  if (passed && sent.through > durable) {
    await store.commit({
      appends: [],
      readers: { [reader]: sent.through },
      expect: { readers: { [reader]: state.durable } },
    });
    durable = sent.through;
  }
  const failures = sent.failure === undefined ? 0 : state.failures + 1;
  const wait = failures === 0 ? 0 : Math.min(FIRST_WAIT * 2 ** (failures - 1), LONGEST_WAIT);
  return {
    state: { durable, seen: sent.through, failures, notBefore: failures === 0 ? 0 : now + wait },
    posted: sent.posted,
    rejected: sent.rejected,
    ...(sent.failure === undefined ? {} : { failure: sent.failure }),
    atEnd: sent.failure === undefined && page.upTo >= page.head.commitNo,
  };
}

async function firstState(store: Store, reader: string): Promise<PostState> {
  const durable = await store.position(reader);
  return { durable, seen: durable, failures: 0, notBefore: 0 };
}

interface Sent {
  /** The last commit whose events all arrived. */
  readonly through: number;
  readonly posted: number;
  readonly rejected: readonly { event: string; status: number }[];
  readonly failure?: string;
}

async function sendPage(page: TailPage, after: number, post: Post): Promise<Sent> {
  const rejected: { event: string; status: number }[] = [];
  let posted = 0;
  let through = after;
  for (const rows of page.rows) {
    const column = columnNamed(rows.batch, "event");
    for (let i = 0; i < rows.batch.length; i++) {
      through = Math.max(through, rows.commitNos[i]! - 1);
      const event = valueAt(column, "string", i) as string;
      const outcome = await tryPost(post, event);
      if (typeof outcome === "string") return { through, posted, rejected, failure: outcome };
      if (outcome.status >= 200 && outcome.status < 300) posted++;
      else if (PERMANENT.has(outcome.status)) rejected.push({ event, status: outcome.status });
      else return { through, posted, rejected, failure: `the server answered ${outcome.status}` };
    }
  }
  return { through: page.upTo, posted, rejected };
}

async function tryPost(post: Post, event: string): Promise<{ readonly status: number } | string> {
  try {
    return await post(event);
  } catch (error) {
    // The network's failure is the value that the backoff is made of.
    return error instanceof Error ? error.message : String(error);
  }
}
