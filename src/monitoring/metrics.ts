import { invariant } from "../base/errors.ts";

/** What a metric is: declared once, where the registry is made. */
export interface MetricDefinition {
  readonly kind: "counter" | "gauge" | "histogram";
  readonly help: string;
  readonly labels?: readonly string[];
  /** Upper bounds of a histogram's buckets, ascending, in base units; +Inf is added. */
  readonly buckets?: readonly number[];
}

export type MetricDefinitions = Readonly<Record<string, MetricDefinition>>;
export type Labels = Readonly<Record<string, string>>;

/** A set of metrics as a value: whoever counts is handed it. */
export interface Metrics<Names extends string = string> {
  readonly definitions: MetricDefinitions;
  /** Adds to a counter; a negative amount is a broken invariant. */
  add(name: Names, amount?: number, labels?: Labels): void;
  /** Sets a gauge. */
  set(name: Names, value: number, labels?: Labels): void;
  /** Counts a value in a histogram. */
  observe(name: Names, value: number, labels?: Labels): void;
  /** Prometheus text exposition format 0.0.4. */
  render(): string;
  /**
   * What alert expressions read: each metric summed over its labels, each `<metric>__<label>_<value>` summed over the other
   * labels, and for histograms `<metric>_count` and `<metric>_sum`.
   */
  snapshot(): ReadonlyMap<string, number>;
}

/** Most label sets of one metric. Beyond it, values are counted together under the label value `other`. */
export const SERIES_MAX = 200;
const OTHER = "other";
const METRIC_NAME = /^[a-zA-Z_:][a-zA-Z0-9_:]*$/;
const LABEL_NAME = /^[a-zA-Z_][a-zA-Z0-9_]*$/;

interface Series {
  readonly labels: readonly string[];
  /** The value of a counter or gauge, the sum of a histogram. */
  value: number;
  /** Not cumulative; the last one is beyond the last bound. */
  readonly buckets: Float64Array;
}

interface Metric extends MetricDefinition {
  readonly name: string;
  readonly series: Map<string, Series>;
}

export function createMetrics<const Definitions extends MetricDefinitions>(
  definitions: Definitions,
): Metrics<keyof Definitions & string> {
  const metrics = new Map<string, Metric>();
  for (const [name, definition] of Object.entries(definitions) as [string, MetricDefinition][]) {
    checkDefinition(name, definition);
    const metric: Metric = { ...definition, name, series: new Map() };
    metrics.set(name, metric);
    // A metric without labels is exposed from the start, so that its first increase can be seen as one.
    if ((definition.labels ?? []).length === 0) seriesOf(metric, {});
  }
  const find = (name: string, kind: MetricDefinition["kind"]): Metric => {
    const metric = metrics.get(name);
    invariant(metric && metric.kind === kind, `${name} is no ${kind}`);
    return metric;
  };
  return {
    definitions,
    add: (name, amount = 1, labels = {}) => {
      invariant(amount >= 0, `counter ${name} can't go down`);
      seriesOf(find(name, "counter"), labels).value += amount;
    },
    set: (name, value, labels = {}) => {
      seriesOf(find(name, "gauge"), labels).value = value;
    },
    observe: (name, value, labels = {}) => {
      const metric = find(name, "histogram");
      const series = seriesOf(metric, labels);
      const bounds = metric.buckets!;
      let bucket = 0;
      while (bucket < bounds.length && !(value <= bounds[bucket]!)) bucket++;
      series.buckets[bucket] = series.buckets[bucket]! + 1;
      series.value += value;
    },
    render: () => [...metrics.values()].map(renderMetric).join(""),
    snapshot: () => snapshotOf(metrics.values()),
  };
}

function checkDefinition(name: string, { kind, labels = [], buckets }: MetricDefinition): void {
  invariant(METRIC_NAME.test(name), `${name} is no metric name`);
  invariant(kind !== "counter" || name.endsWith("_total"), `counter ${name} does not end in _total`);
  for (const label of labels) {
    invariant(LABEL_NAME.test(label) && !label.startsWith("__") && label !== "le", `${label} is no label name`);
  }
  invariant((kind === "histogram") === (buckets !== undefined), `${name}: histograms, and only they, have buckets`);
  invariant(
    (buckets ?? []).every((bound, i) => Number.isFinite(bound) && (i === 0 || bound > buckets![i - 1]!)),
    `${name}: buckets are not ascending`,
  );
}

function seriesOf(metric: Metric, given: Labels): Series {
  const names = metric.labels ?? [];
  for (const name of Object.keys(given)) invariant(names.includes(name), `${metric.name} has no label ${name}`);
  const labels = names.map((name) => given[name] ?? "");
  return (
    seriesFor(metric, labels) ??
    seriesFor(
      metric,
      names.map(() => OTHER),
      true,
    )!
  );
}

function seriesFor(metric: Metric, labels: readonly string[], always = false): Series | undefined {
  const key = JSON.stringify(labels);
  const known = metric.series.get(key);
  if (known) return known;
  if (metric.series.size >= SERIES_MAX && !always) return undefined;
  const made: Series = { labels, value: 0, buckets: new Float64Array((metric.buckets?.length ?? -1) + 1) };
  metric.series.set(key, made);
  return made;
}

const escapeHelp = (text: string) => text.replaceAll("\\", "\\\\").replaceAll("\n", "\\n");
const escapeLabel = (text: string) => escapeHelp(text).replaceAll('"', '\\"');

function showNumber(value: number): string {
  if (Number.isNaN(value)) return "NaN";
  if (Number.isFinite(value)) return String(value);
  return value > 0 ? "+Inf" : "-Inf";
}

function showLabels(names: readonly string[], values: readonly string[]): string {
  if (names.length === 0) return "";
  return `{${names.map((name, i) => `${name}="${escapeLabel(values[i]!)}"`).join(",")}}`;
}

function renderMetric(metric: Metric): string {
  const names = metric.labels ?? [];
  const lines = [`# HELP ${metric.name} ${escapeHelp(metric.help)}`, `# TYPE ${metric.name} ${metric.kind}`];
  for (const { labels, value, buckets } of metric.series.values()) {
    if (metric.kind !== "histogram") {
      lines.push(`${metric.name}${showLabels(names, labels)} ${showNumber(value)}`);
      continue;
    }
    const withBound = [...names, "le"];
    let below = 0;
    buckets.forEach((count, i) => {
      below += count;
      const bound = i < metric.buckets!.length ? showNumber(metric.buckets![i]!) : "+Inf";
      lines.push(`${metric.name}_bucket${showLabels(withBound, [...labels, bound])} ${below}`);
    });
    lines.push(`${metric.name}_sum${showLabels(names, labels)} ${showNumber(value)}`);
    lines.push(`${metric.name}_count${showLabels(names, labels)} ${below}`);
  }
  return `${lines.join("\n")}\n`;
}

/** The name under which alert expressions read a metric of one label value: other characters become `_`. */
const labelledName = (metric: string, label: string, value: string) =>
  `${metric}__${label}_${value.replace(/[^A-Za-z0-9_]/g, "_")}`;

function snapshotOf(metrics: Iterable<Metric>): ReadonlyMap<string, number> {
  const found = new Map<string, number>();
  const add = (name: string, value: number) => found.set(name, (found.get(name) ?? 0) + value);
  for (const metric of metrics) {
    for (const { labels, value, buckets } of metric.series.values()) {
      const parts: [suffix: string, value: number][] =
        metric.kind === "histogram"
          ? [
              ["_count", buckets.reduce((sum, count) => sum + count, 0)],
              ["_sum", value],
            ]
          : [["", value]];
      for (const [suffix, part] of parts) {
        add(`${metric.name}${suffix}`, part);
        (metric.labels ?? []).forEach((label, i) => {
          add(labelledName(`${metric.name}${suffix}`, label, labels[i]!), part);
        });
      }
    }
  }
  return found;
}
