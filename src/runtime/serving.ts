import type { Row } from "../base/row.ts";
import { batchOf, rowsOf } from "../contract/batch.ts";
import { CONTROL, LEDGER, labelsStream, scoresStream, VERDICTS, verdictContract } from "../contract/streams.ts";
import { applyRows, buildIndex, type LiveIndex } from "../fusion/index.ts";
import {
  alertStateOf,
  foldAlerts,
  type LatestVerdicts,
  planAlerts,
  rememberVerdicts,
  verdictColumns,
} from "../monitoring/alerts.ts";
import { deliverAlert } from "../monitoring/webhook.ts";
import { httpSend } from "../monitoring/webhook_http.ts";
import { emptyRequestMemory, foldRequests, type RequestMemory } from "../scoring/requests.ts";
import type { Engine as Ort } from "../scoring/tensor.ts";
import type { StoredRows } from "../store/port.ts";
import type { Engine } from "./engine.ts";
import { deployConfigured, type LiveModels, liveModels } from "./live_models.ts";
import { countStored, METRICS, type ServerMetrics, serverMetrics } from "./metrics.ts";
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
const ALERT_EVERY_MS = 1_000;

export function createServing(engine: Engine, log: Log): Serving {
  const { store, project, world } = engine;
  const ort = openOnnx(engine);
  const models = liveModels(engine, ort, log);
  const metrics = serverMetrics();
  const verdicts: LatestVerdicts = new Map();
  const memories = new Map<string, RequestMemory>();
  const plans = [...project.views.values()];
  const counted = [
    LEDGER,
    VERDICTS,
    ...[...models.contexts.keys()].flatMap((name) => [scoresStream(name), labelsStream(name)]),
  ];
  let index: LiveIndex;
  let position = 0;
  let ready = false;
  let closed = false;
  let following: Promise<void> = Promise.resolve();
  let watching: Promise<void> = Promise.resolve();

  const fold = async (stored: StoredRows): Promise<boolean> => {
    countStored(metrics, stored);
    if (stored.stream === VERDICTS) rememberVerdicts(verdicts, rowsOf(stored.batch));
    for (let at = 0; at < stored.batch.length && index.streams.includes(stored.stream); at += SLICE_ROWS) {
      applyRows(index, stored, at, Math.min(at + SLICE_ROWS, stored.batch.length));
      await new Promise((resolve) => setImmediate(resolve));
    }
    return stored.stream === CONTROL && rowsOf(stored.batch).some((row) => row.kind === "deploy");
  };
  const follow = async () => {
    while (!closed) {
      const page = await store.tail(position, [...index.streams, CONTROL, ...counted], 4_096);
      let deployed = false;
      for (const stored of page.rows) deployed = (await fold(stored)) || deployed;
      position = page.upTo;
      if (deployed) await models.follow().catch((error) => log("deployment can't be loaded", { error: String(error) }));
      if (page.upTo === page.head.commitNo) await store.waitBeyond(position, POLL_MS);
    }
  };
  return {
    engine,
    ort,
    models,
    metrics,
    verdicts,
    index: () => index,
    position: () => position,
    memory: (model) => memories.get(model) ?? emptyRequestMemory(),
    ready: () => ready,
    async start() {
      await deployConfigured(engine, ort, models.contexts, log);
      const { commitNo } = await store.head();
      for (const stream of counted) {
        for await (const stored of store.scan(stream, { upTo: commitNo })) countStored(metrics, stored);
      }
      const history = await verdictRows(engine, commitNo);
      rememberVerdicts(verdicts, history);
      index = await buildIndex(store, plans, commitNo);
      position = commitNo;
      for (const name of models.contexts.keys()) memories.set(name, await foldRequests(store, name));
      await models.follow();
      ready = true;
      following = follow();
      watching = watchAlerts(history);
    },
    async close() {
      closed = true;
      ready = false;
      await Promise.all([following, watching]);
      models.close();
    },
  };

  /** Evaluates the alert rules every second; a change is committed before anyone is told. */
  async function watchAlerts(history: readonly Row[]): Promise<void> {
    const plan = planAlerts(project.config, METRICS);
    if (plan.alerts.length === 0) return;
    let state = alertStateOf(history);
    while (!closed) {
      const inputs = { metrics: metrics.snapshot(), verdicts: verdictColumns(verdicts) };
      const step = foldAlerts(plan, state, inputs, world.clock.now());
      state = step.state;
      if (step.verdictRows.length > 0) {
        await store.commit({ appends: [{ stream: VERDICTS, batch: batchOf(verdictContract, step.verdictRows) }] });
      }
      for (const notification of step.notifications) {
        const url = notification.to === undefined ? "" : (project.config.notify[notification.to]?.webhook ?? "");
        if (url === "") continue;
        const send = httpSend(url, `notify.${notification.to}.webhook`);
        const sleep = (milliseconds: number) => Bun.sleep(milliseconds);
        // Not awaited: a receiver that is away must not hold up the other rules.
        void deliverAlert(notification, { send, sleep, site: project.config.site }).then(({ delivered, failure }) => {
          if (!delivered) log("alert not delivered", { alert: notification.alert, failure });
        });
      }
      await Bun.sleep(ALERT_EVERY_MS);
    }
  }
}

/** Every verdict up to a commit, in the order they were written. */
async function verdictRows({ store }: Engine, upTo: number): Promise<Row[]> {
  const rows: { sequence: number; row: Row }[] = [];
  for await (const stored of store.scan(VERDICTS, { upTo })) {
    rowsOf(stored.batch).forEach((row, i) => rows.push({ sequence: stored.sequences[i]!, row }));
  }
  return rows.sort((a, b) => a.sequence - b.sequence).map(({ row }) => row);
}
