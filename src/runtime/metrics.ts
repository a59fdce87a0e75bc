import type { Row } from "../base/row.ts";
import { rowsOf } from "../contract/batch.ts";
import { LEDGER, VERDICTS } from "../contract/streams.ts";
import { createMetrics, type Metrics } from "../monitoring/metrics.ts";
import type { StoredRows } from "../store/port.ts";
import { SPACE_STATES, type SpaceReport } from "../store/space.ts";
import type { LogStore } from "../store/store.ts";
import type { RetentionAmounts } from "./retain.ts";

/** Every metric of the server. Those of rows and verdicts are folds of the log, so a restart loses none. */
export const METRICS = {
  mlpe_ready: { kind: "gauge", help: "1 once the history is folded and live models are loaded" },
  mlpe_log_commits: { kind: "gauge", help: "number of the last commit" },
  mlpe_log_tail_records: { kind: "gauge", help: "commits that are not compacted yet" },
  mlpe_log_tail_bytes: { kind: "gauge", help: "bytes of the commits that are not compacted yet" },
  mlpe_log_compaction_failures_total: { kind: "counter", help: "compactions that failed since the start" },
  mlpe_damaged_parts: { kind: "gauge", help: "what the server goes on without because stored rows are damaged" },
  mlpe_space_state: {
    kind: "gauge",
    help: "the disk of the data directory: 0 ok, 1 below the soft mark, 2 below the hard",
  },
  mlpe_space_free_bytes: { kind: "gauge", help: "bytes free on the disk of the data directory" },
  mlpe_space_ballast_bytes: { kind: "gauge", help: "bytes of the ballast file" },
  mlpe_space_growth_bytes_per_second: { kind: "gauge", help: "how fast free space shrank over the last ten minutes" },
  mlpe_space_time_to_full_seconds: {
    kind: "gauge",
    help: "until the disk is full at that rate; at most ten years, and that in the first minute",
  },
  mlpe_scores_not_stored_total: {
    kind: "counter",
    help: "scores answered without being stored since the start",
    labels: ["model"],
  },
  mlpe_retention_dropped_rows_total: { kind: "counter", help: "rows that retention dropped since the start" },
  mlpe_retention_dropped_bytes_total: {
    kind: "counter",
    help: "bytes of segments that retention dropped since the start",
  },
  mlpe_retention_held_bytes: { kind: "gauge", help: "bytes that are due and wait for a reader, at the last look" },
  mlpe_index_save_failures_total: { kind: "counter", help: "times that the online index could not be saved" },
  mlpe_resident_memory_bytes: { kind: "gauge", help: "resident memory of the process" },
  mlpe_ingested_rows_total: {
    kind: "counter",
    help: "rows offered to a dataset, by what became of them",
    labels: ["source", "dataset", "outcome"],
  },
  mlpe_scores_total: { kind: "counter", help: "score rows", labels: ["model"] },
  mlpe_labels_total: { kind: "counter", help: "label rows", labels: ["model"] },
  mlpe_verdicts_total: { kind: "counter", help: "verdicts by kind and outcome", labels: ["kind", "outcome"] },
  mlpe_score_seconds: {
    kind: "histogram",
    help: "seconds from a score request to its durable answer",
    labels: ["model"],
    buckets: [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1],
  },
  mlpe_request_errors_total: { kind: "counter", help: "requests answered with an error", labels: ["code"] },
  mlpe_step_failures_total: { kind: "counter", help: "turns of a pipeline step that failed", labels: ["step"] },
} as const;

export type ServerMetrics = Metrics<keyof typeof METRICS & string>;
export const serverMetrics = (): ServerMetrics => createMetrics(METRICS);

const OUTCOMES = ["curated", "corrected", "duplicate", "quarantined", "dropped"] as const;

/** Takes the size of the log's tail: it grows for as long as compaction fails. */
export function measureLog(metrics: ServerMetrics, { reader }: Pick<LogStore, "reader">): void {
  const tail = tailOf(reader);
  if (!tail) return;
  metrics.set("mlpe_log_tail_records", tail.length);
  metrics.set(
    "mlpe_log_tail_bytes",
    tail.reduce((sum, { sealed }) => sum + sealed.length, 0),
  );
}

/** Undefined for the moment in which the store has new keys that this thread has not unwrapped yet. */
function tailOf(reader: LogStore["reader"]): readonly { readonly sealed: Uint8Array }[] | undefined {
  try {
    return reader.snapshot().tail;
  } catch (cause) {
    if ((cause as { code?: string }).code === "store.rekeyed") return undefined;
    throw cause;
  }
}

/** Takes what one look of retention did. */
export function countRetained(metrics: ServerMetrics, { rows, bytes, heldBytes }: RetentionAmounts): void {
  metrics.add("mlpe_retention_dropped_rows_total", rows);
  metrics.add("mlpe_retention_dropped_bytes_total", bytes);
  metrics.set("mlpe_retention_held_bytes", heldBytes);
}

/** Takes what the log thread measured of the disk. */
export function measureSpace(metrics: ServerMetrics, report: SpaceReport): void {
  metrics.set("mlpe_space_state", SPACE_STATES.indexOf(report.state));
  metrics.set("mlpe_space_free_bytes", report.free);
  metrics.set("mlpe_space_ballast_bytes", report.ballast);
  metrics.set("mlpe_space_growth_bytes_per_second", report.growth);
  metrics.set("mlpe_space_time_to_full_seconds", report.secondsToFull);
}

/** Counts the rows of a stored batch, whichever stream it is of. */
export function countStored(metrics: ServerMetrics, stored: StoredRows): void {
  if (stored.stream === LEDGER) for (const row of rowsOf(stored.batch)) countLedger(metrics, row);
  else if (stored.stream === VERDICTS) {
    for (const row of rowsOf(stored.batch)) {
      metrics.add("mlpe_verdicts_total", 1, { kind: row.kind as string, outcome: row.outcome as string });
    }
  } else countRows(metrics, stored.stream, stored.batch.length);
}

/** Counts rows of a stream of which nothing but the number counts; rows of other streams are passed over. */
export function countRows(metrics: ServerMetrics, stream: string, rows: number): void {
  const [kind, model = ""] = stream.split("/");
  if (kind === "scores") metrics.add("mlpe_scores_total", rows, { model });
  else if (kind === "labels") metrics.add("mlpe_labels_total", rows, { model });
}

function countLedger(metrics: ServerMetrics, row: Row): void {
  for (const outcome of OUTCOMES) {
    const labels = { source: row.source as string, dataset: row.dataset as string, outcome };
    metrics.add("mlpe_ingested_rows_total", Number(row[outcome]), labels);
  }
}
