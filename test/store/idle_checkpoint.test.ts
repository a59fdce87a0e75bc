/**
 * Checkpoints in idle moments, on a real log whose clock of timers the test holds. How many frames of the write-ahead log
 * stand in the database already, SQLite says itself.
 */
import { afterEach, beforeEach, expect, jest, test } from "bun:test";
import { systemRandom } from "../../src/base/random.ts";
import { batchOf } from "../../src/contract/batch.ts";
import { openReaderDatabase } from "../../src/store/database.ts";
import { type LogStore, openStore } from "../../src/store/store.ts";
import { plainContract } from "../support/rows.ts";
import { type StoreHome, storeHome } from "../support/store_home.ts";

const MIB = 1 << 20;
/** Shorter than the log must be idle, and long enough to be idle: it is looked at every 100 ms. */
const BUSY_MS = 80;
const IDLE_MS = 250;

let home: StoreHome;
let store: LogStore;
beforeEach(async () => {
  home = storeHome();
  store = await openStore(home.options);
  jest.useFakeTimers();
});
afterEach(async () => {
  jest.useRealTimers();
  await store.close();
  home.remove();
});

/** One commit of bytes that nothing packs. */
const commit = (bytes: number) =>
  store.commit({
    appends: [
      {
        stream: "curated/filled",
        batch: batchOf(plainContract, [{ kind: "k", body: systemRandom.bytes(bytes), at: 0 }]),
      },
    ],
  });

/** Frames of the write-ahead log, and those of them that are in the database: asking copies nothing. */
function frames(): { written: number; copied: number } {
  const database = openReaderDatabase(home.options.directory);
  try {
    const told = database.query<{ log: number; checkpointed: number }, []>("PRAGMA wal_checkpoint(NOOP)").get()!;
    return { written: told.log, copied: told.checkpointed };
  } finally {
    database.close();
  }
}

test("a log that falls idle is copied into the database, and again once as much was committed since", async () => {
  for (let turn = 0; turn < 2; turn++) {
    for (let i = 0; i < 3; i++) await commit(0.6 * MIB);
    jest.advanceTimersByTime(10 * IDLE_MS); // less than 2 MiB: not worth it
    const before = frames();
    expect(before.copied).toBeLessThan(before.written);
    await commit(0.6 * MIB);
    expect(frames().copied).toBeLessThan(frames().written); // not in the commit
    jest.advanceTimersByTime(IDLE_MS);
    const after = frames();
    expect(after.copied).toBe(after.written);
  }
});

test("while commits come it waits", async () => {
  await commit(2.5 * MIB);
  for (let i = 0; i < 5; i++) {
    await commit(1_000);
    jest.advanceTimersByTime(BUSY_MS);
    expect(frames().copied).toBe(0);
  }
  jest.advanceTimersByTime(IDLE_MS);
  const { written, copied } = frames();
  expect(copied).toBe(written);
});
