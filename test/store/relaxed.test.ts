/**
 * Commits that are acknowledged before they are synced. What a disk holds after a power cut is modelled as log.md says: the
 * database, and the write-ahead log as far as it was synced, with any part of the rest. A COMMIT under `synchronous = FULL`
 * syncs that file (SQLite's documentation); which COMMIT ran under what is watched here, not assumed.
 */
import { Database } from "bun:sqlite";
import { afterEach, expect, spyOn, test } from "bun:test";
import { cpSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { verifyAudit } from "../../src/audit/verify.ts";
import { seededRandom } from "../../src/base/random.ts";
import { batchOf } from "../../src/contract/batch.ts";
import { readSecret } from "../../src/store/catalogue.ts";
import { encodeCommit, encoderOf } from "../../src/store/encode.ts";
import type { CommitRequest } from "../../src/store/port.ts";
import { relaxedCommits } from "../../src/store/relaxed.ts";
import { logWriter } from "../../src/store/sqlite_log.ts";
import { openStore } from "../../src/store/store.ts";
import { openWriter } from "../../src/store/writer.ts";
import { plainContract } from "../support/rows.ts";
import { storeHome } from "../support/store_home.ts";

type Durability = NonNullable<CommitRequest["durability"]>;
const FULL = 2;

const spies: { mockRestore(): void }[] = [];
afterEach(() => {
  for (const spy of spies.splice(0)) spy.mockRestore();
});

/** Calls back after each statement run on the database in that directory, with its mode of synchrony. */
function watchRuns(directory: string, ran: (sql: string, synchronous: number) => void): void {
  const run = Database.prototype.run;
  const watched = function (this: Database, ...parameters: Parameters<typeof run>) {
    const result = run.apply(this, parameters);
    if (this.filename === join(directory, "log.db")) {
      ran(parameters[0], this.query<{ synchronous: number }, []>("PRAGMA synchronous").get()!.synchronous);
    }
    return result;
  };
  spies.push(spyOn(Database.prototype, "run").mockImplementation(watched as never));
}

const row = (text: string) => ({ stream: "landing/plain", batch: batchOf(plainContract, [{ kind: text, at: 1 }]) });

test("a power cut loses no commit that was acknowledged as synced, and of the others only the end of the log", async () => {
  const { home, options, remove } = storeHome();
  const wal = join(options.directory, "log.db-wal");
  let synced = 0; // bytes of the write-ahead log that are on the disk
  const modes: number[] = [];
  watchRuns(options.directory, (sql, synchronous) => {
    if (sql !== "COMMIT") return;
    modes.push(synchronous);
    if (synchronous === FULL) synced = statSync(wal).size;
  });
  const store = await openStore(options);
  const random = seededRandom(9);
  let acknowledged = 0; // the last commit whose acknowledgement says power-loss
  let lostSome = 0;
  for (let c = 1; c <= 60; c++) {
    const durability: Durability = random.next() < 0.6 ? "process" : "power-loss";
    await store.commit({ appends: [row(`row ${c}`)], readers: { r: c }, durability });
    expect(modes.at(-1)).toBe(durability === "process" ? 1 : FULL);
    if (durability === "power-loss") acknowledged = c;
    if (c % 4 !== 0) continue;
    const bytes = readFileSync(wal);
    const cut = Math.min(bytes.length, synced + Math.floor(random.next() * (bytes.length - synced + 1)));
    const directory = join(home, `cut-${c}`);
    cpSync(options.directory, directory, { recursive: true });
    rmSync(join(directory, "log.db-shm"), { force: true });
    writeFileSync(join(directory, "log.db-wal"), bytes.subarray(0, cut));
    const image = await openStore({ ...options, directory });
    const { commitNo } = await image.head();
    expect(commitNo).toBeGreaterThanOrEqual(acknowledged);
    expect(commitNo).toBeLessThanOrEqual(c);
    if (commitNo < c) lostSome++;
    expect(await image.position("r")).toBe(commitNo);
    expect(await verifyAudit(image)).toMatchObject({ verified: true, size: commitNo });
    await image.close();
    rmSync(directory, { recursive: true });
  }
  expect(lostSome).toBeGreaterThan(0); // or the images prove nothing
  // The process dies: what it wrote is in the page cache, and all of it is there.
  const killed = join(home, "killed");
  cpSync(options.directory, killed, { recursive: true });
  rmSync(join(killed, "log.db-shm"), { force: true });
  const image = await openStore({ ...options, directory: killed });
  expect((await image.head()).commitNo).toBe(60);
  await image.close();
  await store.close();
  remove();
});

test("a group with one commit that must outlive a power cut is synced, and compaction always is", async () => {
  const { options, remove } = storeHome();
  const modes: number[] = [];
  const store = await openStore(options);
  const recorded: number[] = [];
  watchRuns(options.directory, (sql, synchronous) => {
    if (sql === "COMMIT") modes.push(synchronous);
    if (sql.startsWith("INSERT INTO segments")) recorded.push(synchronous);
  });
  const commit = (durability?: Durability) =>
    store.commit({ appends: [row("x")], ...(durability ? { durability } : {}) });
  const receipts = await Promise.all([commit("process"), commit("process"), commit(), commit("process")]);
  expect(receipts.map(({ commitNo }) => commitNo)).toEqual([1, 2, 3, 4]);
  expect(modes).toEqual([FULL]);
  await Promise.all([commit("process"), commit("process")]);
  expect(modes).toEqual([FULL, 1]);
  const stale = store.commit({ appends: [], expect: { readers: { r: 9 } }, durability: "process" });
  expect(await stale.catch((cause) => cause.code)).toBe("store.stale_writer");
  await store.compact();
  expect(recorded).toEqual([FULL, FULL]); // the rows and the statements
  expect((await store.streams()).length).toBe(1);
  await store.close();
  remove();
});

/** A database with a table, in write-ahead mode, and what its relaxed commits do. */
function small(sync: () => void) {
  const folder = mkdtempSync(join(tmpdir(), "mlpe-relaxed-"));
  const database = new Database(join(folder, "log.db"), { create: true });
  for (const sql of ["PRAGMA journal_mode = WAL", "PRAGMA synchronous = FULL", "CREATE TABLE t (x)"]) database.run(sql);
  const relaxed = relaxedCommits(database, sync, 1);
  const mode = () => database.query<{ synchronous: number }, []>("PRAGMA synchronous").get()!.synchronous;
  const remove = () => {
    database.close();
    rmSync(folder, { recursive: true });
  };
  return { database, relaxed, mode, remove };
}

test("what was acknowledged is synced after its time by itself, once for all of it, and the handle syncs as before", async () => {
  let syncs = 0;
  const { promise, resolve } = Promise.withResolvers<void>();
  const { database, relaxed, mode, remove } = small(() => {
    syncs++;
    resolve();
  });
  for (let i = 0; i < 3; i++) {
    expect(relaxed.run(() => [mode(), database.run("INSERT INTO t VALUES (1)").changes])).toEqual([1, 1]);
    expect(mode()).toBe(FULL);
  }
  const failure = new Error("it does not open");
  const failing = () => {
    database.run("BEGIN IMMEDIATE");
    throw failure;
  };
  expect(() => relaxed.run(failing)).toThrow(failure); // in the middle of its transaction
  expect(database.inTransaction).toBe(false);
  expect(mode()).toBe(FULL);
  expect(syncs).toBe(0);
  await promise;
  expect(syncs).toBe(1);
  relaxed.close();
  expect(syncs).toBe(1);
  relaxed.run(() => {});
  relaxed.close();
  expect(syncs).toBe(2);
  relaxed.check();
  remove();
});

test("after a sync that the system refused nothing is acknowledged any more", async () => {
  const { promise, resolve } = Promise.withResolvers<void>();
  const { relaxed, remove } = small(() => {
    resolve();
    throw new Error("EIO");
  });
  relaxed.run(() => {});
  await promise;
  expect(() => relaxed.check()).toThrow("refused to sync");
  remove();
});

test("nor is a commit that records a change of the catalogue, and the change is not made", async () => {
  const { options, remove } = storeHome();
  const writer = await openWriter(options.directory, options.keys, options.clock, options.random);
  const { promise, resolve } = Promise.withResolvers<void>();
  const { database, sealer, sums } = writer.log;
  const refusing = relaxedCommits(
    database,
    () => {
      resolve();
      throw new Error("EIO");
    },
    1,
  );
  const log = logWriter(database, sealer, options.clock, sums, refusing);
  const encoder = encoderOf(sealer, readSecret(database, sealer, "salt"), options.random);
  const { commitNo } = await log.commit(encodeCommit({ appends: [row("a")], durability: "process" }, encoder));
  await promise;
  let changed = false;
  const change = () => {
    changed = true;
  };
  const late = encodeCommit({ appends: [row("b")] }, encoder);
  expect(() => log.commitWith(late, commitNo, change)).toThrow("refused to sync");
  expect(changed).toBe(false);
  await writer.close();
  remove();
});
