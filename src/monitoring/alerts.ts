import { canonicalJson } from "../base/digest.ts";
import type { Row } from "../base/row.ts";
import { formatDuration, formatInstant, type Micros } from "../base/time.ts";
import type { Config } from "../config/schema.ts";
import { compile } from "../expression/compile.ts";
import type { Program, ScopeColumn } from "../expression/types.ts";
import { monitoringErrors } from "./errors.ts";
import type { MetricDefinitions } from "./metrics.ts";

export type AlertPhase = "inactive" | "pending" | "firing";

/** What the fold remembers of each alert: plain JSON. */
export type AlertState = Readonly<Record<string, { readonly phase: AlertPhase; readonly since: Micros }>>;

export interface AlertInputs {
  /** `Metrics.snapshot()`. */
  readonly metrics: ReadonlyMap<string, number>;
  /** `verdictColumns()` of the latest verdicts: `drift_verdict` -> `ok`. */
  readonly verdicts: ReadonlyMap<string, string>;
}

export interface Notification {
  readonly alert: string;
  readonly status: "firing" | "resolved";
  readonly severity: string;
  /** The name under `notify`; absent where nobody is told. */
  readonly to: string | undefined;
  /** When it began to fire. */
  readonly startsAt: Micros;
  readonly endsAt?: Micros;
  readonly condition: string;
  /** What the condition read, by name. */
  readonly values: Readonly<Record<string, number | string | null>>;
}

interface PlannedAlert {
  readonly name: string;
  readonly when: string;
  readonly hold: Micros;
  readonly severity: string;
  readonly to: string | undefined;
  readonly program: Program;
}

export interface AlertPlan {
  readonly alerts: readonly PlannedAlert[];
  /** Frees the compiled conditions. */
  close(): void;
}

export interface AlertStep {
  readonly state: AlertState;
  readonly notifications: readonly Notification[];
  /** Rows for verdictContract, kind `alert`: the durable form of each change to firing or resolved. */
  readonly verdictRows: readonly Row[];
}

/**
 * The alert rules, compiled. Conditions read metrics by name as doubles (summed over labels; `<metric>__<label>_<value>` for
 * one label value; `_count` and `_sum` of histograms), null while nothing was measured, and the latest outcome of verdicts
 * as text: `drift_verdict`, or `<subject>_<name>_verdict` for one subject. Throws for a condition that can't be run and for an
 * unknown `to`.
 */
export function planAlerts(config: Pick<Config, "alerts" | "notify">, definitions: MetricDefinitions): AlertPlan {
  const alerts = Object.entries(config.alerts).map(([name, { when, for: hold, severity, to }]): PlannedAlert => {
    if (to !== undefined && !Object.hasOwn(config.notify, to)) {
      const message = `alert "${name}" is sent to "${to}", which is not under notify`;
      throw monitoringErrors.error("unknown_target", message, { place: `alerts.${name}.to` });
    }
    const columns = columnsFor(when, definitions);
    const program = compile([{ name, sql: when, place: `alerts.${name}.when`, expect: "boolean" }], { columns });
    return { name, when, hold, severity, to, program };
  });
  const close = () => {
    for (const { program } of alerts) program.close();
  };
  return { alerts, close };
}

const DOUBLE: ScopeColumn = { type: "double", nullable: true };
const TEXT: ScopeColumn = { type: "string", nullable: true };

/** Label values and verdict names are not known beforehand: a name in the text that has their form is a column. */
function columnsFor(when: string, definitions: MetricDefinitions): ReadonlyMap<string, ScopeColumn> {
  const columns = new Map<string, ScopeColumn>();
  const families: { readonly base: string; readonly labels: readonly string[] }[] = [];
  for (const [name, { kind, labels = [] }] of Object.entries(definitions)) {
    const bases = kind === "histogram" ? [`${name}_count`, `${name}_sum`] : [name];
    for (const base of bases) {
      columns.set(base, DOUBLE);
      families.push({ base, labels });
    }
  }
  columns.set("drift_verdict", TEXT);
  for (const word of when.match(/[A-Za-z_][A-Za-z0-9_]*/g) ?? []) {
    if (columns.has(word)) continue;
    if (word.endsWith("_verdict")) columns.set(word, TEXT);
    else if (families.some(({ base, labels }) => labels.some((label) => word.startsWith(`${base}__${label}_`)))) {
      columns.set(word, DOUBLE);
    }
  }
  return columns;
}

/**
 * One evaluation of every rule. inactive -> pending when the condition holds, -> firing once it has held for `for` (at once
 * where that is 0), -> inactive when it does not hold; a firing alert that ends is told as resolved. Null is not true.
 */
export function foldAlerts(plan: AlertPlan, state: AlertState, inputs: AlertInputs, now: Micros): AlertStep {
  const next: Record<string, { phase: AlertPhase; since: Micros }> = {};
  const notifications: Notification[] = [];
  for (const alert of plan.alerts) {
    const before = state[alert.name] ?? { phase: "inactive" as const, since: now };
    const { holds, values } = evaluate(alert, inputs);
    const after = nextPhase(before, holds, alert.hold, now);
    next[alert.name] = after;
    if (after.phase === "firing" && before.phase !== "firing") {
      notifications.push(notification(alert, "firing", now, undefined, values));
    } else if (before.phase === "firing" && after.phase !== "firing") {
      notifications.push(notification(alert, "resolved", before.since, now, values));
    }
  }
  return { state: next, notifications, verdictRows: notifications.map((told) => alertRow(told, now)) };
}

function nextPhase(before: AlertState[string], holds: boolean, hold: Micros, now: Micros): AlertState[string] {
  if (!holds) return before.phase === "inactive" ? before : { phase: "inactive", since: now };
  if (before.phase === "firing") return before;
  const since = before.phase === "pending" ? before.since : now;
  return now - since >= hold ? { phase: "firing", since: now } : { phase: "pending", since };
}

function evaluate({ program }: PlannedAlert, inputs: AlertInputs) {
  const read = (name: string) => inputs.metrics.get(name) ?? inputs.verdicts.get(name) ?? null;
  const values = Object.fromEntries(program.inputs.map((name) => [name, read(name)]));
  const { values: outputs } = program.evaluate(program.inputs.map(read));
  return { holds: outputs[0] === true, values };
}

function notification(
  { name, when, severity, to }: PlannedAlert,
  status: Notification["status"],
  startsAt: Micros,
  endsAt: Micros | undefined,
  values: Notification["values"],
): Notification {
  return {
    alert: name,
    status,
    severity,
    to,
    startsAt,
    ...(endsAt === undefined ? {} : { endsAt }),
    condition: when,
    values,
  };
}

function alertRow(told: Notification, now: Micros): Row {
  const numbers = Object.values(told.values).filter((value) => typeof value === "number");
  return {
    kind: "alert",
    subject: told.alert,
    name: told.alert,
    outcome: told.status,
    severity: told.severity,
    value: numbers.length === 1 ? numbers[0]! : null,
    detail: canonicalJson({ condition: told.condition, values: told.values, startsAt: told.startsAt }),
    at: now,
  };
}

/** The state after a restart, from the `alert` verdicts in the order they were written: what fired still fires, and is not told twice. */
export function alertStateOf(verdictRows: Iterable<Row>): AlertState {
  const state: Record<string, { phase: AlertPhase; since: Micros }> = {};
  for (const row of verdictRows) {
    if (row.kind !== "alert") continue;
    const phase = row.outcome === "firing" ? "firing" : "inactive";
    state[row.subject as string] = { phase, since: row.at as Micros };
  }
  return state;
}

/** From bad to good: where verdicts of one name differ between subjects, the column shows the worst. */
const WORST_FIRST = ["fail", "drift", "block", "firing", "warn", "flag", "inconclusive"];

/** Verdicts by (kind, subject, name), kept by the caller; a newer one replaces the older. */
export type LatestVerdicts = Map<string, { readonly subject: string; readonly name: string; readonly outcome: string }>;

export function rememberVerdicts(latest: LatestVerdicts, verdictRows: Iterable<Row>): void {
  for (const row of verdictRows) {
    const [subject, name, outcome] = [row.subject as string, row.name as string, row.outcome as string];
    latest.set(JSON.stringify([row.kind, subject, name]), { subject, name, outcome });
  }
}

/** The columns that conditions read: `<name>_verdict`, the worst of all subjects, and `<subject>_<name>_verdict`. */
export function verdictColumns(latest: LatestVerdicts): ReadonlyMap<string, string> {
  const columns = new Map<string, string>();
  const badness = (outcome: string) => {
    const at = WORST_FIRST.indexOf(outcome);
    return at < 0 ? WORST_FIRST.length : at;
  };
  const put = (name: string, outcome: string) => {
    const column = `${name.replace(/[^A-Za-z0-9_]/g, "_")}_verdict`;
    const known = columns.get(column);
    if (known === undefined || badness(outcome) < badness(known)) columns.set(column, outcome);
  };
  for (const { subject, name, outcome } of latest.values()) {
    put(name, outcome);
    put(`${subject}_${name}`, outcome);
  }
  return columns;
}

/** A line for people. */
export function describeAlert(told: Notification): string {
  const values = Object.entries(told.values).map(([name, value]) => `${name} = ${value ?? "null"}`);
  const lasted = told.endsAt === undefined ? "" : ` after ${formatDuration(told.endsAt - told.startsAt)}`;
  return `${told.alert} is ${told.status}${lasted} since ${formatInstant(told.startsAt)}: ${told.condition} (${values.join(", ")})`;
}
