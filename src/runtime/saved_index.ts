import { MICROS_PER_SECOND, type Micros } from "../base/time.ts";
import type { World } from "../base/world.ts";
import { buildIndex, createIndex, foldRange, type LiveIndex } from "../fusion/index.ts";
import { restoreIndex, savedTag, saveIndex } from "../fusion/saved.ts";
import type { LogStore } from "../store/store.ts";
import type { ServerMetrics } from "./metrics.ts";
import type { Project } from "./project.ts";
import { VERSION } from "./version.ts";

/** Rows folded since the index was saved before it is saved again: about a second of folding. */
const ROWS_TO_SAVE = 200_000;
/** The same as a part of the index, where that is more: what is written stays in proportion to what is new. */
const PART_TO_SAVE = 1 / 8;
/** The same at a clean stop. */
const ROWS_TO_SAVE_AT_STOP = 20_000;
/** A stop waits so long for the index to be saved; then the next start folds more. */
const STOP_WAIT = 5 * MICROS_PER_SECOND;
/** After a failure it is not tried again before. */
const RETRY_AFTER = 60 * MICROS_PER_SECOND;

export type Log = (message: string, facts: object) => void;

/** What of an engine this needs. */
export interface Engine {
  readonly store: LogStore;
  readonly project: Pick<Project, "views">;
  readonly world: Pick<World, "clock">;
}

/** An index, and how many of its places are in its saved form. */
export interface OpenedIndex {
  readonly index: LiveIndex;
  /** Of the store: rows that are removed from the log from then on may be in the index. */
  readonly begun: number;
  readonly saved: number;
}

export const plansOf = ({ project }: Engine) => [...project.views.values()];
const foldOf = (engine: Engine) => ({ name: "online index", tag: savedTag(plansOf(engine), VERSION) });

/** The online index of everything up to a commit: from where it was saved, if it was and what was saved is whole. */
export async function openIndex(engine: Engine, upTo: number, log: Log): Promise<OpenedIndex> {
  const { store } = engine;
  const begun = await store.beginFold();
  const passedOver = (why: string) => log("saved index passed over", { why });
  const saved = await store.loadFold(foldOf(engine), passedOver);
  if (saved && saved.upTo <= upTo) {
    const index = createIndex(plansOf(engine));
    try {
      await restoreIndex(index, saved.parts);
      const places = placesIn(index);
      log("index restored", { commit: saved.upTo, rows: places });
      await foldRange(store, index, saved.upTo, upTo);
      return { index, begun, saved: places };
    } catch (error) {
      passedOver((error as Error).message);
    }
  }
  return { index: await buildIndex(store, plansOf(engine), upTo), begun, saved: 0 };
}

const placesIn = (index: LiveIndex): number => [...index.tables.values()].reduce((sum, { length }) => sum + length, 0);

/** Saves the index when folding on from where it was saved would take a while. One at a time. */
export interface IndexSaver {
  /** To be called between commits, with the last that was folded: begins to save if it is worth it. */
  folded(position: number): void;
  /** Saves a last time, if it is worth it and does not take too long. */
  stop(position: number): Promise<void>;
  /** What was saved is gone. */
  lost(): void;
  /** From now on another index is to be saved. */
  renew(opened: OpenedIndex): void;
}

export function indexSaver(engine: Engine, opened: OpenedIndex, metrics: ServerMetrics, log: Log): IndexSaver {
  const { clock } = engine.world;
  let current = opened;
  let { saved } = opened;
  let notBefore: Micros = Number.NEGATIVE_INFINITY;
  let deadline: Micros = Number.POSITIVE_INFINITY;
  let running: Promise<void> | undefined;
  async function* inTime(parts: AsyncIterable<Uint8Array>) {
    for await (const part of parts) {
      if (clock.now() > deadline) throw new Error("the server stops and it takes too long");
      yield part;
    }
  }
  const save = async (position: number): Promise<void> => {
    const own = current;
    const { index, begun } = own;
    const places = placesIn(index);
    const from = clock.now();
    try {
      const kept = await engine.store.saveFold({ ...foldOf(engine), upTo: position }, begun, inTime(saveIndex(index)));
      // What the log no longer has must not come back with a start.
      if (own === current) saved = kept ? places : Number.POSITIVE_INFINITY;
      if (!kept) log("index not saved", { why: "rows were removed from the log since it was folded" });
      else log("index saved", { commit: position, rows: places, seconds: (clock.now() - from) / MICROS_PER_SECOND });
    } catch (error) {
      notBefore = clock.now() + RETRY_AFTER;
      metrics.add("mlpe_index_save_failures_total");
      log("saving the index failed", { error: (error as Error).message });
    }
  };
  const begin = (position: number) => {
    running = save(position).finally(() => {
      running = undefined;
    });
  };
  return {
    folded(position) {
      const places = placesIn(current.index);
      if (running || places - saved < Math.max(ROWS_TO_SAVE, places * PART_TO_SAVE) || clock.now() < notBefore) return;
      begin(position);
    },
    async stop(position) {
      deadline = clock.now() + STOP_WAIT;
      await running;
      if (placesIn(current.index) - saved < ROWS_TO_SAVE_AT_STOP || clock.now() >= deadline) return;
      begin(position);
      await running;
    },
    lost() {
      if (saved !== Number.POSITIVE_INFINITY) saved = 0;
    },
    renew(other) {
      current = other;
      saved = other.saved;
    },
  };
}
