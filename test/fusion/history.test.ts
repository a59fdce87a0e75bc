import { expect, test } from "bun:test";
import fc from "fast-check";
import { seededRandom } from "../../src/base/random.ts";
import type { Row } from "../../src/base/row.ts";
import { spineOf } from "../../src/fusion/evaluate.ts";
import { featureRecord, fusePlace } from "../../src/fusion/feature_rows.ts";
import { cutoffOf, historyPlaces, historyView } from "../../src/fusion/history.ts";
import { boundView, buildIndex } from "../../src/fusion/index.ts";
import { labelOf } from "../../src/fusion/label.ts";
import { planView } from "../../src/fusion/plan.ts";
import { findSpine, fuseEntities, fuseRequest, outcomesKnown } from "../../src/fusion/request.ts";
import { MemoryStore } from "../support/memory_store.ts";
import {
  type Change,
  commitChanges,
  DAWN,
  datasetPlans,
  HOUR,
  MINUTE,
  testClock,
  VIEW,
  viewConfig,
} from "./flights.ts";
import { asOfOf, changeGroups, comparable, latest, oracleFeatures, oracleRows } from "./oracle.ts";

const plan = planView("flight_delay", viewConfig(), datasetPlans());

async function storeOf(commits: readonly (readonly Change[])[]) {
  const store = new MemoryStore(testClock());
  for (const changes of commits) await commitChanges(store, changes);
  return store;
}

test("history at every cutoff is what the oracle says of the changes known by then", async () => {
  await fc.assert(
    fc.asyncProperty(changeGroups, fc.nat(), async (groups, pick) => {
      const store = await storeOf(groups);
      const upTo = pick % (groups.length + 1);
      const view = await historyView(store, plan, upTo);
      const rows = new Map(
        Array.from(historyPlaces(view), (place) => {
          const { position: _, ...row } = featureRecord(plan, fusePlace(view, place), 0);
          return [JSON.stringify([row.key_carrier, row.key_flight, row.key_scheduled]), row];
        }),
      );
      expect(comparable(rows)).toEqual(comparable(oracleRows(groups.slice(0, upTo).flat())));
    }),
    { numRuns: 150 },
  );
});

test("a request at any T gives the bits of the oracle, by row and by entity, and labels are the latest outcome", async () => {
  await fc.assert(
    fc.asyncProperty(changeGroups, fc.integer({ min: 0, max: 50 }), async (groups, quarter) => {
      const changes = groups.flat();
      const at = DAWN + quarter * 15 * MINUTE;
      const index = await buildIndex(await storeOf(groups), [plan], groups.length);
      const view = boundView(index, plan);
      for (const row of latest(changes, "schedule")) {
        const { time_weather, time_plane: _, ...features } = oracleFeatures(changes, row, at);
        const [answer] = fuseRequest(plan, index, [row], at);
        const values = Object.fromEntries(plan.shape.features.map(({ name }, i) => [name, answer!.fused.values[i]!]));
        expect(comparable(new Map([["", values]]))).toEqual(comparable(new Map([["", features]])));
        expect(answer!.fused.inputs[0]!).toBe(time_weather as number);
        const departed = latest(changes, "departures").find((other) =>
          ["carrier", "flight", "scheduled"].every((name) => other[name] === row[name]),
        );
        const delay = departed?.dep_delay ?? null;
        expect(labelOf(view, spineOf(view, row))?.value ?? null).toBe(
          delay === null ? null : Number(Number(delay) > 15),
        );
        expect(outcomesKnown(plan, index, [row], at)).toEqual([delay !== null]);
        const shown = latestOf(changes, row, at);
        const known = shown !== undefined && labelOf(view, spineOf(view, shown)) !== null;
        expect(outcomesKnown(plan, index, [[row.carrier!, row.flight!]], at)).toEqual([known]);
        const stored = fuseEntities(plan, index, [[row.carrier!, row.flight!]], at)[0];
        const expected = latestOf(changes, row, at);
        if (expected) expect(stored!.fused).toEqual(fuseRequest(plan, index, [expected], at)[0]!.fused);
        else expect(stored).toBeUndefined();
      }
    }),
    { numRuns: 100 },
  );
});

test("an entity whose rows were all withdrawn, or lost their T, is not found any more", async () => {
  const leaving = (scheduled: number, lead: number | null, withdrawn = false): Change[] => [
    { dataset: "schedule", row: { ...row, scheduled, lead }, withdrawn },
  ];
  const groups = [
    leaving(DAWN + HOUR, 30),
    leaving(DAWN + 2 * HOUR, 30),
    leaving(DAWN + HOUR, null),
    leaving(DAWN + 2 * HOUR, 30, true),
  ];
  const index = await buildIndex(await storeOf(groups), [plan], groups.length);
  expect(fuseEntities(plan, index, [[row.carrier!, row.flight!]], DAWN)).toEqual([undefined]);
});

/** Of the spine rows of one entity, the latest whose T has come, or else the first that will. */
function latestOf(changes: readonly Change[], { carrier, flight }: Row, now: number): Row | undefined {
  const rows = latest(changes, "schedule")
    .filter((other) => other.carrier === carrier && other.flight === flight && asOfOf(other) !== null)
    .sort((a, b) => asOfOf(a)! - asOfOf(b)! || Number(a.scheduled) - Number(b.scheduled));
  return rows.filter((other) => asOfOf(other)! <= now).at(-1) ?? rows[0];
}

const row: Row = {
  carrier: "AA",
  flight: 1,
  scheduled: DAWN + 10 * HOUR,
  origin: "EWR",
  tailnum: "N1",
  distance: 1,
  lead: 60,
};
const at = DAWN + 9 * HOUR;

async function answerOf(changes: readonly Change[], view: object = VIEW, available?: string): Promise<Row> {
  const own = planView("flight_delay", viewConfig(view), datasetPlans(available));
  const index = await buildIndex(await storeOf([changes]), [own], 1);
  const [answer] = fuseRequest(own, index, [row], at);
  return featureRecord(own, answer!, 0);
}

const weather = (time: number, wind: number): Change => ({
  dataset: "weather",
  row: { origin: "EWR", time_hour: time, wind },
});
const departure = (departed: number, dep_delay: number, others: Row = {}): Change => ({
  dataset: "departures",
  row: { carrier: "UA", flight: 7, scheduled: departed, departed, origin: "EWR", dep_delay, ...others },
});

test("both ends of a join's max_age are inclusive", async () => {
  expect(await answerOf([weather(at - 3 * HOUR, 5)])).toMatchObject({ wind: 5, weather_age: 3 });
  expect(await answerOf([weather(at - 3 * HOUR - 1, 5)])).toMatchObject({ wind: null, weather_age: null });
  expect(await answerOf([weather(at, 5)], VIEW, "time_hour")).toMatchObject({ wind: 5, weather_age: 0 });
  expect(await answerOf([weather(at + 1, 5)], VIEW, "time_hour")).toMatchObject({ wind: null });
});

test("a row that was not available yet is passed over for an older one that was", async () => {
  const rows = [weather(at - 51 * MINUTE + 1, 9), weather(at - 2 * HOUR, 5)];
  expect(await answerOf(rows)).toMatchObject({ wind: 5, time_weather: at - 2 * HOUR });
  expect(await answerOf([weather(at - 51 * MINUTE, 9), rows[1]!])).toMatchObject({ wind: 9 });
});

test("a window is open at its start and closed at T", async () => {
  expect(await answerOf([departure(at - 3 * HOUR, 5)])).toMatchObject({ n: 0, delay: null, total: null });
  expect(await answerOf([departure(at - 3 * HOUR + 1, 5), departure(at, 7)])).toMatchObject({ n: 2, delay: 6 });
  expect(await answerOf([departure(at + 1, 5)])).toMatchObject({ n: 0 });
});

test("exclude_current leaves out the spine row's own entity, and no other", async () => {
  const own = departure(at - MINUTE, 40, { carrier: "AA", flight: 1, scheduled: DAWN + 10 * HOUR });
  const other = departure(at - MINUTE, 20, { carrier: "AA", flight: 2 });
  expect(await answerOf([own, other])).toMatchObject({ carrier_n: 1, carrier_delay: 20, n: 2 });
});

test("after the weather has ended, rows are null and are fused all the same", async () => {
  expect(await answerOf([weather(DAWN - 24 * HOUR, 5)])).toMatchObject({ wind: null, time_weather: null, n: 0 });
});

test("sums are compensated: what cancels leaves the rest, in any order of arrival", async () => {
  const values = [1e16, 1, -1e16, 1e-3, 3];
  const rows = values.map((value, i) => departure(at - (i + 1) * MINUTE, value));
  for (let seed = 0; seed < 6; seed++) {
    const random = seededRandom(seed);
    const shuffled = [...rows].sort(() => random.next() - 0.5);
    expect(await answerOf(shuffled)).toMatchObject({ total: 8.002, delay: 4.001 / 5 });
  }
});

test("an unknown entity has no row, and one with several rows means the latest T that has come", async () => {
  const days = [8, 12, 20].map((hour) => ({ ...row, scheduled: DAWN + hour * HOUR }));
  const view = await historyView(
    await storeOf([days.map((day) => ({ dataset: "schedule" as const, row: day }))]),
    plan,
    1,
  );
  expect(findSpine(view, ["AA", 9], at)).toBeUndefined();
  expect(findSpine(view, ["AA", null], at)).toBeUndefined();
  expect(findSpine(view, ["AA", 1], DAWN)).toBe(0);
  expect(findSpine(view, ["AA", 1], DAWN + 11 * HOUR)).toBe(1);
  expect(findSpine(view, ["AA", 1], DAWN + 11 * HOUR - 1)).toBe(0);
});

test("a cutoff is the last commit known by then; before the first it is an error that names the earliest", async () => {
  const clock = testClock();
  const store = new MemoryStore(clock);
  expect(cutoffOf(store, DAWN)).rejects.toMatchObject({ code: "fusion.before_first_commit" });
  clock.at = DAWN + HOUR;
  await commitChanges(store, [weather(at, 1)]);
  await commitChanges(store, [weather(at, 2)]);
  expect(await cutoffOf(store)).toBe(2);
  expect(await cutoffOf(store, DAWN + HOUR)).toBe(1);
  expect(cutoffOf(store, DAWN)).rejects.toThrow("2013-01-01T01:00:00Z");
});
