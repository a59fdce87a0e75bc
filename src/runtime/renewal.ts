import { MICROS_PER_SECOND, type Micros } from "../base/time.ts";
import { buildIndex, foldRange, type LiveIndex, removedFrom } from "../fusion/index.ts";
import type { StoredRows } from "../store/port.ts";
import { type Engine, type Log, type OpenedIndex, plansOf } from "./saved_index.ts";

/** After a failure it is not tried again before. */
const RETRY_AFTER = 10 * MICROS_PER_SECOND;

/** Makes the index anew where rows it was folded of are no longer in the log. Requests are answered from the old one meanwhile. */
export interface IndexRenewal {
  /** Hears of rows of REMOVALS that were read. */
  heard(stored: StoredRows): void;
  /**
   * To be called between commits, with the last that was folded: begins where there is need. Answers the new index once
   * it is folded up to that commit; the caller goes on with it instead of the old one.
   */
  take(position: number): Promise<OpenedIndex | undefined>;
  /** Whether rows were removed that the index that answers was folded of. Also false where making another failed. */
  isDue(): boolean;
  /** Gives up what is being made. */
  stop(): Promise<void>;
}

/** An index of the log as it is, up to a commit. */
interface Fresh {
  readonly index: LiveIndex;
  readonly begun: number;
  readonly upTo: number;
}

/** `streams` are those that the index reads, `position` the last commit that is folded. */
export function indexRenewal(
  engine: Engine,
  streams: readonly string[],
  position: () => number,
  log: Log,
): IndexRenewal {
  const { store } = engine;
  const { clock } = engine.world;
  let due = false;
  let stopped = false;
  let notBefore: Micros = Number.NEGATIVE_INFINITY;
  let fresh: Fresh | undefined;
  let running: Promise<void> | undefined;
  const make = async (): Promise<void> => {
    const begun = await store.beginFold();
    const first = position();
    const index = await buildIndex(store, plansOf(engine), first, { stopped: () => stopped });
    const upTo = position(); // most of what came meanwhile; `take` folds the rest while nothing else is folded
    await foldRange(store, index, first, upTo, () => stopped);
    if (!stopped) fresh = { index, begun, upTo };
  };
  const begin = () => {
    due = false;
    running = make()
      .catch((error) => {
        due = true;
        notBefore = clock.now() + RETRY_AFTER;
        if (!stopped) log("making the index anew failed", { error: (error as Error).message });
      })
      .finally(() => {
        running = undefined;
      });
  };
  return {
    heard(stored) {
      due ||= removedFrom(stored, streams);
    },
    async take(upTo) {
      if (due) fresh = undefined; // it may hold rows that were removed since it was begun
      if (due && !running && !stopped && clock.now() >= notBefore) begin();
      if (!fresh || due) return undefined;
      const { index, begun, upTo: from } = fresh;
      fresh = undefined;
      await foldRange(store, index, from, upTo);
      log("index made anew", { commit: upTo, why: "rows were removed from the log" });
      return { index, begun, saved: 0 };
    },
    isDue: () => (due && clock.now() >= notBefore) || running !== undefined || fresh !== undefined,
    async stop() {
      stopped = true;
      await running;
    },
  };
}
