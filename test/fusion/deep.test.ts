import { expect, test } from "bun:test";
import fc from "fast-check";
import { watermarks } from "../../src/fusion/increment.ts";
import { planView } from "../../src/fusion/plan.ts";
import { resumeFuser, stepFuse } from "../../src/fusion/step.ts";
import type { Feed } from "../../src/fusion/watermark.ts";
import { MemoryStore } from "../support/memory_store.ts";
import {
  type Change,
  commitChanges,
  DAWN,
  datasetPlans,
  endInput,
  endlessFeeds,
  finiteFeeds,
  HOUR,
  MINUTE,
  testClock,
  VIEW,
  viewConfig,
} from "./flights.ts";
import { changeGroups, comparable, oracleRows, storedRows } from "./oracle.ts";

const plan = planView("flight_delay", viewConfig(), datasetPlans());

/** How one run differs from another: none of it may show in the result. */
const manner = fc.record({
  groupsPerCommit: fc.integer({ min: 1, max: 5 }),
  rowsPerCommit: fc.integer({ min: 1, max: 7 }),
  rowsPerPage: fc.integer({ min: 1, max: 40 }),
  stepsBetween: fc.integer({ min: 0, max: 4 }),
  restarts: fc.array(fc.integer({ min: 0, max: 3 }), { maxLength: 60, size: "max" }),
  endAfter: fc.integer({ min: 0, max: 60 }),
});

type Manner = typeof manner extends fc.Arbitrary<infer Value> ? Value : never;

async function run(groups: readonly Change[][], how: Manner, feeds: readonly Feed[]) {
  const clock = testClock();
  const store = new MemoryStore(clock);
  let fuser = await resumeFuser(store, plan, feeds);
  const restarts = [...how.restarts];
  const step = async () => {
    if (restarts.pop() === 0) fuser = await resumeFuser(store, plan, feeds);
    return stepFuse({ store, fuser, clock, rowsPerCommit: how.rowsPerCommit, rowsPerPage: how.rowsPerPage });
  };
  let ended = false;
  const end = async () => {
    if (!ended) await endInput(store, "flights", "weather", "planes");
    ended = true;
  };
  for (let i = 0; i < groups.length; i += how.groupsPerCommit) {
    if (i >= how.endAfter) await end();
    await commitChanges(store, groups.slice(i, i + how.groupsPerCommit).flat());
    for (let s = 0; s < how.stepsBetween; s++) await step();
  }
  await end();
  while ((await step()) === "progress");
  return { store, fuser };
}

test("whatever the batches, the restarts and the lateness, increments end at what the oracle says", async () => {
  await fc.assert(
    fc.asyncProperty(changeGroups, manner, async (groups, how) => {
      const { store } = await run(groups, how, finiteFeeds);
      expect(comparable(await storedRows(store))).toEqual(comparable(oracleRows(groups.flat())));
    }),
    { numRuns: 1500 },
  );
});

test("with endless sources, rows that are fused are right, and rows that wait are not passed yet", async () => {
  await fc.assert(
    fc.asyncProperty(changeGroups, manner, async (groups, how) => {
      const { store, fuser } = await run(groups, how, endlessFeeds);
      const stored = await storedRows(store);
      const oracle = oracleRows(groups.flat());
      const mark = Math.min(...watermarks(fuser).values());
      for (const [id, row] of oracle) {
        if (stored.has(id))
          expect(comparable(new Map([[id, stored.get(id)!]]))).toEqual(comparable(new Map([[id, row]])));
        else expect(Number(row.as_of)).toBeGreaterThanOrEqual(mark);
      }
      for (const id of stored.keys()) expect(oracle.has(id)).toBe(true);
    }),
    { numRuns: 1500 },
  );
});

const flight = {
  carrier: "AA",
  flight: 1,
  scheduled: DAWN + 10 * HOUR,
  origin: "EWR",
  tailnum: "N1",
  distance: 1,
  lead: 60,
};
const spine: Change = { dataset: "schedule", row: flight };

async function world(feeds: readonly Feed[], view: object = VIEW) {
  const clock = testClock();
  const store = new MemoryStore(clock);
  const own = planView("flight_delay", viewConfig(view), datasetPlans());
  const fuser = await resumeFuser(store, own, feeds);
  const drainAll = async () => {
    while ((await stepFuse({ store, fuser, clock })) === "progress");
    return [...(await storedRows(store)).values()];
  };
  return { clock, store, fuser, drainAll };
}

test("a finite source holds its rows back until its end of input", async () => {
  const { store, drainAll } = await world(finiteFeeds);
  await commitChanges(store, [spine]);
  expect(await drainAll()).toEqual([]);
  await endInput(store, "flights", "weather");
  expect(await drainAll()).toEqual([]); // planes are static, and their file may still bring the plane
  await endInput(store, "planes");
  expect(await drainAll()).toHaveLength(1);
});

test("an idle endless source is declared idle in the log, and then holds nothing that has passed", async () => {
  const { clock, store, drainAll } = await world(endlessFeeds);
  await commitChanges(store, [spine]);
  await endInput(store, "planes");
  expect(await drainAll()).toEqual([]);
  clock.at = DAWN + 9 * HOUR - MINUTE; // silent for long, but T is still to come
  expect(await drainAll()).toEqual([]);
  clock.at = DAWN + 9 * HOUR + MINUTE;
  expect(await drainAll()).toHaveLength(1);
  const kinds: unknown[] = [];
  for await (const stored of store.scan("control")) kinds.push(...Array.from(stored.sequences));
  expect(kinds).toHaveLength(3); // planes' end, and flights and weather idle: once each
  expect(await drainAll()).toHaveLength(1);
  expect((await store.head()).commitNo).toBeLessThan(8); // being idle writes nothing
});

test("max_wait fuses with what is known, and a late row corrects it", async () => {
  const { clock, store, drainAll } = await world(finiteFeeds, { ...VIEW, max_wait: "5m" });
  await commitChanges(store, [spine]);
  clock.at = DAWN + 4 * MINUTE;
  expect(await drainAll()).toEqual([]);
  clock.at = DAWN + 5 * MINUTE + 1;
  expect((await drainAll())[0]).toMatchObject({ wind: null, n: 0 });
  await commitChanges(store, [{ dataset: "weather", row: { origin: "EWR", time_hour: DAWN + 8 * HOUR, wind: 7 } }]);
  expect((await drainAll())[0]).toMatchObject({ wind: 7, time_weather: DAWN + 8 * HOUR });
});

test("fusing commits feature rows, the reader's position and the extra rows together, and counts late rows", async () => {
  const { clock, store, fuser } = await world(finiteFeeds);
  await commitChanges(store, [spine]);
  await endInput(store, "flights", "weather", "planes");
  await commitChanges(store, [{ dataset: "planes", row: { tailnum: "N1", seats: 4 } }]);
  const departed = { carrier: "AA", flight: 2, scheduled: DAWN, departed: DAWN, origin: "EWR", dep_delay: 1 };
  await commitChanges(store, [{ dataset: "departures", row: departed }]);
  const results: unknown[] = [];
  await stepFuse({
    store,
    fuser,
    clock,
    extra: ({ batch, late, position, from }) => {
      results.push({ rows: batch.length, late, position, from });
      return [];
    },
  });
  expect(results).toEqual([{ rows: 1, late: 1, position: 4, from: 0 }]);
  expect(await store.position("fuse/flight_delay")).toBe(4);
});

test("two fusers of one view can't both write", async () => {
  const { clock, store, fuser } = await world(finiteFeeds);
  await commitChanges(store, [spine]);
  const other = await resumeFuser(store, plan, finiteFeeds);
  await stepFuse({ store, fuser, clock });
  expect(stepFuse({ store, fuser: other, clock })).rejects.toMatchObject({ code: "store.stale_writer" });
});
