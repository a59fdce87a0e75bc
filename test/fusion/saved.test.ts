/** An index that was saved and restored, against one folded from the log: the same bits, also when folding goes on. */
import { expect, test } from "bun:test";
import fc from "fast-check";
import type { Row, Value } from "../../src/base/row.ts";
import { batchOf } from "../../src/contract/batch.ts";
import { type Contract, streamContract } from "../../src/contract/contract.ts";
import { compareAt, readValue } from "../../src/fusion/column.ts";
import { featureRecord, fusePlace } from "../../src/fusion/feature_rows.ts";
import { historyPlaces } from "../../src/fusion/history.ts";
import { applyRows, boundView, buildIndex, createIndex, type LiveIndex } from "../../src/fusion/index.ts";
import { placesOf, scratchList } from "../../src/fusion/path.ts";
import { planView } from "../../src/fusion/plan.ts";
import { fuseEntities, fuseRequest, outcomesKnown } from "../../src/fusion/request.ts";
import { restoreIndex, savedTag, saveIndex } from "../../src/fusion/saved.ts";
import { applyToTable, createTable, pathOf, type Table } from "../../src/fusion/table.ts";
import type { Store, StoredRows } from "../../src/store/port.ts";
import { MemoryStore } from "../support/memory_store.ts";
import { commitChanges, DAWN, datasetPlans, HOUR, MINUTE, testClock, viewConfig } from "./flights.ts";
import { changeGroups, latest } from "./oracle.ts";

const plans = [
  planView("flight_delay", viewConfig(), datasetPlans()),
  planView(
    "weather_only",
    viewConfig({
      spine: "departures",
      as_of: "departed",
      joins: { weather: { from: "weather", by: ["origin"], max_age: "6h" } },
      windows: { own: { from: "departures", by: ["carrier"], window: "9h", values: { n: "count(*)" } } },
      features: { wind: "weather.wind", n: "own.n", late: "dep_delay > 5" },
    }),
    datasetPlans(),
  ),
];

/** What the index answers, in every way that it is asked. */
function answers(index: LiveIndex, rows: readonly Row[], times: readonly number[]) {
  const tables = [...index.tables.values()].map(({ maxEventTime, lastKnown }) => [maxEventTime, lastKnown]);
  const history = plans.map((plan) => {
    const view = boundView(index, plan);
    return Array.from(historyPlaces(view), (place) => featureRecord(plan, fusePlace(view, place), 0));
  });
  const [plan] = plans;
  const entities = rows.map(({ carrier, flight }) => [carrier!, flight!]);
  const asked = times.map((at) => [
    fuseRequest(plan!, index, rows, at),
    fuseEntities(plan!, index, entities, at),
    outcomesKnown(plan!, index, rows, at),
    outcomesKnown(plan!, index, entities, at),
  ]);
  return { tables, history, asked };
}

async function followed(store: Store, index: LiveIndex, after: number, upTo: number) {
  for (let at = after; at < upTo; ) {
    const page = await store.tail(at, index.streams, 1);
    for (const stored of page.rows) applyRows(index, stored);
    at = page.upTo;
  }
}

test("saved at any commit while folding goes on, restored and folded on, an index answers bit for bit as one folded anew", async () => {
  await fc.assert(
    fc.asyncProperty(changeGroups, fc.nat(), fc.nat(), async (groups, pick, quarter) => {
      const store = new MemoryStore(testClock());
      for (const group of groups) await commitChanges(store, group);
      const rows = latest(groups.flat(), "schedule");
      const times = [DAWN + (quarter % 50) * 15 * MINUTE, DAWN + 30 * HOUR];
      const upTo = pick % (groups.length + 1);
      const saving = createIndex(plans);
      await followed(store, saving, 0, upTo);
      const parts = saveIndex(saving);
      await followed(store, saving, upTo, groups.length); // before the first part was made
      const restored = createIndex(plans);
      await restoreIndex(restored, parts);
      const anew = await buildIndex(store, plans, upTo);
      expect(answers(restored, rows, times)).toEqual(answers(anew, rows, times));
      await followed(store, restored, upTo, groups.length);
      const whole = answers(await buildIndex(store, plans, groups.length), rows, times);
      expect(answers(restored, rows, times)).toEqual(whole);
      expect(answers(saving, rows, times)).toEqual(whole);
      const again = createIndex(plans); // a saved index can be saved again
      await restoreIndex(again, saveIndex(restored));
      expect(answers(again, rows, times)).toEqual(whole);
    }),
    { numRuns: 60 },
  );
}, 20_000);

const everything = streamContract({
  name: "d",
  fields: { text: "string?", whole: "long?", bytes: "bytes?", flag: "boolean?", real: "double?", at: "timestamp" },
  recordId: ["text", "whole"],
  eventTime: "at",
});
const big = 2n ** 53n;
const anyRow = fc.record({
  text: fc.oneof(
    fc.constantFrom("", "a", "é", "ÿ", "Ā", "語", "😀", "\ud800", "a\0", null),
    fc.string({ maxLength: 3 }),
  ),
  whole: fc.constantFrom(0, -0, -1, 2 ** 40, big + 1n, -big - 2n, null),
  bytes: fc.oneof(fc.uint8Array({ maxLength: 5 }), fc.constant(null)),
  flag: fc.constantFrom(true, false, null),
  real: fc.oneof(fc.double({ noNaN: true }), fc.constant(null)),
  at: fc.integer({ min: 0, max: 5 }),
});

function tableOf(contract: Contract): Table {
  const fields = contract.fields.map((field) => field.name);
  const need = { dataset: "d", contract, isStatic: false, fields, available: undefined, derived: undefined };
  const table = createTable([need]);
  for (const name of ["text", "whole", "bytes", "flag"]) pathOf(table, [name]);
  return table;
}

const indexOf = (table: Table): LiveIndex => ({ tables: new Map([["d", table]]), views: new Map(), streams: [] });

const stored = (rows: readonly Row[], dead: readonly boolean[]): StoredRows => ({
  stream: "curated/d",
  batch: batchOf(everything, rows),
  sequences: Float64Array.from(rows, (_, i) => i),
  commitNos: new Float64Array(rows.length).fill(1),
  knownTimes: new Float64Array(rows.length).fill(1),
  tombstones: Uint8Array.from(dead, Number),
});

const rowOf = (table: Table, place: number): Row =>
  Object.fromEntries([...table.columns].map(([name, column]) => [name, readValue(column, place)]));

test("values of every type come back as they were, under every key, and what was withdrawn does not", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(fc.tuple(anyRow, fc.boolean()), { maxLength: 40 }), async (changes) => {
      const rows = changes.map(([row]) => row as Row);
      const table = tableOf(everything);
      const dead = changes.map(([, withdrawn]) => withdrawn);
      applyToTable(table, stored(rows, dead), 0, rows.length);
      const restored = tableOf(everything);
      await restoreIndex(indexOf(restored), saveIndex(indexOf(table)));
      const live = Array.from({ length: table.length }, (_, place) => place).filter(
        (place) => table.alive[place] === 1,
      );
      expect(Array.from({ length: restored.length }, (_, place) => rowOf(restored, place))).toEqual(
        live.map((place) => rowOf(table, place)),
      );
      for (const column of ["text", "whole", "real"]) {
        const [one, other] = [table.columns.get(column)!, restored.columns.get(column)!];
        for (let i = 1; i < live.length; i++) {
          const compared = Math.sign(compareAt(other, i - 1, i));
          expect(compared).toBe(Math.sign(compareAt(one, live[i - 1]!, live[i]!)));
        }
      }
      for (const name of ["text", "whole", "bytes", "flag"]) {
        for (const key of rows.map((row) => [row[name]!] as Value[])) {
          const found = [table, restored].map((one) => {
            const list = placesOf(pathOf(one, [name]), key, scratchList());
            return list ? Array.from(list.places.subarray(0, list.length), (place) => rowOf(one, place)) : [];
          });
          expect(found[1]).toEqual(found[0]!);
        }
      }
    }),
    { numRuns: 150 },
  );
});

test("what is saved of corrected rows is their latest version alone, and texts that nothing uses are left out", async () => {
  const table = tableOf(everything);
  const rows = Array.from({ length: 300 }, (_, i) => ({
    text: "same",
    whole: 1,
    bytes: null,
    flag: true,
    real: i,
    at: 1,
  }));
  applyToTable(table, stored([{ ...rows[0]!, text: "gone" }, ...rows], [false, ...rows.map(() => false)]), 0, 301);
  applyToTable(table, { ...stored([{ ...rows[0]!, text: "gone" }], [true]), sequences: Float64Array.of(301) }, 0, 1);
  const restored = tableOf(everything);
  await restoreIndex(indexOf(restored), saveIndex(indexOf(table)));
  const { dictionary } = restored.columns.get("text") as { dictionary: { count: number } };
  expect([table.length, restored.length, dictionary.count, rowOf(restored, 0).real]).toEqual([302, 1, 1, 299]);
});

test("parts that end early, go on too long or are of other columns are refused", async () => {
  const parts: Uint8Array[] = [];
  for await (const part of saveIndex(indexOf(tableOf(everything)))) parts.push(part);
  const whole = Buffer.concat(parts);
  async function* given(bytes: Uint8Array) {
    yield bytes;
  }
  await restoreIndex(indexOf(tableOf(everything)), given(whole));
  for (const bytes of [
    whole.subarray(0, -1),
    Buffer.concat([whole, new Uint8Array(1)]),
    new Uint8Array(whole.length),
  ]) {
    await expect(restoreIndex(indexOf(tableOf(everything)), given(bytes))).rejects.toThrow(/saved index|JSON/);
  }
  await expect(restoreIndex(createIndex(plans), given(whole))).rejects.toThrow("has other columns");
  expect(savedTag(plans, "1")).not.toBe(savedTag(plans, "2"));
  expect(savedTag(plans, "1")).not.toBe(savedTag(plans.slice(0, 1), "1"));
});
