import { expect, test } from "bun:test";
import { seededRandom } from "../../src/base/random.ts";
import type { Row } from "../../src/base/row.ts";
import { rowsOf } from "../../src/contract/batch.ts";
import { historyView } from "../../src/fusion/history.ts";
import { buildIndex, type LiveIndex } from "../../src/fusion/index.ts";
import { planView } from "../../src/fusion/plan.ts";
import { fuseRequest } from "../../src/fusion/request.ts";
import { resumeFuser, stepFuse } from "../../src/fusion/step.ts";
import { explainEntity } from "../../src/views/explain.ts";
import { exportTrainingSet } from "../../src/views/export.ts";
import { type VerifyOptions, verifyView } from "../../src/views/verify.ts";
import {
  type Change,
  commitChanges,
  DAWN,
  datasetPlans,
  endInput,
  finiteFeeds,
  HOUR,
  MINUTE,
  testClock,
  VIEW,
  viewConfig,
} from "../fusion/flights.ts";
import { MemoryStore } from "../support/memory_store.ts";

const plan = planView("flight_delay", viewConfig(), datasetPlans());

/** Two days of flights on a grid of five minutes, so that many rows sit exactly on window edges. */
function flights(seed: number): Change[] {
  const random = seededRandom(seed);
  const pick = <T>(values: readonly T[]): T => values[Math.floor(random.next() * values.length)]!;
  const changes: Change[] = [];
  for (let i = 0; i < 400; i++) {
    const scheduled = DAWN + Math.floor(random.next() * 576) * 5 * MINUTE;
    const delay = Math.floor(random.next() * 20 - 4) * 5;
    const key = {
      carrier: pick(["AA", "UA", "B6"]),
      flight: Math.floor(random.next() * 50),
      scheduled,
      origin: pick(["EWR", "JFK"]),
    };
    changes.push({
      dataset: "schedule",
      row: { ...key, tailnum: pick(["N1", "N2", null]), distance: random.next() * 2000, lead: 60 },
    });
    if (i % 9 !== 0)
      changes.push({ dataset: "departures", row: { ...key, departed: scheduled + delay * MINUTE, dep_delay: delay } });
  }
  for (let hour = -3; hour < 40; hour++) {
    for (const origin of ["EWR", "JFK"])
      changes.push({ dataset: "weather", row: { origin, time_hour: DAWN + hour * HOUR, wind: random.next() * 30 } });
  }
  changes.push({ dataset: "planes", row: { tailnum: "N1", seats: 180 } });
  return changes;
}

async function fusedStore(changes: readonly Change[], rowsPerCommit: number) {
  const clock = testClock();
  const store = new MemoryStore(clock);
  for (let i = 0; i < changes.length; i += 97) await commitChanges(store, changes.slice(i, i + 97));
  await endInput(store, "flights", "weather", "planes");
  const fuser = await resumeFuser(store, plan, finiteFeeds);
  while ((await stepFuse({ store, fuser, clock, rowsPerCommit })) === "progress");
  return store;
}

const changes = flights(7);
const verifyWith = async (options: Partial<VerifyOptions>) =>
  verifyView({ store: await fusedStore(changes, 100), plan, random: seededRandom(1), rows: 150, ...options });

test("stored rows, history from what was available at T, and requests have equal bits", async () => {
  const store = await fusedStore(changes, 100);
  const index = await buildIndex(store, [plan], (await store.head()).commitNo);
  const result = await verifyWith({
    request: async (rows) => rows.map(({ spine, asOf }) => fuseRequest(plan, index, [spine], asOf)[0]!.fused.values),
  });
  expect(result).toMatchObject({ sampled: 150, equal: true, compared: 150 * plan.shape.features.length * 2 });
});

test("a window edge that is off by one microsecond in one path is found, and the feature is named", async () => {
  const windows = plan.windows.map((window) =>
    window.alias === "origin_3h" ? { ...window, length: window.length + 1 } : window,
  );
  const history = await verifyWith({ historyPlan: { ...plan, windows } });
  expect(history.equal).toBe(false);
  expect(history.differences.map(({ feature }) => feature)).toContain("n");
  expect(history.differences.every(({ path }) => path === "history")).toBe(true);

  const store = await fusedStore(changes, 100);
  const shifted = { ...plan, windows };
  const index = await buildIndex(store, [shifted], (await store.head()).commitNo);
  const request = await verifyWith({
    request: async (rows) => rows.map(({ spine, asOf }) => fuseRequest(shifted, index, [spine], asOf)[0]!.fused.values),
  });
  expect(request.differences.length).toBeGreaterThan(0);
  expect(request.differences.every(({ path }) => path === "request")).toBe(true);
});

/** Doubles every number of the rows that were, or were not, available at T. */
const alter = (available: boolean) => (index: LiveIndex, asOf: number) => {
  for (const [name, table] of index.tables) {
    const times = { departures: "departed", weather: "=", planes: "", schedule: "scheduled" }[name] ?? "";
    const column = [...table.columns].find(([id]) => times !== "" && id.startsWith(times))?.[1];
    for (let place = 0; place < table.length; place++) {
      const at = column?.kind === "number" ? column.values[place]! : Number.NEGATIVE_INFINITY;
      if (at <= asOf !== available) continue;
      for (const id of ["dep_delay", "wind", "seats"]) {
        const value = table.columns.get(id);
        if (value?.kind === "number") value.values[place] = value.values[place]! * 2 + 1;
      }
    }
  }
};

test("altering rows that were available is found; altering rows that were not changes nothing", async () => {
  expect((await verifyWith({ tamper: alter(true) })).equal).toBe(false);
  // The index of one row holds nothing that was not available at its T, so the rows are altered in the store as well.
  expect((await verifyWith({ tamper: alter(false) })).equal).toBe(true);
  const asOf = DAWN + 20 * HOUR;
  const future = changes.map((change): Change => {
    const { departed, time_hour } = change.row as Record<string, number | undefined>;
    const available = departed ?? (time_hour === undefined ? Number.NEGATIVE_INFINITY : time_hour + 51 * MINUTE);
    return available <= asOf ? change : { ...change, row: { ...change.row, dep_delay: 999, wind: 999 } };
  });
  const [before, after] = await Promise.all([fusedStore(changes, 100), fusedStore(future, 100)]);
  const rowsUpTo = async (store: MemoryStore) => {
    const rows: Row[] = [];
    for await (const stored of store.scan("features/flight_delay", { to: asOf })) rows.push(...rowsOf(stored.batch));
    return rows.sort((a, b) => (JSON.stringify(a) < JSON.stringify(b) ? -1 : 1));
  };
  const kept = await rowsUpTo(before);
  expect(kept.length).toBeGreaterThan(50);
  expect(await rowsUpTo(after)).toEqual(kept);
});

test("a training set has the same bytes each time, whatever the batches, and old cutoffs stay as they were", async () => {
  const store = await fusedStore(changes, 100);
  const set = await exportTrainingSet(store, plan, { cutoff: 8 });
  const again = await exportTrainingSet(await fusedStore(changes, 13), plan, { cutoff: 8 });
  expect(Buffer.compare(again.parquet, set.parquet)).toBe(0);
  expect(again.manifestText).toBe(set.manifestText);
  expect(set.manifest).toMatchObject({
    view: "flight_delay",
    digest: plan.digest,
    cutoff: { commit_no: 8 },
    label: "late",
  });
  expect(set.manifest.labelled).toBeGreaterThan(100);
  expect(set.manifest.labelled).toBeLessThan(set.manifest.rows);
  await commitChanges(store, flights(8));
  expect((await exportTrainingSet(store, plan, { cutoff: 8 })).manifestText).toBe(set.manifestText);
  expect((await exportTrainingSet(store, plan)).manifest.sha256).not.toBe(set.manifest.sha256);
});

test("a training set keeps to its period, in the order of T, and says what its columns are", async () => {
  const store = await fusedStore(changes, 100);
  const period = { from: DAWN + 10 * HOUR, to: DAWN + 20 * HOUR };
  const { manifest } = await exportTrainingSet(store, plan, period);
  expect(manifest).toMatchObject({ from: "2013-01-01T10:00:00Z", to: "2013-01-01T20:00:00Z" });
  expect(manifest.columns.find(({ name }) => name === "delay")).toEqual({
    name: "delay",
    type: "float",
    role: "feature",
  });
  expect(manifest.columns.filter(({ role }) => role === "key").map(({ name }) => name)).toEqual([
    "key_carrier",
    "key_flight",
    "key_scheduled",
  ]);
  const doubles = await exportTrainingSet(store, plan, { ...period, float32: false });
  expect(doubles.manifest.columns.find(({ name }) => name === "delay")!.type).toBe("double");
  expect(exportTrainingSet(store, plan, { from: DAWN + 999 * HOUR })).rejects.toMatchObject({
    code: "views.empty_set",
  });
});

test("explain shows the rows behind each value", async () => {
  const store = await fusedStore(changes, 100);
  const view = await historyView(store, plan, (await store.head()).commitNo);
  const { carrier, flight } = changes.find(({ dataset }) => dataset === "schedule")!.row;
  const { features, windows, joins, spine, asOf } = explainEntity(view, [carrier!, flight!]);
  expect(spine.row).toMatchObject({ carrier, flight });
  const origin = windows.find(({ alias }) => alias === "origin_3h")!;
  expect(features.find(({ name }) => name === "n")!.value).toBe(origin.count);
  const delays = origin.rows.map(({ row }) => Number(row.dep_delay));
  expect(features.find(({ name }) => name === "high")!.value).toBe(Math.max(...delays));
  expect(origin.rows.every(({ eventTime }) => eventTime! > origin.from && eventTime! <= asOf)).toBe(true);
  expect(joins[0]!.used?.row.wind ?? null).toBe(features.find(({ name }) => name === "wind")!.value as number);
  expect(() => explainEntity(view, ["ZZ", 1])).toThrow("has no row of the entity (carrier, flight) = (ZZ, 1)");
});

test("a view with nothing fused has nothing to verify", async () => {
  const store = new MemoryStore(testClock());
  expect(verifyView({ store, plan, random: seededRandom(1) })).rejects.toMatchObject({ code: "views.nothing_fused" });
  expect(VIEW.spine).toBe(plan.spine);
});
