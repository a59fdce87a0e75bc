/** Features that retention dropped while their spine rows stay: a restart fuses what is new or changed, and nothing else again. */
import { afterEach, expect, test } from "bun:test";
import { columnNamed, valueAt } from "../../src/contract/batch.ts";
import { featuresStream } from "../../src/contract/streams.ts";
import { planView } from "../../src/fusion/plan.ts";
import { fuseReader, resumeFuser, stepFuse } from "../../src/fusion/step.ts";
import type { ViewPlan } from "../../src/fusion/types.ts";
import type { Feed } from "../../src/fusion/watermark.ts";
import { type LogStore, openStore } from "../../src/store/store.ts";
import { storeHome } from "../support/store_home.ts";
import {
  type Change,
  commitChanges,
  DAWN,
  datasetPlans,
  endInput,
  finiteFeeds,
  MINUTE,
  testClock,
  VIEW,
  viewConfig,
} from "./flights.ts";

const plan = planView("flight_delay", viewConfig(), datasetPlans());
const other = planView(
  "flight_delay",
  viewConfig({ ...VIEW, features: { ...VIEW.features, far: "distance > 1" } }),
  datasetPlans(),
);
const FEATURES = featuresStream("flight_delay");
/** Flights go on for ever, and may come half an hour late. */
const feeds: readonly Feed[] = finiteFeeds.map((feed) =>
  feed.name === "flights" ? { ...feed, finite: false, lateness: 30 * MINUTE, idleAfter: 1e15 } : feed,
);
const punctual = feeds.map((feed) => ({ ...feed, lateness: 0 }));

const cleanups: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

const scheduled = (i: number) => DAWN + i * 10 * MINUTE;
const spine = (i: number): Change => ({
  dataset: "schedule",
  row: { carrier: "AA", flight: i, scheduled: scheduled(i), origin: "JFK", tailnum: null, distance: 1, lead: 0 },
});
const departure = (i: number, departed: number): Change => ({
  dataset: "departures",
  row: { carrier: "AA", flight: i, scheduled: scheduled(i), departed, origin: "JFK", dep_delay: 1 },
});

/** Starts anew, fuses what there is to fuse, and gives the flights of the rows that this wrote, in order. */
async function restarted(store: LogStore, by: readonly Feed[] = feeds, view: ViewPlan = plan): Promise<unknown[]> {
  const fuser = await resumeFuser(store, view, by);
  const before = (await store.head()).commitNo;
  while ((await stepFuse({ store, fuser, clock: testClock(), rowsPerCommit: 4 })) === "progress");
  const flights: number[] = [];
  for await (const { batch } of store.scan(FEATURES, { after: before })) {
    const column = columnNamed(batch, "key_flight");
    for (let i = 0; i < batch.length; i++) flights.push(valueAt(column, "int", i) as number);
  }
  return flights.sort((a, b) => a - b);
}

const upTo = (count: number) => Array.from({ length: count }, (_, i) => i);

/** Thirteen flights, ten minutes apart, of which nine are fused, and their features dropped. */
async function dropped(): Promise<LogStore> {
  const home = storeHome();
  cleanups.push(home.remove);
  const store = await openStore(home.options);
  cleanups.push(() => store.close());
  await commitChanges(store, [...upTo(13).map(spine), departure(12, scheduled(12))]);
  await endInput(store, "weather", "planes");
  expect(await restarted(store)).toEqual(upTo(9)); // up to half an hour before the newest
  await store.compact();
  const outcome = await store.retain({ rules: [{ streams: "features/*", age: 0 }], readers: {} });
  expect(outcome.dropped).toMatchObject([{ stream: FEATURES, rows: 9 }]);
  return store;
}

test("nothing is fused again, what waited goes on waiting, and what comes is fused", async () => {
  const store = await dropped();
  expect(await restarted(store)).toEqual([]);
  await commitChanges(store, [spine(15), departure(15, scheduled(15))]);
  expect(await restarted(store)).toEqual([9, 10, 11]);
  expect(await restarted(store)).toEqual([]);
});

test("a late row changes features that were dropped: they are computed anew, and then known", async () => {
  const store = await dropped();
  await commitChanges(store, [departure(4, scheduled(7) - MINUTE)]);
  expect(await restarted(store)).toEqual([7, 8]); // those whose window it falls into
  expect(await restarted(store)).toEqual([]);
});

test("what waited by the sources as they were is not lost when the config says that they are never late", async () => {
  const store = await dropped();
  expect(await restarted(store, punctual)).toEqual([9, 10, 11]);
});

test("another view fuses everything, and so does taking the change back", async () => {
  const store = await dropped();
  expect(await restarted(store, feeds, other)).toEqual(upTo(9));
  expect(await restarted(store, feeds, other)).toEqual([]);
  expect(await restarted(store)).toEqual(upTo(9));
});

test("a store that does not say yet what is fused fuses it once more, and then says it", async () => {
  const store = await dropped();
  await store.commit({ appends: [], cursors: { [fuseReader("flight_delay")]: "" } });
  expect(await restarted(store)).toEqual(upTo(9));
  await store.compact();
  await store.retain({ rules: [{ streams: "features/*", age: 0 }], readers: {} });
  expect(await restarted(store)).toEqual([]);
});
