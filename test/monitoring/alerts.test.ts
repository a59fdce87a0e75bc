import { expect, test } from "bun:test";
import type { Row } from "../../src/base/row.ts";
import type { AlertConfig } from "../../src/config/schema.ts";
import { batchOf, rowsOf } from "../../src/contract/batch.ts";
import { verdictContract } from "../../src/contract/streams.ts";
import {
  type AlertState,
  alertStateOf,
  foldAlerts,
  type LatestVerdicts,
  planAlerts,
  rememberVerdicts,
  verdictColumns,
} from "../../src/monitoring/alerts.ts";
import { createMetrics } from "../../src/monitoring/metrics.ts";
import { deliverAlert } from "../../src/monitoring/webhook.ts";
import { httpSend } from "../../src/monitoring/webhook_http.ts";

const MINUTE = 60_000_000;
const metrics = () =>
  createMetrics({
    mlpe_rows_total: { kind: "counter", help: "Rows.", labels: ["outcome"] },
    mlpe_lag_seconds: { kind: "gauge", help: "Lag.", labels: ["source"] },
  });

const plan = (when: string, more: Partial<AlertConfig> = {}) =>
  planAlerts(
    { alerts: { a: { when, for: 0, severity: "warn", to: "ops", ...more } }, notify: { ops: { webhook: "" } } },
    metrics().definitions,
  );

const verdict = (subject: string, name: string, outcome: string): Row => ({
  kind: "drift",
  subject,
  name,
  outcome,
  severity: "warn",
  value: null,
  detail: "{}",
  at: 1,
});

test("a condition on metrics, held for ten minutes: pending, firing once, resolved once", () => {
  const registry = metrics();
  const rules = plan("mlpe_rows_total__outcome_quarantined > 0.1 * mlpe_rows_total", { for: 10 * MINUTE });
  let state: AlertState = {};
  const told: string[] = [];
  const step = (minute: number) => {
    const result = foldAlerts(rules, state, { metrics: registry.snapshot(), verdicts: new Map() }, minute * MINUTE);
    state = result.state;
    told.push(...result.notifications.map(({ status }) => `${minute} ${status}`));
    expect(result.verdictRows).toHaveLength(result.notifications.length);
    return state.a!.phase;
  };
  expect(step(0)).toBe("inactive"); // nothing measured: null is not true
  registry.add("mlpe_rows_total", 90, { outcome: "curated" });
  registry.add("mlpe_rows_total", 5, { outcome: "quarantined" });
  expect(step(1)).toBe("inactive");
  registry.add("mlpe_rows_total", 50, { outcome: "quarantined" });
  expect(step(2)).toBe("pending");
  expect(step(11)).toBe("pending");
  expect(step(12)).toBe("firing");
  expect(step(30)).toBe("firing");
  registry.add("mlpe_rows_total", 10_000, { outcome: "curated" });
  expect(step(31)).toBe("inactive");
  expect(told).toEqual(["12 firing", "31 resolved"]);
});

test("a pending alert that stops holding starts over", () => {
  const rules = plan("drift_verdict = 'drift'", { for: 10 * MINUTE });
  let state: AlertState = {};
  const phase = (outcome: string, minute: number) => {
    const verdicts = new Map([["drift_verdict", outcome]]);
    const result = foldAlerts(rules, state, { metrics: new Map(), verdicts }, minute * MINUTE);
    state = result.state;
    expect(result.notifications).toHaveLength(state.a!.phase === "firing" ? 1 : 0);
    return state.a!.phase;
  };
  expect([phase("drift", 0), phase("ok", 9), phase("drift", 10), phase("drift", 19), phase("drift", 20)]).toEqual([
    "pending",
    "inactive",
    "pending",
    "pending",
    "firing",
  ]);
});

test("verdict columns show the newest of each subject and the worst of all", () => {
  const latest: LatestVerdicts = new Map();
  rememberVerdicts(latest, [
    verdict("m1", "drift", "drift"),
    verdict("m2", "drift", "ok"),
    verdict("m1", "wind.psi", "ok"),
  ]);
  expect(Object.fromEntries(verdictColumns(latest))).toEqual({
    drift_verdict: "drift",
    m1_drift_verdict: "drift",
    m2_drift_verdict: "ok",
    wind_psi_verdict: "ok",
    m1_wind_psi_verdict: "ok",
  });
  rememberVerdicts(latest, [verdict("m1", "drift", "inconclusive")]);
  expect(verdictColumns(latest).get("drift_verdict")).toBe("inconclusive");
});

test("a restart goes on from the alert rows and tells nothing twice", () => {
  const rules = plan("m1_drift_verdict = 'drift'");
  const inputs = { metrics: new Map<string, number>(), verdicts: new Map([["m1_drift_verdict", "drift"]]) };
  const first = foldAlerts(rules, {}, inputs, 7);
  expect(first.notifications).toHaveLength(1);
  const stored = rowsOf(batchOf(verdictContract, first.verdictRows));
  expect(stored).toEqual([...first.verdictRows]);
  expect(foldAlerts(rules, alertStateOf(stored), inputs, 8).notifications).toEqual([]);
  const quiet = { metrics: new Map<string, number>(), verdicts: new Map<string, string>() };
  expect(foldAlerts(rules, alertStateOf(stored), quiet, 9).notifications).toMatchObject([
    { status: "resolved", startsAt: 7, endsAt: 9 },
  ]);
});

test("rules that can't run are refused when they are planned", () => {
  expect(() => plan("mlpe_nothing > 1")).toThrow();
  expect(() => plan("mlpe_lag_seconds")).toThrow();
  expect(() => plan("mlpe_lag_seconds > 1", { to: "nobody" })).toThrow("nobody");
});

test("a webhook gets the alert after failures, over real HTTP; refusals are final; tries are bounded", async () => {
  const rules = plan("mlpe_lag_seconds > 5");
  const inputs = { metrics: new Map([["mlpe_lag_seconds", 9]]), verdicts: new Map<string, string>() };
  const [notification] = foldAlerts(rules, {}, inputs, 1_380_000_000_000_000).notifications;
  const bodies: { status: string; alerts: { labels: object; startsAt: string }[] }[] = [];
  const answers = [503, 500, 200, 404];
  const server = Bun.serve({
    port: 0,
    hostname: "127.0.0.1",
    fetch: async (request) => {
      bodies.push((await request.json()) as (typeof bodies)[number]);
      return new Response(null, { status: answers[bodies.length - 1] ?? 500 });
    },
  });
  const waits: number[] = [];
  const sleep = async (milliseconds: number) => void waits.push(milliseconds);
  const send = httpSend(`http://127.0.0.1:${server.port}/hook`, "notify.ops.webhook");
  const options = { send, sleep, site: "ewr-01" };
  expect(await deliverAlert(notification!, options)).toEqual({ delivered: true, attempts: 3 });
  expect(waits).toEqual([500, 1000]);
  expect(bodies[2]).toMatchObject({
    status: "firing",
    alerts: [{ labels: { alertname: "a", severity: "warn", site: "ewr-01" }, startsAt: "2013-09-24T05:20:00Z" }],
  });
  expect(await deliverAlert(notification!, options)).toMatchObject({ delivered: false, attempts: 1 });
  expect(await deliverAlert(notification!, options)).toMatchObject({ delivered: false, attempts: 5 });
  await server.stop(true);
  expect(() => httpSend("secret-token", "notify.ops.webhook")).toThrow("the webhook at notify.ops.webhook is no http");
});
