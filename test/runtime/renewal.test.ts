/** Rows that retention takes out of the log while it is folded: what answers comes to equal the log as it is, without a restart. */
import { afterEach, expect, test } from "bun:test";
import type { Row } from "../../src/base/row.ts";
import { rowsOf } from "../../src/contract/batch.ts";
import { CONTROL, curatedStream, featuresStream } from "../../src/contract/streams.ts";
import { applyRows, buildIndex, type LiveIndex, REMOVALS } from "../../src/fusion/index.ts";
import { planView } from "../../src/fusion/plan.ts";
import { fuseRequest } from "../../src/fusion/request.ts";
import { openEngine } from "../../src/runtime/engine.ts";
import { type Following, followPage, followState } from "../../src/runtime/follow.ts";
import { fuseStep } from "../../src/runtime/fuse.ts";
import { serverMetrics } from "../../src/runtime/metrics.ts";
import { indexRenewal } from "../../src/runtime/renewal.ts";
import { indexSaver, openIndex } from "../../src/runtime/saved_index.ts";
import { createServing } from "../../src/runtime/serving.ts";
import type { RetentionPolicy } from "../../src/store/retention_rules.ts";
import { type LogStore, openStore } from "../../src/store/store.ts";
import { createDelivered } from "../bad_input/project.ts";
import { type Change, commitChanges, contracts, DAWN, datasetPlans, endInput, viewConfig } from "../fusion/flights.ts";
import { storeHome } from "../support/store_home.ts";

const plan = planView("flight_delay", viewConfig(), datasetPlans());
const HOUR = 3_600_000_000;
const OLD: RetentionPolicy = { rules: [{ streams: "curated/planes", age: 1.5 * HOUR }] };

const cleanups: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

const plane = (hour: number, i: number): Change => ({
  dataset: "planes",
  row: { tailnum: `N${hour}-${i}`, seats: hour * 100 + i },
});

/** A log of planes, one commit and one segment an hour; plane N0-0 has a version in every one of them. */
async function made() {
  let now = 0;
  const home = storeHome({ clock: { now: () => now } });
  cleanups.push(home.remove);
  const store = await openStore(home.options);
  const hour = async (at: number) => {
    now = at * HOUR;
    const same: Change = { dataset: "planes", row: { tailnum: "N0-0", seats: at } };
    await commitChanges(store, [same, ...Array.from({ length: 30 }, (_, i) => plane(at, i))]);
    await store.compact();
  };
  for (let at = 1; at <= 4; at++) await hour(at);
  const project = { views: new Map([[plan.name, plan]]) };
  const told: string[] = [];
  const log = (message: string) => told.push(message);
  return {
    home,
    store,
    hour,
    engine: { store, project, world: { clock: home.options.clock, random: home.options.random } },
    told,
    log,
  };
}

/** Seats of planes by name, as a request has them. */
function seats(index: LiveIndex): unknown[] {
  const names = ["N0-0", ...[1, 2, 3, 4, 5].flatMap((hour) => [`N${hour}-0`, `N${hour}-29`])];
  const rows = names.map((tailnum): Row => {
    return { carrier: "AA", flight: 1, scheduled: DAWN, origin: null, tailnum, distance: 1, lead: 0 };
  });
  const at = plan.shape.features.findIndex(({ name }) => name === "seats");
  return fuseRequest(plan, index, rows, DAWN).map(({ fused }) => fused.values[at]);
}

const history = async (store: LogStore) => seats(await buildIndex(store, [plan], (await store.head()).commitNo));

test("an index is made anew beside the one that answers, comes to equal the log as it is, and is saved again", async () => {
  const { store, hour, engine, told, log } = await made();
  const opened = await openIndex(engine, 4, log);
  let { index } = opened;
  const state = followState(4);
  const renewal = indexRenewal(engine, index.streams, () => state.position, log);
  const saver = indexSaver(engine, opened, serverMetrics(), log);
  const following: Following = {
    store,
    streams: [...index.streams, ...REMOVALS],
    indexed: (stream) => index.streams.includes(stream),
    apply: (stored, from, to) => applyRows(index, stored, from, to),
    folded: (stored) => REMOVALS.includes(stored.stream) && renewal.heard(stored),
    deploys: () => false,
    deploy: async () => {},
  };
  const before = seats(index);
  expect(before.filter((value) => value !== null)).toHaveLength(9);
  expect((await store.retain(OLD)).dropped).toMatchObject([{ stream: "curated/planes", rows: 62 }]);
  await followPage(following, state);
  expect(await renewal.take(state.position)).toBeUndefined(); // begun
  expect(seats(index)).toEqual(before);
  await hour(5); // while it is made
  let taken: Awaited<ReturnType<typeof renewal.take>>;
  for (let turn = 0; taken === undefined; turn++) {
    expect(turn).toBeLessThan(100_000);
    await new Promise((resolve) => setImmediate(resolve));
    if (turn === 3) await followPage(following, state);
    taken = await renewal.take(state.position);
  }
  index = taken.index;
  saver.renew(taken);
  await followPage(following, state);
  const after = seats(index);
  expect(after).toEqual(await history(store));
  expect(after.filter((value) => value !== null)).toHaveLength(7); // of hours 3, 4 and 5, and the one of all hours
  expect(told.at(-1)).toBe("index made anew");
  expect(await renewal.take(state.position)).toBeUndefined();
  const fold = { name: "test", tag: "t", upTo: state.position };
  expect([
    await store.saveFold(fold, opened.begun, [Uint8Array.of(1)]),
    await store.saveFold(fold, taken.begun, [Uint8Array.of(1)]),
  ]).toEqual([false, true]);
  await renewal.stop();
  await store.close();
});

test("rows that go while it is made: what is half made is given up and made again", async () => {
  const { store, engine, log, hour } = await made();
  const opened = await openIndex(engine, 4, log);
  let position = 4;
  const renewal = indexRenewal(engine, opened.index.streams, () => position, log);
  const hear = async () => {
    for (const { rows } of [await store.tail(position, REMOVALS)]) rows.forEach(renewal.heard);
    position = (await store.head()).commitNo;
  };
  await store.retain(OLD);
  await hear();
  await renewal.take(position);
  await hour(5);
  await store.retain(OLD);
  await hear();
  let taken: Awaited<ReturnType<typeof renewal.take>>;
  for (let turn = 0; turn < 100_000 && !taken; turn++) {
    await new Promise((resolve) => setImmediate(resolve));
    taken = await renewal.take(position);
  }
  expect(seats(taken!.index)).toEqual(await history(store));
  expect(seats(taken!.index).filter((value) => value !== null)).toHaveLength(5);
  await store.retain({ rules: [{ streams: "landing/*", age: 0 }] });
  await hear();
  expect(await renewal.take(position)).toBeUndefined(); // nothing of it is in the index
  await renewal.stop();
  await store.close();
});

test("the increment's index is made anew too: a row that comes later does not see what is gone", async () => {
  const { store, engine, hour } = await made();
  const project = {
    ...engine.project,
    config: { site: "s", sources: {}, lineage: {} },
    contracts: new Map(Object.entries(contracts)),
  };
  const step = fuseStep({ ...engine, project } as never, plan);
  const schedule = (i: number, tailnum: string): Change => ({
    dataset: "schedule",
    row: { carrier: "AA", flight: i, scheduled: DAWN, origin: "JFK", tailnum, distance: 1, lead: 0 },
  });
  const until = async () => {
    while ((await step.turn()) === "progress");
  };
  await endInput(store, "flights", "weather", "planes");
  await commitChanges(store, [schedule(1, "N1-0")]);
  await until();
  await hour(5);
  await until();
  await store.retain(OLD);
  await until();
  await commitChanges(store, [schedule(2, "N1-0"), schedule(3, "N5-0")]);
  await until();
  const found: unknown[] = [];
  for await (const { batch } of store.scan(featuresStream(plan.name))) {
    found.push(...rowsOf(batch).map((row) => [row.key_flight, row.seats]));
  }
  expect(found).toEqual([
    [1, 100],
    [2, null],
    [3, 500],
  ]);
  expect((await store.tail(0, [CONTROL])).rows).toHaveLength(1);
  await store.close();
});

/** A server over three readings; `renewed` once it made its index anew. */
async function servedReadings() {
  const desk = await createDelivered();
  cleanups.push(desk.remove);
  const engine = await openEngine(desk.world, { config: desk.path("mlpe.yaml") }, "write");
  cleanups.push(() => engine.close());
  await engine.store.compact();
  const renewed = Promise.withResolvers<void>();
  const serving = createServing(engine, (message) => message === "index made anew" && renewed.resolve());
  cleanups.push(() => serving.close());
  await serving.start();
  const rows = () => serving.index().tables.get("readings")!.length;
  expect(rows()).toBe(3);
  return { engine, renewed: renewed.promise, rows };
}

test("a server whose readings are retained answers as the log is, without a restart", async () => {
  const { engine, renewed, rows } = await servedReadings();
  const { dropped } = await engine.store.retain({ rules: [{ streams: curatedStream("readings"), age: 0 }] });
  expect(dropped).toHaveLength(1);
  await renewed;
  await new Promise((resolve) => setImmediate(resolve));
  expect(rows()).toBe(0);
}, 30_000);

test("a server whose readings of an entity are erased answers without them, without a restart", async () => {
  const { engine, renewed, rows } = await servedReadings();
  const { erasure } = await engine.store.erase({
    entity: { sensor: "s1" },
    prefixes: ["", "key_"],
    mustBeStored: true,
  });
  expect(erasure.streams.map(({ stream }) => stream)).toContain(curatedStream("readings"));
  await renewed;
  await new Promise((resolve) => setImmediate(resolve));
  expect(rows()).toBe(1); // s2 alone
}, 30_000);
