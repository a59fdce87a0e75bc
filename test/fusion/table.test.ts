import { expect, test } from "bun:test";
import fc from "fast-check";
import type { Row, Value } from "../../src/base/row.ts";
import { batchOf } from "../../src/contract/batch.ts";
import { type Contract, streamContract } from "../../src/contract/contract.ts";
import { readValue } from "../../src/fusion/column.ts";
import { featureRecord, fusePlace } from "../../src/fusion/feature_rows.ts";
import { historyPlaces } from "../../src/fusion/history.ts";
import { applyRows, boundView, buildIndex, createIndex } from "../../src/fusion/index.ts";
import { entryAt, entryOf } from "../../src/fusion/keys.ts";
import { placesOf, scratchList } from "../../src/fusion/path.ts";
import { planView } from "../../src/fusion/plan.ts";
import { applyToTable, createTable, pathOf, type Table } from "../../src/fusion/table.ts";
import type { StoredRows } from "../../src/store/port.ts";
import { MemoryStore } from "../support/memory_store.ts";
import { commitChanges, datasetPlans, testClock, viewConfig } from "./flights.ts";
import { changeGroups } from "./oracle.ts";

const stored = (contract: Contract, rows: readonly Row[], first = 0, dead: readonly number[] = []): StoredRows => ({
  stream: "curated/d",
  batch: batchOf(contract, rows),
  sequences: Float64Array.from(rows, (_, i) => first + i),
  commitNos: new Float64Array(rows.length).fill(1),
  knownTimes: new Float64Array(rows.length).fill(1),
  tombstones: Uint8Array.from(rows, (_, i) => (dead.includes(i) ? 1 : 0)),
});

const tableOf = (contract: Contract): Table =>
  createTable([
    {
      dataset: "d",
      contract,
      isStatic: contract.eventTime === undefined,
      fields: contract.fields.map((field) => field.name),
      available: undefined,
      derived: undefined,
    },
  ]);

test("an index does not depend on the order in which stored rows are folded", async () => {
  const plan = planView("flight_delay", viewConfig(), datasetPlans());
  await fc.assert(
    fc.asyncProperty(changeGroups, fc.infiniteStream(fc.nat()), async (groups, picks) => {
      const store = new MemoryStore(testClock());
      for (const group of groups) await commitChanges(store, group);
      const pieces: StoredRows[] = [];
      for (const { stream } of await store.streams()) for await (const piece of store.scan(stream)) pieces.push(piece);
      const shuffled = createIndex([plan]);
      while (pieces.length > 0) applyRows(shuffled, pieces.splice(picks.next().value % pieces.length, 1)[0]!);
      const rows = [await buildIndex(store, [plan], groups.length), shuffled].map((index) => {
        const view = boundView(index, plan);
        return Array.from(historyPlaces(view), (place) => featureRecord(plan, fusePlace(view, place), 0));
      });
      expect(rows[1]).toEqual(rows[0]!);
    }),
    { numRuns: 60 },
  );
});

const everyKey = streamContract({
  name: "keys",
  fields: { text: "string?", whole: "long?", bytes: "bytes?", flag: "boolean?", real: "double?" },
  recordId: ["text", "whole", "bytes", "flag", "real"],
});
const big = 2n ** 53n;
const keyRow = fc.record({
  text: fc.constantFrom("", "a", "b", null),
  whole: fc.constantFrom(0, 1, -1, 2 ** 40, big + 1n, big + 2n, null),
  bytes: fc.constantFrom(new Uint8Array(), new Uint8Array([1]), new Uint8Array([2]), null),
  flag: fc.constantFrom(true, false, null),
  real: fc.constantFrom(0, 0.5, 0.25, 1e300, null),
});

const textOf = (row: Row): string =>
  JSON.stringify(Object.values(row), (_, value) => (typeof value === "bigint" ? `${value}n` : value));

test("keys of every type are told apart exactly, whole numbers beyond 2^53 too", () => {
  fc.assert(
    fc.property(fc.array(keyRow, { maxLength: 200 }), keyRow, (rows, other) => {
      const table = tableOf(everyKey);
      applyToTable(table, stored(everyKey, rows as Row[]), 0, rows.length);
      const keys = table.ids!;
      expect(keys.count).toBe(new Set(rows.map((row) => textOf(row as Row))).size);
      const first = new Map<string, number>();
      for (let place = 0; place < table.length; place++) {
        const row = Object.fromEntries([...table.columns].map(([name, column]) => [name, readValue(column, place)]));
        const entry = entryAt(keys, place);
        expect(first.get(textOf(row)) ?? entry).toBe(entry);
        first.set(textOf(row), entry);
        expect(entryOf(keys, Object.values(row) as Value[])).toBe(entry);
      }
      expect(entryOf(keys, Object.values(other) as Value[])).toBe(first.get(textOf(other as Row)) ?? -1);
    }),
    { numRuns: 100 },
  );
});

const ordered = streamContract({
  name: "ordered",
  fields: { key: "string?", at: "timestamp?", version: "long", id: "string" },
  entity: ["key"],
  eventTime: "at",
  recordId: ["id"],
});
const withOrder: Contract = { ...ordered, order: "version" };

test("a key's rows stand in the order of time, the order field and the record id, however they came and went", () => {
  const change = fc.record({
    key: fc.constantFrom("a", "b", null),
    at: fc.constantFrom(1, 2, 3, null),
    version: fc.constantFrom(1, 2),
    id: fc.constantFrom("p", "q", "r", "s", "t"),
    dead: fc.integer({ min: 0, max: 4 }),
  });
  fc.assert(
    fc.property(fc.array(change, { maxLength: 60 }), fc.integer({ min: 1, max: 10 }), (changes, readEvery) => {
      const table = tableOf(withOrder);
      const path = pathOf(table, ["key"]);
      const live = new Map<string, Row>();
      const idsOf = (key: Value) => {
        const list = placesOf(path, [key], scratchList());
        return Array.from(list?.places.subarray(0, list.length) ?? [], (place) =>
          readValue(table.columns.get("id")!, place),
        );
      };
      changes.forEach(({ dead, ...row }, i) => {
        applyToTable(table, stored(withOrder, [row], i, dead === 0 ? [0] : []), 0, 1);
        if (dead === 0) live.delete(row.id);
        else live.set(row.id, row);
        if (i % readEvery !== 0 && i + 1 < changes.length) return; // unsorted tails build up between reads
        for (const key of ["a", "b"]) {
          const expected = [...live.values()]
            .filter((other) => other.key === key && other.at !== null)
            .sort(
              (a, b) =>
                Number(a.at) - Number(b.at) || Number(a.version) - Number(b.version) || (a.id! < b.id! ? -1 : 1),
            )
            .map(({ id }) => id!);
          expect(idsOf(key)).toEqual(expected);
        }
      });
    }),
    { numRuns: 200 },
  );
});

test("a field that an older contract lacks takes its default, or null", () => {
  const older = streamContract({
    name: "ordered",
    fields: { key: "string?", at: "timestamp?", id: "string" },
    recordId: ["id"],
  });
  const newer: Contract = {
    ...ordered,
    fields: ordered.fields.map((field) => (field.name === "version" ? { ...field, default: 7 } : field)),
  };
  const table = tableOf(newer);
  applyToTable(table, stored(older, [{ key: "a", at: 1, id: "p" }]), 0, 1);
  expect(readValue(table.columns.get("version")!, 0)).toBe(7);
});
