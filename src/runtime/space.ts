import { batchOf } from "../contract/batch.ts";
import { VERDICTS, verdictContract } from "../contract/streams.ts";
import type { SpaceReport, SpaceState } from "../store/space.ts";
import { TIME_TO_FULL_MAX } from "../store/space_growth.ts";
import type { Engine } from "./engine.ts";
import { measureSpace, type ServerMetrics } from "./metrics.ts";

/** What readiness says of a disk that is low or full. */
export interface SpaceShown {
  readonly state: Exclude<SpaceState, "ok">;
  readonly free_bytes: number;
  readonly soft_bytes: number;
  readonly hard_bytes: number;
  readonly ballast_bytes: number;
  readonly time_to_full_seconds: number;
  /** What becomes of new scores: stored, answered without being stored, or refused. */
  readonly scores: "stored" | "not_stored" | "refused";
}

/** What to say of each state, and how bad its verdict is. */
const SAID: Readonly<Record<SpaceState, { message: string; outcome: string; severity: string }>> = {
  ok: { message: "there is disk space again: everything goes on", outcome: "pass", severity: "info" },
  soft: {
    message: "disk space is low: sources that can be read again wait",
    outcome: "warn",
    severity: "warn",
  },
  hard: {
    message: "the disk is full: nothing new is taken; it goes on by itself once there is room",
    outcome: "fail",
    severity: "critical",
  },
};

/** Measures, and tells of each change of state: a log line, and a verdict where the log still takes one. */
export function followSpace(
  engine: Engine,
  metrics: ServerMetrics,
  log: (message: string, facts: object) => void,
): () => SpaceReport | undefined {
  let last: SpaceReport | undefined;
  metrics.set("mlpe_space_time_to_full_seconds", TIME_TO_FULL_MAX); // until it is measured
  engine.store.onSpace((report) => {
    const before = last?.state ?? "ok";
    last = report;
    measureSpace(metrics, report);
    if (report.state === before) return;
    log(SAID[report.state].message, { space: report.state, free_bytes: report.free, data: engine.store.directory });
    void recordState(engine, report).catch((error) => {
      log("the state of the disk is not recorded", { error: error instanceof Error ? error.message : String(error) });
    });
  });
  return () => last;
}

async function recordState({ store, world }: Engine, report: SpaceReport): Promise<void> {
  const { outcome, severity } = SAID[report.state];
  const row = {
    kind: "space",
    subject: "data",
    name: "space",
    outcome,
    severity,
    value: report.free,
    detail: JSON.stringify({ free: report.free, soft: report.soft, hard: report.hard, total: report.total }),
    at: world.clock.now(),
  };
  await store.commit({ appends: [{ stream: VERDICTS, batch: batchOf(verdictContract, [row]) }] });
}

export function shownSpace(report: SpaceReport | undefined, scores: "answer" | "refuse"): SpaceShown | undefined {
  if (!report || report.state === "ok") return undefined;
  return {
    state: report.state,
    free_bytes: report.free,
    soft_bytes: report.soft,
    hard_bytes: report.hard,
    ballast_bytes: report.ballast,
    time_to_full_seconds: Math.round(report.secondsToFull),
    scores: report.state !== "hard" ? "stored" : scores === "answer" ? "not_stored" : "refused",
  };
}
