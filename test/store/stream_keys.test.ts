/** Which key a segment is under is read from the catalogue, the rows through the port; the clock is the test's. */
import { Database } from "bun:sqlite";
import { expect, test } from "bun:test";
import { join } from "node:path";
import { verifyAudit } from "../../src/audit/verify.ts";
import { MICROS_PER_HOUR } from "../../src/base/time.ts";
import { batchOf } from "../../src/contract/batch.ts";
import { FIRST_STREAM_KEY } from "../../src/keys/keyring.ts";
import { type LogStore, openStore } from "../../src/store/store.ts";
import { readStreamKeys } from "../../src/store/stream_keys.ts";
import { plainContract, plainRows } from "../support/rows.ts";
import { storeHome } from "../support/store_home.ts";

const START = 1_000 * MICROS_PER_HOUR;

/** A store whose keys last an hour, and a clock that can be set. */
async function hourly() {
  const home = storeHome();
  let now = START;
  const options = {
    ...home.options,
    keys: { provider: "file", path: join(home.home, "key"), period: MICROS_PER_HOUR },
    clock: { now: () => now },
  };
  const store = await openStore(options);
  const hour = (hours: number) => {
    now = START + hours * MICROS_PER_HOUR;
  };
  return { ...home, options, store, hour };
}

const commitTo = (store: LogStore, ...streams: string[]) =>
  store.commit({ appends: streams.map((stream) => ({ stream, batch: batchOf(plainContract, [{ kind: stream }]) })) });

async function rowsOf(store: LogStore, stream: string): Promise<number> {
  const parts = [];
  for await (const part of store.scan(stream)) parts.push(part);
  return plainRows(parts).length;
}

/** The key of each segment of a stream, oldest first. */
const keysOf = (store: LogStore, stream: string): number[] =>
  store.reader
    .snapshot()
    .segments.filter((info) => info.stream === stream)
    .map(({ keyId }) => keyId);

function edit(directory: string, statement: string): void {
  const database = new Database(join(directory, "log.db"));
  database.run(statement);
  database.close();
}

test("a stream has one key a period, and no two streams or periods share one", async () => {
  const { store, hour, remove } = await hourly();
  for (const hours of [0, 0.5, 1.1, 2.9]) {
    hour(hours);
    await commitTo(store, "landing/a", "landing/b");
    await store.compact();
  }
  const a = keysOf(store, "landing/a");
  expect(a.length).toBe(4);
  expect(a[0]).toBe(a[1]!);
  expect(new Set(a).size).toBe(3);
  const all = store.reader.snapshot().segments;
  expect(all.every(({ keyId }) => keyId >= FIRST_STREAM_KEY)).toBe(true);
  const streamsOf = Map.groupBy(all, ({ keyId }) => keyId);
  for (const [, infos] of streamsOf) expect(new Set(infos.map(({ stream }) => stream)).size).toBe(1);
  const rows = readStreamKeys(store.reader.database, store.sealer);
  expect(rows.map(({ keyId }) => keyId).sort()).toEqual([...streamsOf.keys()].sort());
  for (const { key } of rows) expect(key!.to - key!.from).toBe(MICROS_PER_HOUR);
  expect(await rowsOf(store, "landing/b")).toBe(4);
  expect(verifyAudit(store)).toMatchObject({ verified: true });
  await store.close();
  remove();
});

test("a key is used again after a restart, and a reader that was open before finds it", async () => {
  const { store, options, hour, remove } = await hourly();
  await commitTo(store, "landing/a");
  const reader = await openStore({ ...options, mode: "read" });
  expect(await rowsOf(reader, "landing/a")).toBe(1);
  await store.compact();
  await store.close();
  const again = await openStore(options);
  hour(0.5);
  await commitTo(again, "landing/a");
  await again.compact();
  const [first, second] = keysOf(again, "landing/a");
  expect(second).toBe(first!);
  expect(await rowsOf(reader, "landing/a")).toBe(2);
  await reader.close();
  await again.close();
  remove();
});

test("a key goes with the last segment under it, and a reader that looked before can still read", async () => {
  const { store, options, hour, remove } = await hourly();
  const reader = await openStore({ ...options, mode: "read" });
  const before = new Set<number>();
  for (let i = 0; i < 16; i++) {
    hour(i);
    await commitTo(store, "landing/a");
    if (i === 15) {
      // The reader holds the list of fifteen segments while the sixteenth makes them one.
      const parts = reader.scan("landing/a")[Symbol.asyncIterator]();
      await parts.next();
      await store.compact();
      for (let part = await parts.next(); !part.done; part = await parts.next())
        expect(part.value.batch.length).toBe(1);
    } else await store.compact();
    for (const keyId of keysOf(store, "landing/a")) before.add(keyId);
  }
  const after = keysOf(store, "landing/a");
  expect(after.length).toBe(1);
  const kept = readStreamKeys(store.reader.database, store.sealer).map(({ keyId }) => keyId);
  expect(kept).toContain(after[0]!);
  expect(kept.filter((keyId) => before.has(keyId))).toEqual(after.filter((keyId) => before.has(keyId)));
  expect(before.size).toBeGreaterThan(14);
  expect(await rowsOf(reader, "landing/a")).toBe(16);
  await reader.close();
  await store.close();
  remove();
});

test("a damaged or missing key row stops its own stream with a clear error, and no other", async () => {
  for (const change of ["UPDATE stream_keys SET sealed = zeroblob(80)", "DELETE FROM stream_keys"]) {
    const { store, options, remove } = await hourly();
    await commitTo(store, "landing/a", "landing/b");
    await store.compact();
    const [keyId] = keysOf(store, "landing/a");
    await store.close();
    edit(options.directory, `${change} WHERE key_id = ${keyId}`);
    for (const mode of ["read", "write"] as const) {
      const opened = await openStore({ ...options, mode });
      const { code, message } = await rowsOf(opened, "landing/a").catch((error) => error);
      expect(code).toBe("store.damaged");
      expect(message).toContain(`${keyId} of stream_keys`);
      expect(message).toContain("landing/a, sequences 0 to 0");
      expect(await rowsOf(opened, "landing/b")).toBe(1);
      const audit = verifyAudit(opened);
      expect(JSON.stringify(audit.problems)).toContain(String(keyId));
      if (mode === "write") {
        await commitTo(opened, "landing/a", "landing/b");
        await opened.compact();
        expect(await rowsOf(opened, "landing/b")).toBe(2);
      }
      await opened.close();
    }
    remove();
  }
});
