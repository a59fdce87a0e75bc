import type { Row } from "../base/row.ts";
import { batchOf } from "../contract/batch.ts";
import { VERDICTS, verdictContract } from "../contract/streams.ts";
import {
  alertStateOf,
  foldAlerts,
  type LatestVerdicts,
  type Notification,
  planAlerts,
  verdictColumns,
} from "../monitoring/alerts.ts";
import { deliverAlert } from "../monitoring/webhook.ts";
import { httpSend } from "../monitoring/webhook_http.ts";
import type { Engine } from "./engine.ts";
import { METRICS, type ServerMetrics } from "./metrics.ts";

const EVERY_MS = 1_000;

interface Watched {
  readonly engine: Engine;
  readonly metrics: ServerMetrics;
  readonly verdicts: LatestVerdicts;
}

type Log = (message: string, facts: object) => void;

/**
 * Evaluates the alert rules every second until closed; a change is committed before anyone is told. `history` are the
 * verdicts so far: what fired before a restart still fires and is not told twice.
 */
export async function watchAlerts(
  watched: Watched,
  history: readonly Row[],
  closed: () => boolean,
  log: Log,
): Promise<void> {
  const { project, store, world } = watched.engine;
  const plan = planAlerts(project.config, METRICS);
  if (plan.alerts.length === 0) return;
  let state = alertStateOf(history);
  while (!closed()) {
    const inputs = { metrics: watched.metrics.snapshot(), verdicts: verdictColumns(watched.verdicts) };
    const step = foldAlerts(plan, state, inputs, world.clock.now());
    try {
      const batch = batchOf(verdictContract, step.verdictRows);
      if (step.verdictRows.length > 0) await store.commit({ appends: [{ stream: VERDICTS, batch }] });
      state = step.state;
      for (const notification of step.notifications) tell(watched.engine, notification, log);
    } catch (error) {
      // Not recorded, so not told and not changed: the next second judges again.
      log("alert not recorded", { error: error instanceof Error ? error.message : String(error) });
    }
    await Bun.sleep(EVERY_MS);
  }
}

/** Not awaited: a receiver that is away must not hold up the other rules. */
function tell({ project }: Engine, notification: Notification, log: Log): void {
  const { to, alert } = notification;
  const url = to === undefined ? "" : (project.config.notify[to]?.webhook ?? "");
  if (url === "") return;
  const send = httpSend(url, `notify.${to}.webhook`);
  const sleep = (milliseconds: number) => Bun.sleep(milliseconds);
  void deliverAlert(notification, { send, sleep, site: project.config.site }).then(({ delivered, failure }) => {
    if (!delivered) log("alert not delivered", { alert, failure });
  });
}
