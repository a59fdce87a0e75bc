import { expect, test } from "bun:test";
import { sha256Hex } from "../../src/base/digest.ts";
import type { PushSourceConfig } from "../../src/config/schema.ts";
import { type PushConnector, QUEUED_REQUESTS_MAX } from "../../src/connectors/http_push.ts";
import { createConnector } from "../../src/connectors/registry.ts";
import { withoutDigests } from "../../src/contract/page.ts";
import { createIngestState } from "../../src/ingestion/state.ts";
import { stepSource } from "../../src/ingestion/step.ts";
import { storeErrors } from "../../src/store/errors.ts";
import type { Store } from "../../src/store/port.ts";
import { encode, readingsSource, streamRows, tickingClock } from "../ingestion/harness.ts";
import { MemoryStore } from "../support/memory_store.ts";

const clock = tickingClock();
const config: PushSourceConfig = {
  connector: "http_push",
  dataset: "readings",
  max_rows: 3,
  lateness: 0,
  idle_after: 0,
};
const context = { clock, resolve: (path: string) => path, expectations: [] };
const plan = readingsSource("door");
const reading = (id: number, value = 1) => ({ id, device: "a", at: "2024-01-01T00:00:00Z", value });
const body = (...rows: unknown[]) => encode(JSON.stringify(rows));

/** A process: a connector with its own memory over the store, stepped until nothing waits. */
function start(store: Store) {
  const connector = createConnector("door", config, context) as PushConnector;
  const state = createIngestState();
  const drain = async () => {
    while ((await stepSource({ store, plan, connector, state, clock })) === "progress") {}
  };
  return { connector, drain };
}

const failure = (act: Promise<unknown>) =>
  act.then(
    () => "resolved",
    (error) => (error as { code?: string }).code ?? (error as Error).message,
  );

test("a push is answered once its rows are committed, with what became of them", async () => {
  const store = new MemoryStore(clock);
  const { connector, drain } = start(store);
  const pushed = connector.push({ body: body(reading(1), { id: "x" }, reading(1)) });
  await drain();
  expect(await pushed).toEqual({
    commitNo: 1,
    repeated: false,
    counts: { readings: { received: 3, curated: 1, corrected: 0, duplicate: 1, quarantined: 1, dropped: 0 } },
  });
  const [landed] = await streamRows(store, "landing/door");
  expect(landed!.payload).toEqual(body(reading(1), { id: "x" }, reading(1)));
});

test("where the source can't be opened for damaged rows, requests are answered with that; once it can, they are taken", async () => {
  const store = new MemoryStore(clock);
  await (async () => {
    const { connector, drain } = start(store);
    const pushed = connector.push({ body: body(reading(1)), key: "k" });
    await drain();
    await pushed;
  })();
  const { scan } = store;
  const { connector, drain } = start(store);
  store.scan = (stream, options) => {
    if (stream === "landing/door") throw storeErrors.error("damaged", "segment 0: gone", { place: "segment 0" });
    return scan.call(store, stream, options);
  };
  const waiting = failure(connector.push({ body: body(reading(2)) }));
  expect(await failure(drain())).toBe("store.damaged");
  expect(await waiting).toBe("store.damaged");
  expect(await failure(connector.push({ body: body(reading(2)) }))).toBe("store.damaged");
  store.scan = scan;
  await drain();
  const taken = connector.push({ body: body(reading(2)) });
  await drain();
  expect(await taken).toMatchObject({ commitNo: 2, repeated: false });
});

test("the same key gives the same outcome: at once, later, and after a restart; with another body it is a conflict", async () => {
  const store = new MemoryStore(clock);
  const before = start(store);
  const request = { body: body(reading(1)), key: "k-1" };
  const [first, twin] = [before.connector.push(request), before.connector.push(request)];
  expect(await failure(before.connector.push({ body: body(reading(2)), key: "k-1" }))).toBe("connectors.key_conflict");
  await before.drain();
  expect(await twin).toEqual(await first);
  expect(await before.connector.push(request)).toEqual({ ...(await first), repeated: true });
  const after = start(store);
  await after.drain();
  expect(await after.connector.push(request)).toEqual({ ...(await first), repeated: true });
  expect(await failure(after.connector.push({ body: body(reading(2)), key: "k-1" }))).toBe("connectors.key_conflict");
  expect((await streamRows(store, "landing/door")).length).toBe(1);
});

test("a key is known without the digest of its body, which goes with an erasure; without a key there is none", async () => {
  const store = new MemoryStore(clock);
  const before = start(store);
  const request = { body: body(reading(1)), key: "k-1" };
  const sent = [before.connector.push(request), before.connector.push({ body: body(reading(2)) })];
  await before.drain();
  const [first] = await Promise.all(sent);
  const digest = sha256Hex(request.body);
  const [keyed, bare] = await streamRows(store, "landing/door");
  expect([JSON.parse(keyed!.cursor as string), JSON.parse(bare!.cursor as string)]).toEqual([
    { count: 1, key: "k-1", digest },
    { count: 2 },
  ]);
  expect(await store.cursor("door")).toBe('{"count":2}');
  // What an erasure leaves of the landing row, as another process is told of it.
  const landed = withoutDigests(keyed!.cursor as string);
  expect(landed).not.toContain(digest);
  const { connector } = start(new MemoryStore(clock));
  connector.remember!(landed, { commitNo: 1, counts: (await first)!.counts });
  expect(await connector.push(request)).toEqual({ ...(await first)!, repeated: true });
  // Earlier versions had it in the source's cursor too.
  await connector.open(JSON.stringify({ count: 7, digest }));
  await connector.open(withoutDigests(JSON.stringify({ count: 7, digest })));
});

test("a request sent again before a restarted source has asked the log is answered, not taken twice", async () => {
  const store = new MemoryStore(clock);
  const request = { body: body(reading(1)), key: "k-1" };
  const before = start(store);
  const first = before.connector.push(request);
  await before.drain();
  const after = start(store);
  const again = after.connector.push(request);
  const other = failure(after.connector.push({ body: body(reading(3)), key: "k-2" }));
  await after.drain();
  expect(await again).toEqual({ ...(await first), repeated: true });
  expect(await other).toBe("resolved");
  expect((await streamRows(store, "landing/door")).length).toBe(2);
  const conflict = start(store);
  const changed = failure(conflict.connector.push({ body: body(reading(2)), key: "k-1" }));
  await conflict.drain();
  expect(await changed).toBe("connectors.key_conflict");
  expect((await streamRows(store, "landing/door")).length).toBe(2);
});

test("JSON lines are taken too, and bodies that can't be are refused", async () => {
  const store = new MemoryStore(clock);
  const { connector, drain } = start(store);
  const lines = connector.push({ body: encode(`${JSON.stringify(reading(1))}\n{broken\n`) });
  await drain();
  expect((await lines).counts.readings).toMatchObject({ received: 2, curated: 1, quarantined: 1 });
  for (const [bytes, code] of [
    [encode(""), "bad_body"],
    [encode("[]"), "bad_body"],
    [encode("[{]"), "bad_body"],
    [encode("12"), "bad_body"],
    [new Uint8Array([0x5b, 0xff]), "bad_body"],
    [body(1, 2, 3, 4), "too_many_rows"],
    [encode("{}\n{}\n{}\n{}\n"), "too_many_rows"],
  ] as const) {
    expect(await failure(connector.push({ body: bytes }))).toBe(`connectors.${code}`);
  }
  expect(await failure(connector.push({ body: body(1), key: "two words" }))).toBe("connectors.bad_key");
});

test("as many may wait as the bound says; closing answers those that wait", async () => {
  const { connector } = start(new MemoryStore(clock));
  const waiting = Array.from({ length: QUEUED_REQUESTS_MAX }, (_, n) =>
    failure(connector.push({ body: body(reading(n)) })),
  );
  expect(await failure(connector.push({ body: body(reading(0)) }))).toBe("connectors.busy");
  await connector.close();
  expect(new Set(await Promise.all(waiting))).toEqual(new Set(["connectors.closed"]));
  expect(await failure(connector.push({ body: body(reading(0)) }))).toBe("connectors.closed");
});

test("a commit that fails is told to the sender, who may send again with the same key", async () => {
  const store = new MemoryStore(clock);
  let full = true;
  const failing = new Proxy(store, {
    get: (target, name) => {
      if (name === "commit" && full) return async () => Promise.reject(new Error("the disk is full"));
      return Reflect.get(target, name).bind?.(target);
    },
  });
  const { connector, drain } = start(failing);
  const request = { body: body(reading(1)), key: "again" };
  const told = failure(connector.push(request));
  expect(await failure(drain())).toBe("the disk is full");
  expect(await told).toBe("the disk is full");
  full = false;
  const second = connector.push(request);
  await drain();
  expect(await second).toMatchObject({ repeated: false, counts: { readings: { curated: 1 } } });
});
