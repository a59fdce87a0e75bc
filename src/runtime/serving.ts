import type { Row } from "../base/row.ts";
import { rowsOf } from "../contract/batch.ts";
import { CONTROL, LEDGER, labelsStream, scoresStream, VERDICTS } from "../contract/streams.ts";
import { applyRows, buildIndex, type LiveIndex } from "../fusion/index.ts";
import { type LatestVerdicts, rememberVerdicts } from "../monitoring/alerts.ts";
import { emptyRequestMemory, foldRequests, type RequestMemory } from "../scoring/requests.ts";
import type { Engine as Ort } from "../scoring/tensor.ts";
import type { StoredRows } from "../store/port.ts";
import { watchAlerts } from "./alerts.ts";
import type { Engine } from "./engine.ts";
import { deployConfigured, type LiveModels, liveModels } from "./live_models.ts";
import { countStored, type ServerMetrics, serverMetrics } from "./metrics.ts";
import { openOnnx } from "./models.ts";

/** What the serving thread holds: the online index, the live models, and what is counted; all of it folds of the log. */
export interface Serving {
  readonly engine: Engine;
  readonly ort: Ort;
  readonly models: LiveModels;
  readonly metrics: ServerMetrics;
  readonly verdicts: LatestVerdicts;
  index(): LiveIndex;
  /** The commit number folded: the cutoff of online answers. */
  position(): number;
  memory(model: string): RequestMemory;
  ready(): boolean;
  /** Folds the history, loads what is live; then follows the log until `close`. */
  start(): Promise<void>;
  close(): Promise<void>;
}

export type Log = (message: string, facts: object) => void;

/** Rows applied to the index before requests have a turn. */
const SLICE_ROWS = 512;
const POLL_MS = 1_000;
const RETRY_MS = 1_000;

interface State {
  index: LiveIndex | undefined;
  position: number;
  ready: boolean;
  closed: boolean;
  readonly memories: Map<string, RequestMemory>;
}

export function createServing(engine: Engine, log: Log): Serving {
  const ort = openOnnx(engine);
  const models = liveModels(engine, ort, log);
  const held = { engine, ort, models, metrics: serverMetrics(), verdicts: new Map() as LatestVerdicts };
  const state: State = { index: undefined, position: 0, ready: false, closed: false, memories: new Map() };
  const running: Promise<void>[] = [];
  return {
    ...held,
    index: () => state.index!,
    position: () => state.position,
    memory: (model) => state.memories.get(model) ?? emptyRequestMemory(),
    ready: () => state.ready,
    async start() {
      await deployConfigured(engine, ort, models.contexts, log);
      const history = await foldHistory(held, state);
      await models.follow();
      state.ready = true;
      running.push(
        follow(held, state, log),
        watchAlerts(held, history, () => state.closed, log),
      );
    },
    async close() {
      state.closed = true;
      state.ready = false;
      await Promise.all(running);
      models.close();
    },
  };
}

type Held = Pick<Serving, "engine" | "models" | "metrics" | "verdicts">;

/** The streams that are counted beside those that the index reads. */
function countedStreams({ models }: Held): string[] {
  const perModel = [...models.contexts.keys()].flatMap((name) => [scoresStream(name), labelsStream(name)]);
  return [LEDGER, VERDICTS, ...perModel];
}

/** Folds everything up to the head into the state; answers the verdicts, for the alerts to go on from. */
async function foldHistory(held: Held, state: State): Promise<readonly Row[]> {
  const { store, project } = held.engine;
  const { commitNo } = await store.head();
  for (const stream of countedStreams(held)) {
    for await (const stored of store.scan(stream, { upTo: commitNo })) countStored(held.metrics, stored);
  }
  const history = await verdictRows(held.engine, commitNo);
  rememberVerdicts(held.verdicts, history);
  state.index = await buildIndex(store, [...project.views.values()], commitNo);
  state.position = commitNo;
  for (const name of held.models.contexts.keys()) state.memories.set(name, await foldRequests(store, name));
  return history;
}

/** Follows the log until closed. A page that can't be read is tried again: requests go on being answered meanwhile. */
async function follow(held: Held, state: State, log: Log): Promise<void> {
  const { store } = held.engine;
  const streams = [...state.index!.streams, CONTROL, ...countedStreams(held)];
  while (!state.closed) {
    try {
      const page = await store.tail(state.position, streams, 4_096);
      let deployed = false;
      for (const stored of page.rows) deployed = (await fold(held, state, stored)) || deployed;
      state.position = page.upTo;
      if (deployed) await held.models.follow();
      if (page.upTo === page.head.commitNo) await store.waitBeyond(state.position, POLL_MS);
    } catch (error) {
      if (state.closed) return;
      log("following the log failed", { error: error instanceof Error ? error.message : String(error) });
      await Bun.sleep(RETRY_MS);
    }
  }
}

/** Takes rows of one commit and stream in; true where they deploy a model. */
async function fold(held: Held, state: State, stored: StoredRows): Promise<boolean> {
  countStored(held.metrics, stored);
  if (stored.stream === VERDICTS) rememberVerdicts(held.verdicts, rowsOf(stored.batch));
  const { length } = stored.batch;
  for (let at = 0; at < length && state.index!.streams.includes(stored.stream); at += SLICE_ROWS) {
    applyRows(state.index!, stored, at, Math.min(at + SLICE_ROWS, length));
    await new Promise((resolve) => setImmediate(resolve));
  }
  return stored.stream === CONTROL && rowsOf(stored.batch).some((row) => row.kind === "deploy");
}

/** Every verdict up to a commit, in the order they were written. */
async function verdictRows({ store }: Engine, upTo: number): Promise<Row[]> {
  const rows: { sequence: number; row: Row }[] = [];
  for await (const stored of store.scan(VERDICTS, { upTo })) {
    rowsOf(stored.batch).forEach((row, i) => rows.push({ sequence: stored.sequences[i]!, row }));
  }
  return rows.sort((a, b) => a.sequence - b.sequence).map(({ row }) => row);
}
