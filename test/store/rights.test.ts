import { afterEach, expect, test } from "bun:test";
import { chmodSync, chownSync, existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { batchOf } from "../../src/contract/batch.ts";
import { openStore } from "../../src/store/store.ts";
import { plainContract } from "../support/rows.ts";
import { type StoreHome, storeHome } from "../support/store_home.ts";

/*
 * Rights of single files are taken away and the store is opened by a process of a user who is not root: what it says names
 * the file that is meant, and nothing is left that would be in the way once the rights are back.
 */
const NOBODY = 65_534;
const homes: StoreHome[] = [];
afterEach(() => {
  for (const { remove } of homes.splice(0)) remove();
});

/** A closed store that belongs to nobody, where this user can give it away. */
async function given() {
  const home = storeHome();
  homes.push(home);
  const store = await openStore(home.options);
  await store.commit({ appends: [{ stream: "s", batch: batchOf(plainContract, [{ kind: "k", body: null, at: 1 }]) }] });
  await store.compact();
  await store.close();
  if (process.getuid?.() === 0) {
    const names = readdirSync(home.home, { recursive: true, encoding: "utf8" });
    for (const name of ["", ...names]) chownSync(join(home.home, name), NOBODY, NOBODY);
  }
  return { ...home, directory: home.options.directory, key: join(home.home, "key") };
}

/** What opening and scanning says in a process of that user: the error, or nothing. */
async function opened(directory: string, key: string, mode: "read" | "write"): Promise<Record<string, string>> {
  const source = (path: string) => JSON.stringify(join(import.meta.dir, "../../src", path));
  const script = `
    if (process.getuid() === 0) process.setuid(${NOBODY});
    const { openStore } = await import(${source("store/store.ts")});
    const { systemClock } = await import(${source("base/clock.ts")});
    const { systemRandom } = await import(${source("base/random.ts")});
    const keys = { provider: "file", path: ${JSON.stringify(key)} };
    const options = { directory: ${JSON.stringify(directory)}, keys, clock: systemClock, random: systemRandom };
    try {
      const store = await openStore({ ...options, mode: ${JSON.stringify(mode)} });
      for await (const part of store.scan("s")) part.batch;
      await store.close();
      console.log("{}");
    } catch ({ code, message, fix }) {
      console.log(JSON.stringify({ code, message, fix }));
    }`;
  const child = Bun.spawn([process.execPath, "-e", script], { stdout: "pipe", stderr: "inherit" });
  try {
    return JSON.parse(await child.stdout.text());
  } finally {
    child.kill();
  }
}

test("a log.db that may not be written is named before SQLite makes files of its rights", async () => {
  const { directory, key } = await given();
  const path = join(directory, "log.db");
  chmodSync(path, 0o400);
  const refused = await opened(directory, key, "write");
  expect(refused).toMatchObject({ code: "store.failed_write", message: expect.stringContaining(path) });
  expect(refused.fix).toContain(`chmod u+rw ${path}`);
  expect(existsSync(`${path}-shm`)).toBe(false);
  expect(existsSync(join(directory, "log.sums"))).toBe(true); // nothing was begun
  chmodSync(path, 0o600);
  expect(await opened(directory, key, "write")).toEqual({});
});

test("a key file that may not be read is named, not the data directory", async () => {
  const { home, directory, key } = await given();
  for (const [path, mode] of [
    [key, 0],
    [home, 0o300],
  ] as const) {
    chmodSync(path, mode);
    const refused = await opened(directory, key, "read");
    chmodSync(path, path === home ? 0o700 : 0o600);
    if (path === home)
      expect(refused).toEqual({}); // names can be looked up, if not listed
    else expect(refused).toMatchObject({ code: "keys.bad_key_file", message: expect.stringContaining(`${key} can't`) });
  }
  const below = await opened(directory, join(key, "store.key"), "read");
  expect(below).toMatchObject({ code: "keys.bad_key_file", message: expect.stringContaining("its folder is a file") });
});

test("a segment that may not be read is told as that", async () => {
  const { directory, key } = await given();
  const segments = join(directory, "segments");
  for (const name of readdirSync(segments)) chmodSync(join(segments, name), 0);
  const refused = await opened(directory, key, "read");
  expect(refused.message).toContain("this user may not read the file");
});
