import { expect, test } from "bun:test";
import fc from "fast-check";
import { verifyLedger } from "../../src/ingestion/ledger.ts";
import type { SourcePlan } from "../../src/ingestion/plan.ts";
import { createIngestState } from "../../src/ingestion/state.ts";
import { type ExtraHook, stepSource } from "../../src/ingestion/step.ts";
import type { CommitRequest, Receipt, Store } from "../../src/store/port.ts";
import { MemoryStore } from "../support/memory_store.ts";
import { pagesConnector, readingsPlan, readingsSource, streamRows, tickingClock } from "./harness.ts";

const clock = tickingClock();
const newStore = () => new MemoryStore(clock);
const AT = "2024-01-01T00:00:0";
const reading = (id: number, value: number | null, second = 1, device = "a") => ({
  id,
  device,
  at: `${AT}${second}Z`,
  value,
});

async function run(store: Store, pages: readonly (readonly unknown[])[], plan = readingsSource(), extra?: ExtraHook) {
  const state = createIngestState();
  const connector = pagesConnector(pages);
  const input = { store, plan, connector, state, clock, ...(extra ? { extra } : {}) };
  while ((await stepSource(input)) !== "end") {}
}

const counts = async (store: Store, plan: SourcePlan = readingsSource()) => {
  const report = await verifyLedger(store, [plan]);
  expect(report.problems).toEqual([]);
  const { received, curated, corrected, duplicate, quarantined, dropped } = report.lines[0]!;
  return { received, curated, corrected, duplicate, quarantined, dropped };
};

test("the same id is new once, then a duplicate or a correction", async () => {
  const store = newStore();
  await run(store, [
    [reading(1, 5), reading(1, 5), reading(2, 5)],
    [reading(1, 5), reading(2, 6)],
  ]);
  expect(await counts(store)).toMatchObject({ received: 5, curated: 2, duplicate: 2, corrected: 1 });
  const rows = await streamRows(store, "curated/readings");
  expect(rows.map(({ id, value, tombstone }) => [id, value, tombstone])).toEqual([
    [1, 5, false],
    [2, 5, false],
    [2, 6, false],
  ]);
});

test("a correction that moves event time or entity withdraws the old place in the same commit", async () => {
  const store = newStore();
  await run(store, [[reading(1, 5, 1, "a")], [reading(1, 5, 2, "a")], [reading(1, 5, 2, "b"), reading(1, 6, 2, "b")]]);
  const rows = await streamRows(store, "curated/readings");
  const micros = (second: number) => Date.parse(`${AT}${second}Z`) * 1000;
  expect(rows.map(({ device, at, tombstone }) => [device, at, tombstone])).toEqual([
    ["a", micros(1), false],
    ["a", micros(1), true],
    ["a", micros(2), false],
    ["a", micros(2), true],
    ["b", micros(2), false],
    ["b", micros(2), false],
  ]);
  expect(await counts(store)).toMatchObject({ curated: 1, corrected: 3 });
  expect(await store.asOf("curated/readings", [{ entity: ["a"], at: micros(9) }])).toEqual([null]);
});

test("record ids of content and of position", async () => {
  for (const [recordId, duplicate] of [
    ["content", 1],
    ["position", 0],
  ] as const) {
    const store = newStore();
    const plan = readingsSource("devices", readingsPlan(recordId));
    await run(store, [[reading(1, 5)], [reading(1, 5), reading(1, 6)]], plan);
    expect(await counts(store, plan)).toMatchObject({ curated: 3 - duplicate, duplicate });
  }
});

/** Ids, values and places out of a small range, so that duplicates, corrections and moves are frequent; some rows bad. */
const anyReading = fc.oneof(
  {
    weight: 9,
    arbitrary: fc.tuple(fc.nat({ max: 3 }), fc.nat({ max: 1 }), fc.nat({ max: 1 }), fc.constantFrom("a", "b")),
  },
  { weight: 1, arbitrary: fc.constant(null) },
);
const anyPages = fc.array(fc.array(anyReading, { maxLength: 5 }), { maxLength: 6 });
type Drawn = readonly (readonly (readonly [number, number, number, string] | null)[])[];
const rowsOfDraw = (pages: Drawn) =>
  pages.map((page) => page.map((row) => (row ? reading(row[0], row[1], row[2], row[3]) : { id: "x" })));

test("killed after any commit and started anew, the streams are those of an undisturbed run", async () => {
  await fc.assert(
    fc.asyncProperty(anyPages, fc.array(fc.boolean(), { maxLength: 8 }), async (draw, kills) => {
      const pages = rowsOfDraw(draw);
      const whole = newStore();
      await run(whole, pages);
      const broken = newStore();
      const plan = readingsSource();
      let state = createIngestState();
      let connector = pagesConnector(pages);
      for (let step = 0; (await stepSource({ store: broken, plan, connector, state, clock })) !== "end"; step++) {
        if (!kills[step]) continue;
        state = createIngestState();
        connector = pagesConnector(pages);
      }
      for (const stream of ["curated/readings", "quarantine/readings", "landing/devices"]) {
        expect(await streamRows(broken, stream)).toEqual(await streamRows(whole, stream));
      }
      expect((await streamRows(broken, "control")).length).toBe(1);
      expect(await counts(broken)).toEqual(await counts(whole));
    }),
    { numRuns: 60 },
  );
});

test("what is curated is the last accepted version of each id, as a plain loop finds it", async () => {
  await fc.assert(
    fc.asyncProperty(anyPages, async (draw) => {
      const pages = rowsOfDraw(draw);
      const store = newStore();
      await run(store, pages);
      const oracle = new Map<unknown, string>();
      const expected = { received: 0, curated: 0, corrected: 0, duplicate: 0, quarantined: 0, dropped: 0 };
      for (const row of pages.flat()) {
        expected.received++;
        const { id, ...content } = row as { id: number };
        const text = JSON.stringify(content);
        if (typeof id === "string") expected.quarantined++;
        else if (!oracle.has(id)) expected.curated++;
        else if (oracle.get(id) === text) expected.duplicate++;
        else expected.corrected++;
        if (typeof id !== "string") oracle.set(id, text);
      }
      const found = new Map<unknown, string>();
      const places = new Map<string, number>();
      for (const { tombstone, id, device, at, value } of await streamRows(store, "curated/readings")) {
        const time = new Date((at as number) / 1000).toISOString().replace(".000", "");
        const place = `${id} ${device} ${time}`;
        if (tombstone) places.delete(place);
        else places.set(place, 1);
        if (!tombstone) found.set(id, JSON.stringify({ device, at: time, value }));
      }
      expect(found).toEqual(oracle as Map<unknown, string>);
      expect(places.size).toBe(oracle.size); // no record stands in two places
      expect(await counts(store)).toEqual(expected);
    }),
    { numRuns: 60 },
  );
});

/** The store, but some commits fail: before they are written, or after. */
function flaky(store: MemoryStore, failures: ("before" | "after" | undefined)[]): Store {
  const commit = async (request: CommitRequest): Promise<Receipt> => {
    const failure = failures.shift();
    if (failure === "before") throw new Error("the disk is full");
    const receipt = await store.commit(request);
    if (failure === "after") throw new Error("the answer was lost");
    return receipt;
  };
  return new Proxy(store, {
    get: (target, name) => (name === "commit" ? commit : Reflect.get(target, name).bind?.(target)),
  });
}

test("a commit that fails, or whose answer is lost, neither loses nor repeats a row", async () => {
  for (const failure of ["before", "after"] as const) {
    const memory = newStore();
    const store = flaky(memory, [undefined, failure, undefined, failure]);
    const plan = readingsSource();
    const state = createIngestState();
    const connector = pagesConnector([[reading(1, 1)], [reading(2, 1), reading(1, 1)], [reading(2, 2)]]);
    let failed = 0;
    for (;;) {
      const step = await stepSource({ store, plan, connector, state, clock }).catch(() => "failed");
      if (step === "failed") failed++;
      if (step === "end") break;
    }
    expect(failed).toBe(2);
    expect(await counts(memory)).toMatchObject({ received: 4, curated: 2, corrected: 1, duplicate: 1 });
    expect((await streamRows(memory, "control")).length).toBe(1);
  }
});

test("another writer on the same source is noticed", async () => {
  const store = newStore();
  const plan = readingsSource();
  const state = createIngestState();
  const connector = pagesConnector([[reading(1, 1)], [reading(2, 1)], [reading(3, 1)]]);
  await stepSource({ store, plan, connector, state, clock });
  await store.commit({ appends: [], cursors: { devices: "2" } });
  const input = { store, plan, connector, state, clock };
  await expect(stepSource(input)).rejects.toMatchObject({ code: "store.stale_writer" });
  expect(await stepSource(input)).toBe("progress"); // opened anew, after the other one's page
  expect((await streamRows(store, "curated/readings")).map((row) => row.id)).toEqual([1, 3]);
});

test("a cursor that an erasure committed is found where it was said that there may be one, and only then opened", async () => {
  const store = newStore();
  const plan = readingsSource();
  const state = createIngestState();
  const opened: string[] = [];
  const pages = pagesConnector([[reading(1, 1)], [reading(2, 1)], [reading(3, 1)]]);
  const connector = {
    ...pages,
    open(cursor: string) {
      opened.push(cursor);
      return pages.open(cursor);
    },
  };
  const input = { store, plan, connector, state, clock };
  await stepSource(input);
  const cursor = await store.cursor("devices");
  const source = () => state.sources.get("devices")!;
  source().mayHaveMoved = true;
  expect(await stepSource(input)).toBe("progress"); // it had not
  expect(await store.cursor("devices")).not.toBe(cursor);
  await store.commit({ appends: [], cursors: { devices: cursor } });
  source().mayHaveMoved = true;
  expect(await stepSource(input)).toBe("progress"); // no stale writer: opened from there
  expect(opened).toEqual(["", cursor]);
  while ((await stepSource(input)) === "progress") {}
  source().mayHaveMoved = true;
  await store.commit({ appends: [], cursors: { devices: "other" } });
  expect(await stepSource(input)).toBe("end"); // what ended is not opened: its file may be gone
  expect(opened.length).toBe(2);
});

test("a blocked dataset's rows go to quarantine with the check's message, duplicates stay duplicates", async () => {
  const store = newStore();
  let pages = 0;
  const seen: unknown[] = [];
  await run(
    store,
    [[reading(1, 1)], [reading(1, 1), reading(2, 2), reading(2, 2)], [reading(2, 2)]],
    readingsSource(),
    (result, phase) => {
      if (phase === "judge") pages++;
      seen.push([phase, result?.routes[0]?.accepted, result?.routes[0]?.rows.length]);
      return phase === "judge" && pages === 2
        ? { appends: [], blocked: new Map([["readings", "too few rows"]]) }
        : { appends: [] };
    },
  );
  expect(await counts(store)).toEqual({
    received: 5,
    curated: 2,
    corrected: 0,
    duplicate: 1,
    quarantined: 2,
    dropped: 0,
  });
  const rows = await streamRows(store, "quarantine/readings");
  expect(
    rows.map(({ code, rule, message, index, landing_sequence }) => [code, rule, message, index, landing_sequence]),
  ).toEqual([
    ["ingestion.blocked", "check", "too few rows", 1, 1],
    ["ingestion.blocked", "check", "too few rows", 2, 1],
  ]);
  expect(seen).toEqual([
    ["judge", 1, 1],
    ["commit", 1, 1],
    ["judge", 1, 1],
    ["commit", 0, 0],
    ["judge", 1, 1],
    ["commit", 1, 1],
    ["end", undefined, undefined],
  ]);
});

test("two sources of one dataset know each other's records, even stepped at once", async () => {
  const store = newStore();
  const dataset = readingsPlan();
  const state = createIngestState();
  const plans = [readingsSource("devices", dataset), readingsSource("backfill", dataset)];
  const pages = Array.from({ length: 20 }, (_, page) => Array.from({ length: 5 }, (_, i) => reading(page * 5 + i, 1)));
  await Promise.all(
    plans.map(async (plan) => {
      const connector = pagesConnector(pages);
      while ((await stepSource({ store, plan, connector, state, clock })) !== "end") {}
    }),
  );
  const report = await verifyLedger(store, plans);
  expect(report.ok).toBe(true);
  expect(report.lines.reduce((sum, line) => sum + line.curated, 0)).toBe(100);
  expect(report.lines.reduce((sum, line) => sum + line.duplicate, 0)).toBe(100);
});

test("the ledger's proof notices a row too many and a sum that is wrong", async () => {
  const store = newStore();
  await run(store, [[reading(1, 1)]]);
  const [curated] = await collect(store, "curated/readings");
  await store.commit({ appends: [{ stream: "curated/readings", batch: curated!.batch }] });
  const report = await verifyLedger(store, [readingsSource()]);
  expect(report.ok).toBe(false);
  expect(report.problems).toEqual(["curated/readings holds 2 rows, the ledger says 1"]);
});

async function collect(store: Store, stream: string) {
  const found = [];
  for await (const stored of store.scan(stream)) found.push(stored);
  return found;
}

test("a source's `ack` is the durability of its pages, and only of its own", async () => {
  for (const [ack, durability] of [
    [undefined, "power-loss"],
    ["power-loss", "power-loss"],
    ["process", "process"],
  ] as const) {
    const requests: CommitRequest[] = [];
    const store = newStore();
    const commit = store.commit.bind(store);
    store.commit = (request) => {
      requests.push(request);
      return commit(request);
    };
    const plan = readingsSource();
    await run(store, [[reading(1, 5)], [reading(2, 5)]], { ...plan, config: { ...plan.config, ...(ack && { ack }) } });
    expect(requests.map((request) => request.durability)).toEqual([durability, durability, undefined]);
  }
});
