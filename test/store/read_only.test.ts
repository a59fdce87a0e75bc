import { afterEach, expect, test } from "bun:test";
import { chmodSync, chownSync, cpSync, existsSync, readdirSync, renameSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { batchOf } from "../../src/contract/batch.ts";
import { databasePath } from "../../src/store/database.ts";
import { type LogStore, openStore } from "../../src/store/store.ts";
import { plainContract } from "../support/rows.ts";
import { type StoreHome, storeHome } from "../support/store_home.ts";

/*
 * A data directory whose rights to write are taken away is read by a process of a user who is not root. SQLite can use what
 * a reader left (an empty write-ahead log and its index), and what a killed writer left; nothing at all, or a write-ahead log
 * without its index, it refuses: these are the ways round.
 */
const NOBODY = 65_534;
const homes: StoreHome[] = [];
afterEach(() => {
  for (const { home, remove } of homes.splice(0)) {
    chmodSync(join(home, "data"), 0o700);
    remove();
  }
});

async function commit(store: LogStore, count: number): Promise<void> {
  for (let at = 1; at <= count; at++) {
    await store.commit({ appends: [{ stream: "s", batch: batchOf(plainContract, [{ kind: "k", body: null, at }]) }] });
  }
}

/** A store with ten rows in a segment and five in the tail, or closed and compacted; then no right to write is left. */
async function made(state: "closed" | "killed", without: readonly string[] = []) {
  const home = storeHome();
  homes.push(home);
  const { directory } = home.options;
  const store = await openStore(home.options);
  await commit(store, 10);
  await store.compact();
  await commit(store, 5);
  const original = join(home.home, "original");
  if (state === "killed") cpSync(directory, original, { recursive: true }); // as a kill leaves it
  await store.close();
  if (state === "killed") {
    rmSync(directory, { recursive: true });
    renameSync(original, directory);
  }
  for (const end of without) rmSync(databasePath(directory) + end, { force: true });
  const names = readdirSync(home.home, { recursive: true, encoding: "utf8" });
  if (process.getuid?.() === 0) for (const name of ["", ...names]) chownSync(join(home.home, name), NOBODY, NOBODY);
  chmodSync(directory, 0o500);
  return { directory, key: join(home.home, "key"), before: filesIn(directory) };
}

const filesIn = (directory: string) => readdirSync(directory, { recursive: true, encoding: "utf8" }).sort();

/** What a process of that user reads: how many rows, and what waiting for more says. */
async function read(directory: string, key: string, temporary = tmpdir()) {
  const source = (path: string) => JSON.stringify(join(import.meta.dir, "../../src", path));
  const script = `
    if (process.getuid() === 0) process.setuid(${NOBODY});
    const { openStore } = await import(${source("store/store.ts")});
    const { verifyAudit } = await import(${source("audit/verify.ts")});
    const { examine } = await import(${source("store/doctor.ts")});
    const { systemClock: clock } = await import(${source("base/clock.ts")});
    const { systemRandom: random } = await import(${source("base/random.ts")});
    const { openLog } = await import(${source("runtime/engine.ts")});
    const keys = { provider: "file", path: ${JSON.stringify(key)} };
    const directory = ${JSON.stringify(directory)};
    const told = ({ code, message, fix }) => ({ code, message, fix });
    try {
      const store = await openLog({ directory, keys, clock, random, mode: "read" });
      let rows = 0;
      for await (const { batch } of store.scan("s")) rows += batch.length;
      const { verified, problems } = verifyAudit(store);
      const { commitNo } = await store.head();
      const waited = await store.waitBeyond(commitNo, 1).then(() => null, told);
      await store.close();
      const { complaints } = await examine({ directory, keys, clock, random, space: {} });
      console.log(JSON.stringify({ rows, verified, problems, waited, complaints }));
    } catch (cause) {
      console.log(JSON.stringify(told(cause)));
    }`;
  const env = { ...process.env, TMPDIR: temporary };
  const child = Bun.spawn([process.execPath, "-e", script], { stdout: "pipe", stderr: "inherit", env });
  try {
    return JSON.parse(await child.stdout.text());
  } finally {
    child.kill();
  }
}

const FOLLOWS_NOTHING = { code: "store.read_only_directory", message: expect.stringContaining("nothing follows") };

test.each([
  ["closed", ["-wal", "-shm"], FOLLOWS_NOTHING],
  ["closed", [], undefined],
  ["killed", [], null],
  ["killed", ["-shm"], FOLLOWS_NOTHING],
] as const)("a %s store without %p is read where nothing can be written", async (state, without, waited) => {
  const { directory, key, before } = await made(state, without);
  const copies = () => readdirSync(tmpdir()).filter((name) => name.startsWith("mlpe-read-"));
  const copiesBefore = copies();
  const found = await read(directory, key);
  expect(found).toMatchObject({ rows: 15, verified: true, problems: [], complaints: [] });
  if (waited !== undefined) expect(found.waited).toEqual(waited === null ? null : expect.objectContaining(waited));
  expect(filesIn(directory)).toEqual(before);
  expect(copies().filter((name) => !copiesBefore.includes(name))).toEqual([]);
});

test("where nothing can be copied either, one error says what to do", async () => {
  const { directory, key } = await made("killed", ["-shm"]);
  expect(existsSync(`${databasePath(directory)}-wal`)).toBe(true);
  expect(await read(directory, key, "/nonexistent")).toEqual({
    code: "store.read_only_directory",
    message: expect.stringContaining("can't be copied"),
    fix: expect.stringContaining("--data"),
  });
});
