import { expect, test } from "bun:test";
import type { Row } from "../../src/base/row.ts";
import { batchOf, rowsOf } from "../../src/contract/batch.ts";
import { contractOf } from "../../src/contract/contract.ts";
import { curatedStream, labelsContract, labelsStream, type ViewShape } from "../../src/contract/streams.ts";
import { type DatasetLabel, labelReader, labelRowsFromApi, stepLabels } from "../../src/feedback/labels.ts";
import { MemoryStore } from "../support/memory_store.ts";

const departures = contractOf(
  {
    type: "record",
    name: "departures",
    entity: ["carrier"],
    eventTime: "departed",
    recordId: ["carrier", "scheduled"],
    fields: [
      { name: "carrier", type: "string" },
      { name: "scheduled", type: { type: "long", logicalType: "timestamp-micros" } },
      { name: "departed", type: { type: "long", logicalType: "timestamp-micros" } },
      { name: "dep_delay", type: ["null", "int"] },
    ],
  },
  "departures.avsc",
);
const shape: ViewShape = {
  view: "v",
  keys: departures.fields.filter(({ name }) => name === "carrier" || name === "scheduled"),
  entity: ["carrier"],
  features: [],
  inputs: [],
};
const T = 1_380_000_000_000_000;

test("labels by score id and by keys become rows; bad entries are named and the good ones go on", () => {
  const body = {
    labels: [
      { score_id: "s1", label: true },
      { keys: { carrier: "AA", scheduled: "2013-09-24T05:20:00Z" }, label: 0, time: "2013-09-24T06:00:00Z" },
      { score_id: "s2", label: "late" },
      { label: true },
      { score_id: "s3", keys: { carrier: "AA" }, label: true },
      { keys: { carrier: "AA" }, label: true },
      { keys: { carrier: 5, scheduled: T }, label: true },
      { keys: { carrier: "AA", scheduled: T, tail: "x" }, label: true },
      { score_id: "s4" },
      { score_id: "s5", label: null },
      { score_id: "s6", label: true, time: "yesterday" },
      { score_id: "s7", label: true, comment: "x" },
      { score_id: "s8", label: Number.NaN },
      7,
    ],
  };
  const { rows, problems } = labelRowsFromApi(body, shape, 99);
  const empty = { key_carrier: null, key_scheduled: null };
  expect(rows).toEqual([
    { ...empty, score_id: "s1", label: 1, label_time: 99, origin: "api", at: 99 },
    {
      key_carrier: "AA",
      key_scheduled: T,
      score_id: null,
      label: 0,
      label_time: T + 2_400_000_000,
      origin: "api",
      at: 99,
    },
    { ...empty, score_id: "s5", label: null, label_time: 99, origin: "api", at: 99 },
  ]);
  expect(problems.map(({ place }) => place)).toEqual([2, 3, 4, 5, 6, 7, 8, 10, 11, 12, 13].map((i) => `labels[${i}]`));
  expect(rowsOf(batchOf(labelsContract("m", shape), rows))).toEqual([...rows]);
  expect(() => labelRowsFromApi({ label: true }, shape, 0)).toThrow("no list of labels");
  expect(() => labelRowsFromApi(Array(10_001).fill({}), shape, 0)).toThrow("at most 10000");
});

test("keys are read as requests for scores read them", () => {
  const typed = contractOf(
    {
      type: "record",
      name: "t",
      entity: [],
      recordId: ["n", "day", "kind"],
      fields: [
        { name: "n", type: "long" },
        { name: "day", type: { type: "int", logicalType: "date" } },
        { name: "kind", type: { type: "enum", name: "kind", symbols: ["A", "B"] } },
      ],
    },
    "t.avsc",
  );
  const read = (keys: object) => labelRowsFromApi([{ keys, label: 1 }], { ...shape, keys: typed.fields }, 9);
  expect(read({ n: "9007199254740993", day: "2013-01-02", kind: "A" }).rows).toMatchObject([
    { key_n: 9007199254740993n, key_day: 15_707, key_kind: "A" },
  ]);
  for (const wrong of [{ n: 1.5 }, { day: 15_707 }, { day: "2013-01-02T00:00:00Z" }, { kind: "C" }]) {
    const { rows, problems } = read({ n: 1, day: "2013-01-02", kind: "A", ...wrong });
    expect(rows).toEqual([]);
    expect(problems[0]!.message).toContain(`key ${Object.keys(wrong)[0]} `);
  }
});

const labelOf = (row: Row): DatasetLabel | null => {
  if (row.dep_delay === null) return null;
  const label = (row.dep_delay as number) > 15;
  return { keys: { carrier: row.carrier!, scheduled: row.scheduled! }, label, labelTime: row.departed as number };
};

test("a label of a dataset without times is of the time that its row became known", async () => {
  const store = new MemoryStore({ now: () => T });
  const row = { carrier: "AA", scheduled: T, departed: T, dep_delay: 20 };
  await store.commit({ appends: [{ stream: curatedStream("departures"), batch: batchOf(departures, [row]) }] });
  const timeless = (read: Row) => ({ ...labelOf(read)!, labelTime: null });
  await stepLabels({ store, model: "m", shape, dataset: "departures", labelOf: timeless, now: T + 99 });
  for await (const { batch } of store.scan(labelsStream("m"))) {
    expect(rowsOf(batch)).toMatchObject([{ label: 1, label_time: T, at: T + 99 }]);
  }
  expect((await store.head()).commitNo).toBe(2);
});

test("labels of a dataset are taken once each, also late ones, corrections and withdrawals", async () => {
  const store = new MemoryStore({ now: () => T });
  const departure = (carrier: string, delay: number | null): Row => ({
    carrier,
    scheduled: T,
    departed: T + (delay ?? 0) * 60_000_000,
    dep_delay: delay,
  });
  const append = (rows: readonly Row[], tombstones?: Uint8Array) =>
    store.commit({
      appends: [
        {
          stream: curatedStream("departures"),
          batch: batchOf(departures, rows),
          ...(tombstones ? { tombstones } : {}),
        },
      ],
    });
  const options = { store, model: "m", shape, dataset: "departures", labelOf, now: 5 };
  const all = async () => {
    const found: [unknown, unknown][] = [];
    for await (const { batch } of store.scan(labelsStream("m"))) {
      for (const row of rowsOf(batch)) found.push([row.key_carrier, row.label]);
    }
    return found;
  };
  await append([departure("AA", 20), departure("UA", 3), departure("DL", null)]);
  expect(await stepLabels(options)).toMatchObject({ labels: 2 });
  await stepLabels(options);
  await append([departure("UA", 30)]);
  await append([departure("AA", 20)], Uint8Array.of(1));
  let seen: number | undefined;
  for (let i = 0; i < 5; i++) seen = (await stepLabels({ ...options, seen, maxRows: 1 })).seen;
  expect(await all()).toEqual([
    ["AA", 1],
    ["UA", 0],
    ["UA", 1],
    ["AA", null],
  ]);
  const head = (await store.head()).commitNo;
  expect(await stepLabels({ ...options, seen })).toMatchObject({ labels: 0, atEnd: true });
  expect((await store.head()).commitNo).toBe(head);
  expect(await store.position(labelReader("m"))).toBeGreaterThan(0);
});
