import { expect, test } from "bun:test";
import fc from "fast-check";
import { createMetrics, SERIES_MAX } from "../../src/monitoring/metrics.ts";

const make = () =>
  createMetrics({
    mlpe_rows_total: { kind: "counter", help: "Rows taken.", labels: ["dataset", "outcome"] },
    mlpe_commits_total: { kind: "counter", help: "Commits.\nIn all, with a \\ in the text." },
    mlpe_memory_bytes: { kind: "gauge", help: "Resident memory." },
    mlpe_score_seconds: { kind: "histogram", help: "Time to score.", labels: ["model"], buckets: [0.001, 0.01, 0.1] },
  });

// The exposition format, read line by line by its grammar (https://prometheus.io/docs/instrumenting/exposition_formats/).
const SAMPLE = /^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{((?:[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\[\\"n])*",?)*)\})? (\S+)$/;

interface Sample {
  name: string;
  labels: Record<string, string>;
  value: number;
}

function parse(text: string): { samples: Sample[]; types: Record<string, string>; helps: Record<string, string> } {
  expect(text.endsWith("\n")).toBe(true);
  const samples: Sample[] = [];
  const types: Record<string, string> = {};
  const helps: Record<string, string> = {};
  for (const line of text.slice(0, -1).split("\n")) {
    const comment = /^# (HELP|TYPE) (\S+) (.*)$/.exec(line);
    if (comment) {
      const target = comment[1] === "HELP" ? helps : types;
      expect(target[comment[2]!]).toBeUndefined();
      target[comment[2]!] = comment[3]!;
      continue;
    }
    const match = SAMPLE.exec(line);
    if (!match) throw new Error(`not a sample: ${line}`);
    const labels: Record<string, string> = {};
    for (const [, name, value] of (match[2] ?? "").matchAll(/([a-zA-Z_]\w*)="((?:[^"\\]|\\.)*)"/g)) {
      labels[name!] = value!.replace(/\\(.)/g, (_, c) => (c === "n" ? "\n" : c));
    }
    const value = match[3] === "+Inf" ? Number.POSITIVE_INFINITY : Number(match[3]);
    samples.push({ name: match[1]!, labels, value });
  }
  return { samples, types, helps };
}

test("the text exposition, exactly", () => {
  const metrics = make();
  metrics.add("mlpe_rows_total", 3, { dataset: "weather", outcome: "curated" });
  metrics.add("mlpe_rows_total", 1, { dataset: "weather", outcome: "curated" });
  metrics.set("mlpe_memory_bytes", 1.5e9);
  metrics.observe("mlpe_score_seconds", 0.0005, { model: "m" });
  metrics.observe("mlpe_score_seconds", 0.001, { model: "m" });
  metrics.observe("mlpe_score_seconds", 5, { model: "m" });
  expect(metrics.render()).toBe(
    [
      "# HELP mlpe_rows_total Rows taken.",
      "# TYPE mlpe_rows_total counter",
      'mlpe_rows_total{dataset="weather",outcome="curated"} 4',
      "# HELP mlpe_commits_total Commits.\\nIn all, with a \\\\ in the text.",
      "# TYPE mlpe_commits_total counter",
      "mlpe_commits_total 0",
      "# HELP mlpe_memory_bytes Resident memory.",
      "# TYPE mlpe_memory_bytes gauge",
      "mlpe_memory_bytes 1500000000",
      "# HELP mlpe_score_seconds Time to score.",
      "# TYPE mlpe_score_seconds histogram",
      'mlpe_score_seconds_bucket{model="m",le="0.001"} 2',
      'mlpe_score_seconds_bucket{model="m",le="0.01"} 2',
      'mlpe_score_seconds_bucket{model="m",le="0.1"} 2',
      'mlpe_score_seconds_bucket{model="m",le="+Inf"} 3',
      'mlpe_score_seconds_sum{model="m"} 5.0015',
      'mlpe_score_seconds_count{model="m"} 3',
      "",
    ].join("\n"),
  );
});

test("any label value comes back from the text as it was", () => {
  const text = fc.string({ unit: fc.constantFrom("a", '"', "\\", "\n", "}", "{", ",", "=", "é", " ", "n") });
  fc.assert(
    fc.property(text, text, (dataset, outcome) => {
      const metrics = make();
      metrics.add("mlpe_rows_total", 2, { dataset, outcome });
      const { samples } = parse(metrics.render());
      expect(samples).toContainEqual({ name: "mlpe_rows_total", labels: { dataset, outcome }, value: 2 });
    }),
  );
});

test("histograms: buckets are cumulative and the last one is the count", () => {
  const value = fc.double({ min: -1, max: 1, noNaN: true });
  fc.assert(
    fc.property(fc.array(value), (values) => {
      const metrics = make();
      for (const one of values) metrics.observe("mlpe_score_seconds", one, { model: "m" });
      const { samples, types } = parse(metrics.render());
      expect(types.mlpe_score_seconds).toBe("histogram");
      for (const sample of samples.filter(({ name }) => name === "mlpe_score_seconds_bucket")) {
        const bound = sample.labels.le === "+Inf" ? Number.POSITIVE_INFINITY : Number(sample.labels.le);
        expect(sample.value).toBe(values.filter((one) => one <= bound).length);
      }
      if (values.length > 0) expect(metrics.snapshot().get("mlpe_score_seconds_count")).toBe(values.length);
    }),
  );
});

test("label sets are bounded: what comes later is counted together", () => {
  const metrics = make();
  for (let i = 0; i < SERIES_MAX + 50; i++) metrics.add("mlpe_rows_total", 1, { dataset: `d${i}`, outcome: "curated" });
  metrics.add("mlpe_rows_total", 1, { dataset: "d0", outcome: "curated" });
  const rows = parse(metrics.render()).samples.filter(({ name }) => name === "mlpe_rows_total");
  expect(rows).toHaveLength(SERIES_MAX + 1);
  expect(rows.find(({ labels }) => labels.dataset === "other")!.value).toBe(50);
  expect(metrics.snapshot().get("mlpe_rows_total")).toBe(SERIES_MAX + 51);
});

test("misuse is loud: unknown labels, falling counters, names that Prometheus does not take", () => {
  const metrics = make();
  expect(() => metrics.add("mlpe_rows_total", 1, { site: "x" })).toThrow("no label site");
  expect(() => metrics.add("mlpe_commits_total", -1)).toThrow("can't go down");
  expect(() => metrics.set("mlpe_commits_total", 1)).toThrow("is no gauge");
  expect(() => createMetrics({ rows: { kind: "counter", help: "" } })).toThrow("_total");
  expect(() => createMetrics({ "a b": { kind: "gauge", help: "" } })).toThrow("no metric name");
  expect(() => createMetrics({ h: { kind: "histogram", help: "", buckets: [2, 1] } })).toThrow("not ascending");
});
