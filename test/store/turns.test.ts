/** The store beside a thread that must go on answering: long reads, a thread that dies, compaction that fails. */
import { expect, test } from "bun:test";
import { renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { batchOf } from "../../src/contract/batch.ts";
import type { CompactionFailure } from "../../src/store/compact.ts";
import { openStore } from "../../src/store/store.ts";
import { plainContract } from "../support/rows.ts";
import { storeHome } from "../support/store_home.ts";

const plain = (count: number) =>
  batchOf(
    plainContract,
    Array.from({ length: count }, (_, i) => ({ kind: "k", body: null, at: i })),
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
