import { expect, test } from "bun:test";
import fc from "fast-check";
import { seededRandom } from "../../src/base/random.ts";
import type { Row } from "../../src/base/row.ts";
import { auc } from "../../src/base/statistics.ts";
import { type Batch, batchOf, type Column } from "../../src/contract/batch.ts";
import { type Contract, contractOf } from "../../src/contract/contract.ts";
import {
  labelsContract,
  labelsStream,
  scoresContract,
  scoresStream,
  type ViewShape,
} from "../../src/contract/streams.ts";
import { calibration, realised } from "../../src/feedback/metrics.ts";
import { outcomesOf, performanceOf } from "../../src/feedback/performance.ts";
import { MemoryStore } from "../support/memory_store.ts";

const DAY = 86_400_000_000;
const T = 15_972 * DAY; // 2013-09-24
const { fields } = contractOf(
  { type: "record", name: "s", recordId: ["tail"], fields: [{ name: "tail", type: "string" }] },
  "s",
);
const shape: ViewShape = { view: "v", keys: fields, entity: ["tail"], features: [], inputs: [] };
const scores = scoresContract("m", shape);
const labels = labelsContract("m", shape);

const score = (id: string, tail: string | null, asOf: number, value: number | null, more: Row = {}): Row => ({
  score_id: id,
  key_tail: tail,
  as_of: asOf,
  position: 1,
  made_at: asOf,
  mode: "batch",
  hindsight: false,
  model: "d1",
  role: "live",
  score: value,
  outputs: "{}",
  flags: "[]",
  blocked: false,
  request_id: null,
  ...more,
});
const label = (tail: string | null, scoreId: string | null, value: number | null): Row => ({
  key_tail: tail,
  score_id: scoreId,
  label: value,
  label_time: T,
  origin: "api",
  at: T,
});

async function storeOf(...commits: { scores?: readonly Row[]; labels?: readonly Row[] }[]) {
  const store = new MemoryStore({ now: () => T });
  for (const commit of commits) {
    await store.commit({
      appends: [
        { stream: scoresStream("m"), batch: batchOf(scores, commit.scores ?? []) },
        { stream: labelsStream("m"), batch: batchOf(labels, commit.labels ?? []) },
      ].filter(({ batch }) => batch.length > 0),
    });
  }
  return store;
}

test("AUC against the definition: pairs of a positive and a negative, ties half", () => {
  const entry = fc.record({ score: fc.integer({ min: 0, max: 8 }), label: fc.integer({ min: 0, max: 1 }) });
  fc.assert(
    fc.property(fc.array(entry, { maxLength: 60 }), (entries) => {
      let won = 0;
      let pairs = 0;
      for (const a of entries.filter((one) => one.label === 1)) {
        for (const b of entries.filter((one) => one.label === 0)) {
          pairs++;
          won += a.score > b.score ? 1 : a.score === b.score ? 0.5 : 0;
        }
      }
      const found = auc(
        entries.map((one) => one.score),
        entries.map((one) => one.label),
      );
      if (pairs === 0) expect(found).toBeNull();
      else expect(found).toBeCloseTo(won / pairs, 12);
    }),
  );
});

test("metrics of rows with an outcome, by hand; the others are counted only", () => {
  const found = realised(
    { scores: Float64Array.of(0.9, 0.2, 0.6, 0.5), labels: Float64Array.of(1, 0, 0, Number.NaN) },
    0.5,
  );
  expect(found).toMatchObject({ n: 4, labelled: 3, unlabelled: 1, auc: 1 });
  expect(found.brier).toBeCloseTo((0.01 + 0.04 + 0.36) / 3, 12);
  expect(found.log_loss).toBeCloseTo(-(Math.log(0.9) + Math.log(0.8) + Math.log(0.4)) / 3, 12);
  expect(found.accuracy).toBeCloseTo(2 / 3, 12);
  expect(found.base_rate).toBeCloseTo(1 / 3, 12);
  const sure = realised({ scores: Float64Array.of(1), labels: Float64Array.of(0) }, undefined);
  expect(Number.isFinite(sure.log_loss)).toBe(true);
  expect([sure.accuracy, sure.auc]).toEqual([null, null]);
  const none = realised({ scores: Float64Array.of(0.4), labels: Float64Array.of(Number.NaN) }, 0.5);
  expect(none).toMatchObject({ n: 1, labelled: 0, auc: null, brier: null, log_loss: null, base_rate: null });
});

test("calibration bins hold every labelled score once, 1 in the last", () => {
  const bins = calibration({ scores: Float64Array.of(0, 0.05, 0.1, 1), labels: Float64Array.of(0, 1, 1, 1) });
  expect(bins.map(({ n }) => n)).toEqual([2, 1, 0, 0, 0, 0, 0, 0, 0, 1]);
  expect(bins[0]).toMatchObject({ mean_score: 0.025, observed: 0.5 });
  expect(bins[2]).toMatchObject({ mean_score: null, observed: null });
});

test("the latest score of a batch and the latest label count; online scores count one by one", async () => {
  const store = await storeOf(
    {
      scores: [
        score("s1", "N1", T, 0.1),
        score("s2", "N2", T, 0.2),
        score("s3", "N3", T + DAY, 0.3),
        score("o1", "N1", T, 0.8, { mode: "entity" }),
        score("o2", null, T, 0.9, { mode: "rows" }),
        score("h1", "N1", T, 0.9, { mode: "entity", hindsight: true }),
        score("b1", "N4", T, null, { blocked: true }),
        score("c1", "N1", T, 0.5, { model: "d2", role: "candidate" }),
      ],
    },
    { labels: [label("N1", null, 0), label("N3", null, 1), label(null, "o2", 1), label("N2", null, 1)] },
    { scores: [score("s4", "N1", T, 0.7)], labels: [label("N1", null, 1), label("N2", null, null)] },
    { labels: [label(null, "o1", 0)] },
  );
  const found = await performanceOf(store, "m", { digest: "d1", threshold: 0.5 });
  expect(found).toMatchObject({ hindsight: 1, blocked: 1 });
  // N1 0.7 -> 1, N2 0.2 unlabelled again, N3 0.3 -> 1, o1 0.8 -> 0 by its id, o2 0.9 -> 1 by its id.
  expect(found.overall).toMatchObject({ n: 5, labelled: 4, unlabelled: 1, base_rate: 0.75, accuracy: 0.5 });
  expect(found.overall.auc).toBeCloseTo(1 / 3, 12);
  expect(found.days.map(({ day, n, labelled }) => [day, n, labelled])).toEqual([
    ["2013-09-24", 4, 3],
    ["2013-09-25", 1, 1],
  ]);
  expect((await performanceOf(store, "m", { role: "candidate" })).overall).toMatchObject({ n: 1, labelled: 1 });
  expect((await performanceOf(store, "m", { digest: "d1", upTo: 1 })).overall).toMatchObject({ n: 5, labelled: 0 });
  const late = await performanceOf(store, "m", { from: T + 1, to: T + DAY });
  expect(late.overall).toMatchObject({ n: 1, labelled: 1, auc: null });
});

test("300,000 scores in well under a second", async () => {
  const random = seededRandom(7);
  const count = 300_000;
  const text = (codes: Int32Array, dictionary: readonly string[]): Column => ({ kind: "text", codes, dictionary });
  const numbers = (values: Float64Array): Column => ({ kind: "number", values });
  const made = Float64Array.from({ length: count }, () => random.next());
  // Keys as flights have them: 16 carriers, 4,000 numbers, a time.
  const keys = {
    key_carrier: text(
      Int32Array.from({ length: count }, (_, i) => i % 16),
      Array.from({ length: 16 }, (_, i) => `C${i}`),
    ),
    key_flight: numbers(Float64Array.from({ length: count }, (_, i) => Math.floor(i / 16) % 4000)),
    key_scheduled: numbers(Float64Array.from({ length: count }, (_, i) => T + Math.floor(i / 64_000) * DAY)),
  };
  const flights: ViewShape = {
    view: "v",
    keys: contractOf(
      {
        type: "record",
        name: "s",
        recordId: "content",
        fields: [
          { name: "carrier", type: "string" },
          { name: "flight", type: "long" },
          { name: "scheduled", type: { type: "long", logicalType: "timestamp-micros" } },
        ],
      },
      "s",
    ).fields,
    entity: ["carrier"],
    features: [],
    inputs: [],
  };
  const batchWith = (contract: Contract, columns: Readonly<Record<string, Column>>): Batch => ({
    contract,
    length: count,
    columns: contract.fields.map(({ name, type }) => {
      const empty = text(new Int32Array(count), ["batch"]);
      return columns[name] ?? (type === "string" ? empty : numbers(new Float64Array(count)));
    }),
  });
  const none = text(new Int32Array(count).fill(-1), []);
  const batches: Readonly<Record<string, Batch>> = {
    "scores/m": batchWith(scoresContract("m", flights), {
      ...keys,
      as_of: numbers(Float64Array.from({ length: count }, (_, i) => T + Math.floor(i / (count / 90)) * DAY)),
      score: numbers(made),
    }),
    "labels/m": batchWith(labelsContract("m", flights), {
      ...keys,
      score_id: none,
      label: numbers(made.map((value) => (random.next() < value ? 1 : 0))),
    }),
  };
  const sequences = Float64Array.from({ length: count }, (_, i) => i);
  // What a scan of compacted rows hands over, without the reading.
  const store = Object.assign(Object.create(new MemoryStore({ now: () => T })), {
    scan: async function* (stream: string) {
      const batch = batches[stream]!;
      yield {
        stream,
        batch,
        sequences,
        commitNos: sequences,
        knownTimes: sequences,
        tombstones: new Uint8Array(count),
      };
    },
  });
  const start = performance.now();
  const before = process.cpuUsage();
  const found = await performanceOf(store, "m", { upTo: 1 });
  const elapsed = performance.now() - start;
  const { user, system } = process.cpuUsage(before);
  expect(found.overall).toMatchObject({ n: count, labelled: count });
  expect(found.overall.auc).toBeCloseTo(5 / 6, 2);
  expect(found.days).toHaveLength(90);
  console.log(`300,000 scores: ${elapsed.toFixed(0)} ms, ${((user + system) / 1000).toFixed(0)} ms of processor time`);
  expect(elapsed).toBeLessThan(5_000); // a bound for a busy machine; the figure is printed
  expect((await outcomesOf(store, "m", { upTo: 1 })).scores).toHaveLength(count);
}, 20_000);
