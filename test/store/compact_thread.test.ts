/** The compaction thread: it does what this thread would do, and nothing is lost where it dies in the middle. */
import { expect, test } from "bun:test";
import { readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { verifyAudit } from "../../src/audit/verify.ts";
import { batchOf } from "../../src/contract/batch.ts";
import type { CompactionFailure } from "../../src/store/compact.ts";
import { type LogStore, openStore } from "../../src/store/store.ts";
import { readUpkeep } from "../../src/store/upkeep.ts";
import { plainContract } from "../support/rows.ts";
import { storeHome } from "../support/store_home.ts";

const real = new URL("../../src/store/compact_worker.ts", import.meta.url).pathname;

const append = (first: number, rows: number) => ({
  appends: [
    {
      stream: "landing/plain",
      batch: batchOf(
        plainContract,
        Array.from({ length: rows }, (_, i) => ({ kind: "k", body: null, at: first + i })),
      ),
    },
  ],
});

async function timesOf(store: LogStore): Promise<number[]> {
  const times: number[] = [];
  for await (const { batch } of store.scan("landing/plain")) {
    const [, , at] = batch.columns;
    if (at?.kind === "number") times.push(...at.values);
  }
  return times.sort((a, b) => a - b);
}

/** A worker that dies of its `deadly`th answer once the work behind it is done: files are there, the catalogue says nothing. */
function dyingWorker(home: string, deadly: number): string {
  const path = join(home, "worker.ts");
  const marks = join(home, "answers");
  writeFileSync(marks, "");
  writeFileSync(
    path,
    `import { appendFileSync, readFileSync } from "node:fs";
    import ${JSON.stringify(real)};
    const post = self.postMessage.bind(self);
    self.postMessage = (message) => {
      appendFileSync(${JSON.stringify(marks)}, "x");
      if (readFileSync(${JSON.stringify(marks)}, "utf8").length === ${deadly}) setTimeout(() => { throw new Error("out of luck"); });
      else post(message);
    };`,
  );
  return path;
}

// Answer 1 is the packed tail, 2 that nothing is left of it.
test.each([1, 2])(
  "a compaction thread that dies at answer %d loses nothing, and the next try does the work",
  async (deadly) => {
    const { options, home, remove } = storeHome({ thread: true });
    const store = await openStore({ ...options, compactorUrl: dyingWorker(home, deadly) });
    const files = () => readdirSync(join(options.directory, "segments")).sort();
    const named = () =>
      store.reader
        .snapshot()
        .segments.map(({ file }) => file)
        .sort();
    try {
      for (let i = 0; i < 40; i++) await store.commit(append(i * 10, 10));
      const cause = await store.compact().catch((error) => error);
      expect(cause).toMatchObject({ code: "store.compaction_ended", retryable: true });
      expect(files()).toEqual(named()); // what was written for nothing is gone
      expect(named().length).toBe(deadly === 1 ? 0 : 2);
      await store.commit(append(400, 1));
      await store.compact();
      expect(store.reader.snapshot().tail.length).toBe(0);
      expect(await timesOf(store)).toEqual(Array.from({ length: 401 }, (_, i) => i));
      expect(verifyAudit(store)).toMatchObject({ verified: true, size: 41, rows: 401 });
    } finally {
      await store.close();
      remove();
    }
  },
  20_000,
);

test("a death while nobody waits is told of as a failed compaction, which is tried again", async () => {
  const { options, home, remove } = storeHome({ thread: true });
  const store = await openStore({ ...options, compactorUrl: dyingWorker(home, 1) });
  try {
    const failed = new Promise<CompactionFailure>((resolve) => store.onCompactionFailed(resolve));
    await Promise.all(Array.from({ length: 300 }, (_, i) => store.commit(append(i, 1))));
    expect(await failed).toMatchObject({ cause: { code: "store.compaction_ended", retryable: true } });
    while (store.reader.snapshot().tail.length >= 300) await Bun.sleep(20); // no commit comes: it is tried by itself
    expect(await timesOf(store)).toEqual(Array.from({ length: 300 }, (_, i) => i));
  } finally {
    await store.close();
    remove();
  }
}, 20_000);

test("commits go on while the thread compacts, closing waits for it, and what was done is recorded", async () => {
  const { options, remove } = storeHome({ thread: true });
  const store = await openStore(options);
  let first = 0;
  for (let round = 0; round < 6; round++) {
    const compacted = store.compact();
    for (let i = 0; i < 60; i++, first += 5) await store.commit(append(first, 5));
    await compacted;
  }
  const last = store.compact();
  const closed = store.close();
  await Promise.allSettled([last, closed]);
  const again = await openStore({ ...options, mode: "read" });
  expect(await timesOf(again)).toEqual(Array.from({ length: first }, (_, i) => i));
  expect(verifyAudit(again)).toMatchObject({ verified: true });
  const upkeep = readUpkeep(again.reader.database, again.sealer);
  const { compacted } = again.reader.snapshot();
  const packs = upkeep.filter(({ what }) => what === "compact");
  expect(packs[0]!.lastCommit).toBe(compacted.lastCommit);
  expect(packs.at(-1)!.firstCommit).toBe(1);
  for (let i = 1; i < packs.length; i++) expect(packs[i - 1]!.firstCommit).toBe(packs[i]!.lastCommit + 1);
  expect(packs[0]!.streams.toSorted()).toEqual([".commits", "landing/plain"]);
  await again.close();
  remove();
}, 20_000);

test("a long tail is compacted after opening though nobody commits, but not by who closes at once", async () => {
  const { options, home, remove } = storeHome({ thread: true });
  const tailOf = (store: LogStore) => store.reader.snapshot().tail.length;
  try {
    const first = await openStore({ ...options, compactorUrl: dyingWorker(home, 1) });
    const failed = new Promise<CompactionFailure>((resolve) => first.onCompactionFailed(resolve));
    await Promise.all(Array.from({ length: 300 }, (_, i) => first.commit(append(i, 1))));
    await failed;
    await first.close();
    const second = await openStore(options);
    expect(tailOf(second)).toBe(300);
    await second.close();
    const third = await openStore(options);
    expect(tailOf(third)).toBe(300);
    while (tailOf(third) > 0) await Bun.sleep(20);
    expect(await timesOf(third)).toEqual(Array.from({ length: 300 }, (_, i) => i));
    await third.close();
  } finally {
    remove();
  }
}, 20_000);

test("a close does not wait for a compaction thread that does not answer, and the next opening does the work", async () => {
  const { options, home, remove } = storeHome({ thread: true });
  const mute = join(home, "mute.ts");
  writeFileSync(mute, "self.onmessage = () => { for (;;); };");
  const store = await openStore({ ...options, compactorUrl: mute });
  for (let i = 0; i < 40; i++) await store.commit(append(i * 10, 10));
  const asked = store.compact().catch((error) => error);
  await store.close();
  expect(await asked).toMatchObject({ code: "store.compaction_ended" });
  const again = await openStore(options);
  try {
    await again.compact();
    expect(again.reader.snapshot().tail.length).toBe(0);
    expect(await timesOf(again)).toEqual(Array.from({ length: 400 }, (_, i) => i));
  } finally {
    await again.close();
    remove();
  }
}, 60_000);

test("a close waits for all that was asked for before it, one after another, and nothing is left waiting", async () => {
  const { options, remove } = storeHome();
  const store = await openStore({ ...options, compactorUrl: real });
  try {
    for (let i = 0; i < 40; i++) await store.commit(append(i * 10, 10));
    const asked = [store.compact(), store.compact(), store.retain({ rules: [{ streams: "landing/*", bytes: 1 }] })];
    await store.close();
    expect(await Promise.allSettled(asked)).toMatchObject(asked.map(() => ({ status: "fulfilled" })));
    const again = await openStore(options);
    expect(again.reader.snapshot().tail.length).toBeLessThanOrEqual(1);
    expect(verifyAudit(again).problems).toEqual([]);
    await again.close();
  } finally {
    remove();
  }
}, 20_000);
