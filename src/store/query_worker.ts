import { systemClock } from "../base/clock.ts";
import { systemRandom } from "../base/random.ts";
import type { KeySettings } from "../keys/registry.ts";
import { failureOf } from "./channel.ts";
import { passingOver } from "./damage.ts";
import { type QueryLimits, query } from "./query.ts";
import { openStore } from "./store.ts";

/**
 * The query thread: the entry file of a Worker that answers one query from a handle of its own. SQLite can't be interrupted
 * from outside, so whoever asked looks after memory and time, and ends the process where it takes too much of them.
 */
declare const self: Worker;

export interface QueryMessage {
  readonly directory: string;
  readonly keys: KeySettings;
  readonly cacheBytes?: number | undefined;
  readonly sql: string;
  readonly limits: Pick<QueryLimits, "rows" | "read" | "memory">;
  /** Damaged rows are left out and listed. */
  readonly skipDamaged: boolean;
}

self.onmessage = async ({ data }: MessageEvent<QueryMessage>) => {
  try {
    self.postMessage(await answered(data));
  } catch (cause) {
    self.postMessage({ failure: failureOf(cause) });
  }
};

async function answered({ directory, keys, cacheBytes, sql, limits, skipDamaged }: QueryMessage) {
  const store = await openStore({
    directory,
    keys,
    cacheBytes,
    clock: systemClock,
    random: systemRandom,
    mode: "read",
  });
  try {
    // From here to the answer this thread is in SQLite: what the process grows by is SQLite's.
    const answering = (left: number) => self.postMessage({ ceiling: process.memoryUsage.rss() + left });
    const passing = skipDamaged ? passingOver(store) : { store, leftOut: () => [] };
    const result = await query(passing.store, sql, { ...limits, answering });
    return { result, leftOut: passing.leftOut().map(failureOf) };
  } finally {
    await store.close();
  }
}
