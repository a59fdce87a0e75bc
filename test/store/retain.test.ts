import { afterEach, expect, test } from "bun:test";
import { readdirSync, statSync, truncateSync } from "node:fs";
import { join } from "node:path";
import { verifyAudit } from "../../src/audit/verify.ts";
import { seededRandom } from "../../src/base/random.ts";
import { batchOf, rowsOf } from "../../src/contract/batch.ts";
import { exportStream } from "../../src/store/export.ts";
import { storedRows } from "../../src/store/port.ts";
import { query } from "../../src/store/query.ts";
import { mergedMost, ruleMatches } from "../../src/store/retention_rules.ts";
import { readSegmentInfos } from "../../src/store/segment_info.ts";
import { type LogStore, openStore } from "../../src/store/store.ts";
import { plainContract } from "../support/rows.ts";
import { type StoreHome, storeHome } from "../support/store_home.ts";

/* A log whose clock the test moves: one commit and one segment an hour, in three streams. */
const HOUR = 3_600_000_000;
const homes: StoreHome[] = [];
afterEach(() => {
  for (const { remove } of homes.splice(0)) remove();
});

const STREAMS = ["landing/a", "landing/b", "control", "curated/c"];

const plainBytes = (row: number): Uint8Array => new Uint8Array(300).fill(row);
/** That no compression makes small. */
const noise = seededRandom(5);
const noiseBytes = () => noise.bytes(300);

async function filled(
  hours = 6,
  bytesOf = plainBytes,
): Promise<{ home: StoreHome; store: LogStore; clock: { now: () => number } }> {
  let now = 0;
  const clock = { now: () => now };
  const home = storeHome({ clock });
  homes.push(home);
  const store = await openStore(home.options);
  for (let hour = 1; hour <= hours; hour++) {
    now = hour * HOUR;
    const rows = Array.from({ length: 20 }, (_, i) => ({
      kind: `k${hour}`,
      body: bytesOf(i),
      at: hour,
    }));
    const tombstones = Uint8Array.from(rows, (_, i) => (i === 7 ? 1 : 0));
    await store.commit({
      appends: STREAMS.map((stream) => ({ stream, batch: batchOf(plainContract, rows), tombstones })),
      readers: { slow: Math.max(0, hour - 3), quick: hour },
    });
    await store.compact();
  }
  return { home, store, clock };
}

async function hoursIn(store: LogStore, stream: string): Promise<number[]> {
  const hours = new Set<number>();
  for await (const { batch } of store.scan(stream)) for (const { at } of rowsOf(batch)) hours.add(at as number);
  return [...hours].sort();
}

test("by age: whole segments go, oldest first, and the rest is what it was", async () => {
  const { home, store } = await filled();
  const before = readdirSync(join(home.options.directory, "segments"));
  const outcome = await store.retain({ rules: [{ streams: "landing/*", age: 3.5 * HOUR }] });
  expect(outcome.dropped).toMatchObject([
    {
      stream: "landing/a",
      firstSequence: 40,
      rows: 40,
      tombstones: 2,
      erased: 0,
      files: 2,
      lastCommit: 2,
      reason: "age",
    },
    { stream: "landing/b", firstSequence: 40, rows: 40 },
  ]);
  expect(outcome.held).toEqual([]);
  const look = async (log: LogStore) => {
    expect(await hoursIn(log, "landing/a")).toEqual([3, 4, 5, 6]);
    expect(await hoursIn(log, "curated/c")).toEqual([1, 2, 3, 4, 5, 6]);
    const info = (await log.streams()).find(({ stream }) => stream === "landing/a")!;
    expect(info).toMatchObject({ rows: 120, firstSequence: 40, lastCommit: 6 });
    expect(storedRows(info)).toBe(80);
    const page = await log.tail(0, ["landing/a"], 30);
    expect(page.rows.flatMap(({ sequences }) => [...sequences])[0]).toBe(40);
    expect(verifyAudit(log)).toMatchObject({ verified: true, problems: [], rows: 8 * 20 + 2 * 120 + 2 });
  };
  await look(store);
  expect((await store.retain({ rules: [{ streams: "landing/*", age: 3.5 * HOUR }] })).dropped).toEqual([]);
  await store.close();
  const again = await openStore(home.options);
  const files = readdirSync(join(home.options.directory, "segments"));
  expect(before.filter((file) => !files.includes(file))).toHaveLength(4);
  await look(again);
  const rows = [{ kind: "k7", body: null, at: 7 }];
  const receipt = await again.commit({ appends: [{ stream: "landing/a", batch: batchOf(plainContract, rows) }] });
  expect(receipt.firstSequence).toEqual({ "landing/a": 120 });
  await again.compact();
  expect(await hoursIn(again, "landing/a")).toEqual([3, 4, 5, 6, 7]);
  expect(verifyAudit(again).problems).toEqual([]);
  await again.close();
});

test("only the readers that the policy names hold rows back, and only of streams that they read", async () => {
  const { store } = await filled();
  const rules = [{ streams: "landing/*", age: HOUR / 2 }];
  const outcome = await store.retain({ rules, readers: { slow: ["landing/b"], quick: ["landing/a"], never: ["x"] } });
  expect(outcome.held).toMatchObject([{ stream: "landing/b", reader: "slow", position: 3 }]);
  expect(await hoursIn(store, "landing/a")).toEqual([6]);
  expect(await hoursIn(store, "landing/b")).toEqual([4, 5, 6]);
  const host = await store.retain({ rules: [{ streams: "*" }], hostBytes: 1, readers: { slow: ["landing/b"] } });
  expect(host.dropped.map(({ stream }) => stream)).toContain("curated/c");
  expect(await hoursIn(store, "landing/b")).toEqual([4, 5, 6]);
  await store.close();
});

test("what a reader has not folded stays, and the outcome says so", async () => {
  const { store } = await filled();
  const outcome = await store.retain({ rules: [{ streams: "landing/a", age: HOUR / 2 }] });
  expect(outcome.dropped).toMatchObject([{ stream: "landing/a", firstSequence: 60 }]);
  expect(outcome.held).toMatchObject([{ stream: "landing/a", reader: "slow", position: 3 }]);
  expect(outcome.held[0]!.bytes).toBeGreaterThan(0);
  expect(await hoursIn(store, "landing/a")).toEqual([4, 5, 6]);
  await store.close();
});

test("a damaged segment and what follows it stay, and the outcome says so; other streams lose what is due", async () => {
  const { home, store } = await filled();
  const [, second] = store.reader.snapshot().segments.filter(({ stream }) => stream === "landing/a");
  truncateSync(join(home.options.directory, "segments", second!.file), 10);
  const outcome = await store.retain({ rules: [{ streams: "landing/*", age: 3.5 * HOUR }] });
  expect(outcome.dropped).toMatchObject([
    { stream: "landing/a", firstSequence: 20, rows: 20, tombstones: 1, files: 1 },
    { stream: "landing/b", firstSequence: 40, rows: 40, tombstones: 2, files: 2 },
  ]);
  expect(outcome.damaged).toEqual([expect.stringContaining(`segment ${second!.file}, stream landing/a`)]);
  await store.close();
});

test("by bytes of a stream and of the host, and never what steers folds or feeds the audit", async () => {
  const { store } = await filled();
  const of = async (stream: string) => (await store.streams()).find((info) => info.stream === stream)!;
  const { bytes } = await of("landing/a");
  const byBytes = await store.retain({ rules: [{ streams: "landing/a", bytes: bytes - 1 }] });
  expect(byBytes.dropped).toMatchObject([{ stream: "landing/a", files: 1, reason: "bytes" }]);
  const byHost = await store.retain({ rules: [{ streams: "*" }], hostBytes: 1 });
  expect(new Set(byHost.dropped.map(({ stream }) => stream))).toEqual(new Set(["landing/a", "landing/b", "curated/c"]));
  expect(byHost.dropped.every(({ reason, lastCommit }) => reason === "host" && lastCommit <= 3)).toBe(true);
  expect(await hoursIn(store, "control")).toEqual([1, 2, 3, 4, 5, 6]);
  const report = verifyAudit(store);
  expect(report.problems).toEqual([]);
  await store.close();
});

test("what a merge has just replaced does not count for the host: no row goes for bytes that go by themselves", async () => {
  const { home, store } = await filled(32, noiseBytes); // the second sixteen were merged just now
  const { directory } = home.options;
  const named = new Set(readSegmentInfos(store.reader.database, store.sealer).map(({ file }) => file));
  const files = readdirSync(directory, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  const sizes = files.map(({ parentPath, name }) => ({
    parentPath,
    name,
    size: statSync(join(parentPath, name)).size,
  }));
  const sum = (list: typeof sizes) => list.reduce((total, { size }) => total + size, 0);
  const replaced = sizes.filter(({ parentPath, name }) => parentPath.endsWith("segments") && !named.has(name));
  expect([named.size, replaced.length]).toEqual([10, 80]);
  const slack = 16 << 10; // the write-ahead log may grow a little
  expect(sum(replaced)).toBeGreaterThan(2 * slack);
  const policy = { rules: [{ streams: "landing/*" }], readers: {} };
  const within = await store.retain({ ...policy, hostBytes: sum(sizes) - sum(replaced) + slack });
  expect(within.dropped).toEqual([]);
  const beyond = await store.retain({ ...policy, hostBytes: sum(sizes) - sum(replaced) - slack });
  expect(beyond.dropped.length).toBeGreaterThan(0);
  await store.close();
});

test("a bound of bytes below one segment, or none left for the host, leaves the newest rows of each stream", async () => {
  const { store } = await filled();
  const readers = {};
  await store.retain({ rules: [{ streams: "landing/a", bytes: 1 }], readers });
  expect(await hoursIn(store, "landing/a")).toEqual([6]);
  await store.retain({ rules: [{ streams: "*" }], hostBytes: 1, readers });
  for (const stream of ["landing/a", "landing/b", "curated/c"]) expect(await hoursIn(store, stream)).toEqual([6]);
  await store.retain({ rules: [{ streams: "*" }], hostBytes: 1, readers });
  expect(await hoursIn(store, "landing/b")).toEqual([6]);
  await store.close();
});

test("a stream that nothing is left of keeps its columns: queries and exports of it have no rows", async () => {
  const { home, store, clock } = await filled(3);
  const rules = [{ streams: "landing/*", age: HOUR / 2 }];
  const asked = 'SELECT * FROM "landing/a"';
  const columns = ["kind", "body", "at"];
  const end = clock.now() + HOUR;
  clock.now = () => end;
  expect((await store.retain({ rules, readers: {} })).dropped).toMatchObject([{ rows: 60 }, { rows: 60 }]);
  for (const log of [store, await openStore({ ...home.options, mode: "read" })]) {
    expect(await query(log, asked)).toMatchObject({ columns, rows: [] });
    expect(await query(log, "SELECT kind FROM \"landing/a\" WHERE at > '2013-01-01'")).toMatchObject({
      columns: ["kind"],
      rows: [],
    });
    const exported = await exportStream(log, "landing/a", {});
    expect(exported.columns).toEqual(columns);
    const parts = exported.parts();
    let step = await parts.next();
    while (!step.done) step = await parts.next();
    expect(step.value).toBe(0);
    if (log !== store) await log.close();
  }
  // Compactions of other streams keep that.
  await store.commit({ appends: [{ stream: "control", batch: batchOf(plainContract, []) }] });
  await store.compact();
  expect(await query(store, asked)).toMatchObject({ columns });
  expect((await store.streams()).find(({ stream }) => stream === "landing/a")).not.toHaveProperty("droppedContracts");
  await store.close();
});

test("patterns name streams, and merging goes no further than an eighth of the shortest age and size", () => {
  expect(ruleMatches({ streams: "landing/*" }, "landing/flights")).toBe(true);
  expect(ruleMatches({ streams: "landing/*" }, "quarantine/landing/x")).toBe(false);
  expect(ruleMatches({ streams: "*" }, "control")).toBe(false);
  expect(ruleMatches({ streams: "a.c" }, "abc")).toBe(false);
  const policy = {
    rules: [
      { streams: "*", age: 80 },
      { streams: "landing/*", age: 16 },
      { streams: "x", bytes: 40 },
    ],
  };
  expect(mergedMost(policy, "landing/a")).toEqual({ span: 2, bytes: Infinity });
  expect(mergedMost(policy, "x")).toEqual({ span: 10, bytes: 5 });
  expect(mergedMost({ ...policy, hostBytes: 16 }, "x")).toEqual({ span: 10, bytes: 2 });
  expect(mergedMost(undefined, "landing/a")).toEqual({ span: Infinity, bytes: Infinity });
});
