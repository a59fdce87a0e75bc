import type { Row } from "../base/row.ts";
import { rowsOf } from "../contract/batch.ts";
import { CONTROL, ERASURES, LEDGER, labelsStream, scoresStream, VERDICTS } from "../contract/streams.ts";
import { applyRows, type LiveIndex, REMOVALS } from "../fusion/index.ts";
import { type LatestVerdicts, rememberVerdicts } from "../monitoring/alerts.ts";
import { emptyRequestMemory, foldRequests, type RequestMemory } from "../scoring/requests.ts";
import type { Engine as Ort } from "../scoring/tensor.ts";
import { isDamage } from "../store/damage.ts";
import type { ErasedEntities } from "../store/erased.ts";
import type { SpaceReport } from "../store/space.ts";
import { watchAlerts } from "./alerts.ts";
import { type Degradation, degradation, LIVE_MODELS } from "./damage.ts";
import type { Engine } from "./engine.ts";
import { type Following, type FollowState, followPage, followState } from "./follow.ts";
import { deployConfigured, type LiveModels, liveModels } from "./live_models.ts";
import { countRows, countStored, measureLog, type ServerMetrics, serverMetrics } from "./metrics.ts";
import { openOnnx } from "./models.ts";
import { type IndexRenewal, indexRenewal } from "./renewal.ts";
import { type IndexSaver, indexSaver, openIndex } from "./saved_index.ts";
import { followSpace } from "./space.ts";

/** What the serving thread holds: the online index, the live models, and what is counted; all of it folds of the log. */
export interface Serving {
  readonly engine: Engine;
  readonly ort: Ort;
  readonly models: LiveModels;
  readonly metrics: ServerMetrics;
  readonly verdicts: LatestVerdicts;
  readonly log: Log;
  index(): LiveIndex;
  /** The commit number folded: the cutoff of online answers. */
  position(): number;
  /** While a commit is in the index in part: resolves when it is there whole. Look again afterwards. */
  folding(): Promise<void> | undefined;
  memory(model: string): RequestMemory;
  ready(): boolean;
  /** What damage the server goes on without. */
  readonly degraded: Degradation;
  /** Resolves once nothing is answered any more from rows that were removed from the log up to that commit. */
  renewed(commitNo: number): Promise<void>;
  /** What the log thread measured of the disk last. */
  space(): SpaceReport | undefined;
  /** Which entities were erased: what names one is not stored again. */
  erased(): ErasedEntities | undefined;
  /** Counts and logs scores that are answered without being stored. */
  notStored(model: string, rows: readonly Row[]): void;
  /** Folds the history, loads what is live; then follows the log until `close`. */
  start(): Promise<void>;
  close(): Promise<void>;
}

export type Log = (message: string, facts: object) => void;

/** Most score ids of one request in the log line of scores that are not stored. */
const IDS_LOGGED_MAX = 100;
const POLL_MS = 1_000;
/** The same while someone waits for the index to be made anew. */
const RENEWAL_POLL_MS = 20;
const RETRY_MS = 1_000;

interface State {
  index: LiveIndex | undefined;
  saver: IndexSaver | undefined;
  renewal: IndexRenewal | undefined;
  readonly following: FollowState;
  ready: boolean;
  closed: boolean;
  readonly memories: Map<string, RequestMemory>;
  /** Rows were erased, and what is remembered of stored rows is not looked through yet. */
  erased: boolean;
  /** As `Serving.erased`. */
  entities: ErasedEntities | undefined;
  /** Those who wait for what was removed to be gone here too. */
  readonly waiting: { readonly commitNo: number; readonly resolve: () => void }[];
}

const beginning = (): State => ({
  index: undefined,
  saver: undefined,
  renewal: undefined,
  following: followState(0),
  ready: false,
  closed: false,
  memories: new Map(),
  erased: false,
  entities: undefined,
  waiting: [],
});

export function createServing(engine: Engine, log: Log): Serving {
  const ort = openOnnx(engine);
  const models = liveModels(engine, ort, log);
  const held = {
    engine,
    ort,
    models,
    metrics: serverMetrics(),
    verdicts: new Map() as LatestVerdicts,
    degraded: degradation(log),
  };
  const state = beginning();
  const running: Promise<void>[] = [];
  engine.store.onEnded(() => {
    state.ready = false;
    state.closed = true;
  });
  engine.store.onCompactionFailed(({ cause, retryInMs }) => {
    if (retryInMs === undefined && isDamage(cause)) return held.degraded.met(cause, "merging of a segment");
    held.metrics.add("mlpe_log_compaction_failures_total");
    log("compaction failed", { error: errorText(cause), retry_in_ms: retryInMs });
  });
  engine.store.onRekeyed(() => state.saver?.lost());
  const space = followSpace(engine, held.metrics, log);
  return {
    ...held,
    log,
    index: () => state.index!,
    position: () => state.following.position,
    folding: () => state.following.folding,
    memory: (model) => state.memories.get(model) ?? emptyRequestMemory(),
    ready: () => state.ready,
    space,
    renewed(commitNo) {
      if (state.closed) return Promise.resolve();
      return new Promise((resolve) => state.waiting.push({ commitNo, resolve }));
    },
    erased: () => state.entities,
    notStored: (model, rows) => notStored(held.metrics, log, model, rows),
    async start() {
      const { degraded } = held;
      await degraded.without("deployments", () => deployConfigured(engine, ort, models.contexts, log), true);
      const history = await foldHistory(held, state, log);
      await degraded.without(LIVE_MODELS, models.follow, true);
      state.ready = !state.closed;
      running.push(
        follow(held, state, log),
        watchAlerts(held, history, () => state.closed, log),
      );
    },
    async close() {
      state.closed = true;
      state.ready = false;
      for (const { resolve } of state.waiting.splice(0)) resolve();
      await Promise.all([...running, state.renewal?.stop()]);
      await state.saver?.stop(state.following.position);
      models.close();
    },
  };
}

function notStored(metrics: ServerMetrics, log: Log, model: string, rows: readonly Row[]): void {
  metrics.add("mlpe_scores_not_stored_total", rows.length, { model });
  const ids = rows.slice(0, IDS_LOGGED_MAX).map((row) => row.score_id);
  log("scores not stored: the disk is full", { model, scores: rows.length, score_ids: ids });
}

const errorText = (error: unknown): string => (error instanceof Error ? error.message : String(error));

type Held = Pick<Serving, "engine" | "models" | "metrics" | "verdicts" | "degraded">;

/** The streams that are counted beside those that the index reads. */
function countedStreams({ models }: Held): string[] {
  const perModel = [...models.contexts.keys()].flatMap((name) => [scoresStream(name), labelsStream(name)]);
  return [LEDGER, VERDICTS, ...perModel];
}

/** Folds everything up to the head into the state; answers the verdicts, for the alerts to go on from. */
async function foldHistory(held: Held, state: State, log: Log): Promise<readonly Row[]> {
  const { engine, metrics } = held;
  const { store } = engine;
  const { commitNo, rows } = await rowCounts(held.engine);
  await countHistory(held, commitNo, rows);
  const { degraded } = held;
  state.entities = await degraded.without("which entities were erased", () => store.erased());
  const history = (await degraded.without("what alerts fired", () => verdictRows(held.engine, commitNo))) ?? [];
  rememberVerdicts(held.verdicts, history);
  const { opened, readable } = await degraded.views([...engine.project.views.values()], async (plans) => {
    const views = new Map(plans.map((plan) => [plan.name, plan]));
    const of = { ...engine, project: { views } };
    return { opened: await openIndex(of, commitNo, log), readable: of };
  });
  state.index = opened.index;
  state.saver = indexSaver(readable, opened, metrics, log);
  state.renewal = indexRenewal(readable, opened.index.streams, () => state.following.position, log);
  state.following.position = commitNo;
  for (const name of held.models.contexts.keys()) {
    const memory = await degraded.without(`request ids of ${name}`, () => foldRequests(store, name));
    if (memory) state.memories.set(name, memory);
  }
  return history;
}

/** The head, and how many rows each stream has up to it. */
async function rowCounts({ store }: Engine): Promise<{ commitNo: number; rows: ReadonlyMap<string, number> }> {
  for (;;) {
    const { commitNo } = await store.head();
    const streams = await store.streams();
    if ((await store.head()).commitNo !== commitNo) continue; // someone committed in between
    return { commitNo, rows: new Map(streams.map(({ stream, rows }) => [stream, rows])) };
  }
}

/** Counts what is stored up to a commit: what became of ingested rows and verdicts, and of the others how many. */
async function countHistory(held: Held, upTo: number, rows: ReadonlyMap<string, number>): Promise<void> {
  for (const stream of countedStreams(held)) {
    if (stream !== LEDGER && stream !== VERDICTS) countRows(held.metrics, stream, rows.get(stream) ?? 0);
    else {
      await held.degraded.without(`counts of ${stream}`, async () => {
        for await (const stored of held.engine.store.scan(stream, { upTo })) countStored(held.metrics, stored);
      });
    }
  }
}

/** Follows the log until closed. A page that can't be read is tried again: requests go on being answered meanwhile. */
async function follow(held: Held, state: State, log: Log): Promise<void> {
  const { store } = held.engine;
  const { streams } = state.index!;
  const following: Following = {
    store,
    streams: [...streams, CONTROL, ...REMOVALS, ...countedStreams(held)],
    indexed: (stream) => streams.includes(stream),
    apply: (stored, from, to) => applyRows(state.index!, stored, from, to),
    folded(stored) {
      state.erased ||= stored.stream === ERASURES;
      if (REMOVALS.includes(stored.stream)) return state.renewal?.heard(stored);
      countStored(held.metrics, stored);
      if (stored.stream === VERDICTS) rememberVerdicts(held.verdicts, rowsOf(stored.batch));
    },
    deploys: ({ stream, batch }) => stream === CONTROL && rowsOf(batch).some((row) => row.kind === "deploy"),
    deploy: held.models.follow,
  };
  while (!state.closed) {
    try {
      const head = await followPage(following, state.following);
      await renew(state);
      if (state.erased) await forgetErased(held, state);
      tellRenewed(state);
      state.saver?.folded(state.following.position);
      measureLog(held.metrics, store);
      const pollMs = state.waiting.length > 0 ? RENEWAL_POLL_MS : POLL_MS;
      if (state.following.position === head) await store.waitBeyond(head, pollMs);
    } catch (error) {
      if (state.closed) return;
      log("following the log failed", { error: errorText(error) });
      await Bun.sleep(RETRY_MS);
    }
  }
}

/** Puts an index that was made anew in the place of the old one: the same position, so that answers go on from there. */
async function renew(state: State): Promise<void> {
  const opened = await state.renewal?.take(state.following.position);
  if (!opened) return;
  state.index = opened.index;
  state.saver?.renew(opened);
}

/** Requests that were answered, and the latest verdicts, as the log has them after an erasure. */
async function forgetErased({ engine, verdicts }: Held, state: State): Promise<void> {
  state.entities = await engine.store.erased();
  for (const [model, { requests }] of state.memories) {
    const before = [...requests.keys()];
    const fresh = await foldRequests(engine.store, model);
    for (const id of before) {
      const left = fresh.requests.get(id);
      if (left) requests.set(id, left);
      else requests.delete(id);
    }
  }
  const rows = await verdictRows(engine, state.following.position);
  verdicts.clear();
  rememberVerdicts(verdicts, rows);
  state.erased = false;
}

function tellRenewed(state: State): void {
  if (state.renewal?.isDue()) return;
  const isThere = ({ commitNo }: State["waiting"][number]) => commitNo <= state.following.position;
  for (const { resolve } of state.waiting.filter(isThere)) resolve();
  state.waiting.splice(0, state.waiting.length, ...state.waiting.filter((one) => !isThere(one)));
}

/** Every verdict up to a commit, in the order they were written. */
async function verdictRows({ store }: Engine, upTo: number): Promise<Row[]> {
  const rows: { sequence: number; row: Row }[] = [];
  for await (const stored of store.scan(VERDICTS, { upTo })) {
    rowsOf(stored.batch).forEach((row, i) => rows.push({ sequence: stored.sequences[i]!, row }));
  }
  return rows.sort((a, b) => a.sequence - b.sequence).map(({ row }) => row);
}
