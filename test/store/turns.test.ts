/** The store beside a thread that must go on answering: long reads, a thread that dies, compaction that fails. */

import { Database } from "bun:sqlite";
import { expect, spyOn, test } from "bun:test";
import { renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { sha256 } from "../../src/base/digest.ts";
import { batchOf, rowsOf } from "../../src/contract/batch.ts";
import type { CompactionFailure } from "../../src/store/compact.ts";
import { databasePath } from "../../src/store/database.ts";
import { openStore } from "../../src/store/store.ts";
import { plainContract } from "../support/rows.ts";
import { storeHome } from "../support/store_home.ts";

const plain = (count: number) =>
  batchOf(
    plainContract,
    Array.from({ length: count }, (_, i) => ({ kind: "k", body: null, at: i })),
  );
/** Rows that no packing makes much smaller. */
const noise = (count: number) =>
  batchOf(
    plainContract,
    Array.from({ length: count }, (_, i) => ({ kind: "k", body: sha256(Uint8Array.of(i & 255, i >> 8)), at: i })),
  );
const append = (rows: number) => ({ appends: [{ stream: "landing/plain", batch: plain(rows) }] });

test("others have a turn before each part of a scan, and a part is bounded", async () => {
  const { options, remove } = storeHome();
  const store = await openStore(options);
  try {
    await store.commit(append(20_000));
    for (const compacted of [false, true]) {
      if (compacted) await store.compact();
      let turns = 0;
      let scanning = true;
      const others = () => {
        turns++;
        if (scanning) setImmediate(others);
      };
      setImmediate(others);
      let [parts, rows] = [0, 0];
      for await (const { batch, sequences } of store.scan("landing/plain")) {
        expect(batch.length).toBeLessThanOrEqual(4_096);
        expect(sequences.length).toBe(batch.length);
        parts++;
        rows += batch.length;
        expect(turns).toBeGreaterThanOrEqual(parts - 1);
      }
      scanning = false;
      expect([rows, parts >= 5]).toEqual([20_000, true]);
      await new Promise((resolve) => setImmediate(resolve));
    }
  } finally {
    await store.close();
    remove();
  }
});

test("a page of the tail holds what was written, and others have turns while it is read", async () => {
  const { options, remove } = storeHome();
  const store = await openStore(options);
  try {
    const wide = { kind: "k", body: null };
    const rows = Array.from({ length: 9_000 }, (_, i) => ({ ...wide, kind: `k${(i * 7) % 4_001}`, at: i }));
    for (const part of [rows, rows.slice(0, 3)]) {
      await store.commit({ appends: [{ stream: "landing/plain", batch: batchOf(plainContract, part) }] });
    }
    const other = await openStore({ ...options, mode: "read", cacheBytes: 1 << 16 });
    for (const [read, compacted] of [
      [store, false],
      [store, true],
      [other, true],
    ] as const) {
      // windows of a few rows
      if (compacted) await store.compact();
      let [turns, reading] = [0, true];
      const others = () => {
        turns++;
        if (reading) setImmediate(others);
      };
      setImmediate(others);
      let moments = 0;
      const clock = spyOn(performance, "now").mockImplementation(() => moments++); // each step takes a millisecond
      const page = await read.tail(0, ["landing/plain"], 20_000).finally(() => clock.mockRestore());
      reading = false;
      expect(page.rows.map(({ batch }) => rowsOf(batch))).toEqual([rows, rows.slice(0, 3)]);
      expect(page.rows.flatMap(({ sequences }) => [...sequences])).toEqual(Array.from({ length: 9_003 }, (_, i) => i));
      expect(turns).toBeGreaterThanOrEqual(plainContract.fields.length);
      await new Promise((resolve) => setImmediate(resolve));
    }
    await other.close();
  } finally {
    await store.close();
    remove();
  }
});

test("a large record of the tail that was altered is named, and nothing of it is read", async () => {
  const { options, remove } = storeHome();
  const store = await openStore(options);
  await store.commit({ appends: [{ stream: "landing/plain", batch: noise(9_000) }] });
  await store.close();
  const database = new Database(databasePath(options.directory));
  const { record } = database.query<{ record: Uint8Array }, []>("SELECT record FROM commits").get()!;
  expect(record.length).toBeGreaterThan(1 << 16); // such are opened in turns
  record[record.length >> 1]! ^= 1;
  database.run("UPDATE commits SET record = ?", [record]);
  database.close();
  const again = await openStore({ ...options, mode: "read" });
  try {
    const read = again.tail(0, ["landing/plain"]);
    await expect(read).rejects.toMatchObject({ code: "store.damaged", place: expect.stringContaining("commit 1") });
  } finally {
    await again.close();
    remove();
  }
});

test("a log thread that dies is told of, and whoever waits for a commit hears it", async () => {
  const { options, home, remove } = storeHome({ thread: true });
  const worker = join(home, "worker.ts");
  const real = new URL("../../src/store/log_worker.ts", import.meta.url).pathname;
  // Dies of the second commit, as of a defect.
  writeFileSync(
    worker,
    `import ${JSON.stringify(real)};
    const answer = self.onmessage;
    let commits = 0;
    self.onmessage = (event) => {
      if (event.data.request?.kind === "commit" && ++commits === 2) setTimeout(() => { throw new Error("out of luck"); });
      else answer(event);
    };`,
  );
  const store = await openStore({ ...options, workerUrl: worker });
  try {
    const ended = new Promise<Error>((resolve) => store.onEnded(resolve));
    await store.commit(append(1));
    await expect(store.commit(append(1))).rejects.toMatchObject({ code: "store.writer_ended" });
    expect((await ended).message).toContain("the log thread ended: ");
    await expect(store.commit(append(1))).rejects.toMatchObject({ code: "store.writer_ended" });
  } finally {
    await store.close();
    remove();
  }
});

test("a store that is closed does not say that its thread died", async () => {
  const { options, remove } = storeHome({ thread: true });
  const store = await openStore(options);
  let told = 0;
  store.onEnded(() => told++);
  await store.commit(append(1));
  await store.close();
  await new Promise((resolve) => setImmediate(resolve));
  expect(told).toBe(0);
  remove();
});

test.each([false, true])("a compaction that fails is told of and tried again (own thread: %p)", async (thread) => {
  const { options, remove } = storeHome({ thread });
  const store = await openStore(options);
  try {
    const segments = join(options.directory, "segments");
    renameSync(segments, `${segments}.away`);
    const failed = new Promise<CompactionFailure>((resolve) => store.onCompactionFailed(resolve));
    await Promise.all(Array.from({ length: 300 }, () => store.commit(append(1))));
    const { cause, retryInMs } = await failed;
    expect(String(cause)).toContain("ENOENT");
    expect(retryInMs).toBeGreaterThan(0);
    expect(store.reader.snapshot().tail.length).toBe(300);
    renameSync(`${segments}.away`, segments);
    const tail = () => store.reader.snapshot().tail.length;
    while (tail() === 300) await Bun.sleep(20); // no commit comes: it is tried again by itself
    expect(tail()).toBeLessThan(256);
    await store.commit(append(1));
    let rows = 0;
    for await (const { batch } of store.scan("landing/plain")) rows += batch.length;
    expect(rows).toBe(301);
  } finally {
    await store.close();
    remove();
  }
});
