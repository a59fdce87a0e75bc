/** A server over a directory with a damaged segment: it starts, serves what does not need the rows, and says what it lacks. */
import { afterEach, expect, test } from "bun:test";
import { readFileSync, writeFileSync } from "node:fs";
import { batchOf } from "../../src/contract/batch.ts";
import { openEngine } from "../../src/runtime/engine.ts";
import { servicesOf } from "../../src/runtime/services.ts";
import { createServing } from "../../src/runtime/serving.ts";
import { createApp } from "../../src/server/app.ts";
import type { LogStore } from "../../src/store/store.ts";
import { createDelivered } from "../bad_input/project.ts";
import { plainContract } from "../support/rows.ts";

const cleanups: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

/** The delivered project, compacted, with one bit of each segment of the stream flipped, served. */
async function servedWithDamage(stream: string, prepare: (store: LogStore) => Promise<void> = async () => {}) {
  const desk = await createDelivered();
  cleanups.push(desk.remove);
  const open = () => openEngine(desk.world, { config: desk.path("mlpe.yaml") }, "write");
  const before = await open();
  await prepare(before.store);
  await before.store.compact();
  const infos = before.store.reader.snapshot().segments.filter((info) => info.stream === stream);
  await before.close();
  expect(infos.length).toBeGreaterThan(0);
  for (const { file } of infos) {
    const path = desk.path(`data/segments/${file}`);
    const bytes = readFileSync(path);
    bytes[bytes.length >> 1]! ^= 1;
    writeFileSync(path, bytes);
  }
  const engine = await open();
  cleanups.push(() => engine.close());
  const said: string[] = [];
  const serving = createServing(engine, (message) => said.push(message));
  cleanups.push(() => serving.close());
  await serving.start();
  const app = createApp(
    servicesOf(serving, async () => ({})),
    "0".repeat(64),
  );
  const ask = async (path: string, body?: object) => {
    const init = body ? { method: "POST", body: JSON.stringify(body) } : {};
    const response = await app.request(path, init);
    return { status: response.status, body: (await response.json()) as { [key: string]: unknown } };
  };
  return { ask, said, file: infos[0]!.file, store: engine.store };
}

test("rows that a view reads: its models are refused with the place, and the server is not ready", async () => {
  const { ask, said, file } = await servedWithDamage("curated/readings");
  const place = expect.stringMatching(new RegExp(`^segment ${file}, stream curated/readings, sequences 0 to \\d+$`));
  expect(await ask("/readyz")).toMatchObject({
    status: 503,
    body: { ready: false, degraded: [{ without: "view load", place, refuses: true }] },
  });
  expect(await ask("/v1/score/load", { entities: [{ sensor: "s1" }] })).toMatchObject({
    status: 503,
    body: { error: { code: "runtime.damaged_rows", place } },
  });
  expect(await ask("/v1/models")).toMatchObject({ status: 200 });
  expect(await ask("/v1/streams/curated/places/rows").catch(() => ({ status: 200 }))).toMatchObject({ status: 200 });
  expect(said).toContain("stored rows are damaged: going on without");
}, 30_000);

test("rows that nothing served needs: the server is ready and says so", async () => {
  const { ask } = await servedWithDamage("ledger");
  expect(await ask("/readyz")).toMatchObject({
    status: 200,
    body: { ready: true, degraded: [{ without: "counts of ledger", refuses: false }] },
  });
  expect((await ask("/v1/score/load", { entities: [{ sensor: "s1" }] })).status).toBe(200);
}, 30_000);

test("deployments that can't be read: nothing is live, and nothing is promoted in their place", async () => {
  const { ask } = await servedWithDamage("control");
  expect(await ask("/readyz")).toMatchObject({
    status: 503,
    body: { degraded: [{ without: "deployments" }, { without: "live models" }] },
  });
  expect(await ask("/v1/score/load", { entities: [{ sensor: "s1" }] })).toMatchObject({
    status: 503,
    body: { error: { code: "runtime.damaged_rows" } },
  });
}, 30_000);

/** Small segments of which one is merged with its neighbours once there are so many. */
const MERGED_AT = 16;

test("a damaged segment that merging meets while the server serves is told once, and the rest is merged", async () => {
  const stream = "curated/other";
  const append = (store: LogStore, at: number) =>
    store.commit({ appends: [{ stream, batch: batchOf(plainContract, [{ kind: "k", body: null, at }]) }] });
  const { ask, said, file, store } = await servedWithDamage(stream, async (before) => void (await append(before, 0)));
  expect((await ask("/readyz")).body).toEqual({ ready: true });
  for (let at = 1; at < MERGED_AT; at++) {
    await append(store, at);
    await store.compact();
  }
  const place = `segment ${file}, stream ${stream}, sequences 0 to 0`;
  const told = { ready: true, degraded: [{ without: "merging of a segment", place, refuses: false }] };
  expect(await ask("/readyz")).toMatchObject({ status: 200, body: told });
  for (let at = MERGED_AT; at <= MERGED_AT + 1; at++) {
    await append(store, at);
    await store.compact();
  }
  expect((await ask("/readyz")).body).toMatchObject(told);
  expect(said.filter((message) => message.includes("damaged"))).toEqual(["stored rows are damaged: going on without"]);
  const left = store.reader.snapshot().segments.filter((info) => info.stream === stream);
  expect(left.map(({ rows }) => rows).sort((a, b) => a - b)).toEqual([1, 1, MERGED_AT]);
}, 30_000);
