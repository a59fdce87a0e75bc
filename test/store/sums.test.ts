import { afterEach, expect, test } from "bun:test";
import { cpSync, existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { verifyAudit } from "../../src/audit/verify.ts";
import { batchOf } from "../../src/contract/batch.ts";
import { examine } from "../../src/store/doctor.ts";
import { rewrapStore } from "../../src/store/rewrap.ts";
import { rotateKeys } from "../../src/store/rotate_keys.ts";
import { openStore } from "../../src/store/store.ts";
import { plainContract } from "../support/rows.ts";
import { type StoreHome, storeHome } from "../support/store_home.ts";

const homes: StoreHome[] = [];
afterEach(() => {
  for (const { remove } of homes.splice(0)) remove();
});

async function closedStore() {
  const home = storeHome();
  homes.push(home);
  const store = await openStore(home.options);
  const rows = Array.from({ length: 300 }, (_, i) => ({ kind: "k", body: new Uint8Array(300).fill(i), at: i }));
  for (let c = 0; c < 10; c++) await store.commit({ appends: [{ stream: "s", batch: batchOf(plainContract, rows) }] });
  await store.compact(); // its records leave free pages
  await store.commit({ appends: [{ stream: "s", batch: batchOf(plainContract, rows) }] });
  await store.close();
  const { directory } = home.options;
  return { ...home, directory, sums: join(directory, "log.sums"), log: join(directory, "log.db") };
}

async function problemsOf(options: StoreHome["options"]) {
  const store = await openStore({ ...options, mode: "read" });
  try {
    return verifyAudit(store).problems;
  } finally {
    await store.close();
  }
}

test("closing says what the bytes of log.db are; opening for writing takes that away before anything changes", async () => {
  const { options, directory, sums } = await closedStore();
  expect(existsSync(sums)).toBe(true);
  expect(await problemsOf(options)).toEqual([]);
  expect(existsSync(sums)).toBe(true); // reading leaves it
  const store = await openStore(options);
  expect(existsSync(sums)).toBe(false);
  const killed = `${directory}-killed`;
  cpSync(directory, killed, { recursive: true });
  await store.close();
  expect(existsSync(sums)).toBe(true);
  expect(await problemsOf(options)).toEqual([]);
  expect(existsSync(join(killed, "log.sums"))).toBe(false);
  expect(await problemsOf({ ...options, directory: killed })).toEqual([]);
});

test("a bit of log.db that no row is read from is named by its page, by the audit and by doctor; so is log.sums itself", async () => {
  const { options, directory, sums, log } = await closedStore();
  const flip = (path: string, byte: number) => {
    const bytes = readFileSync(path);
    bytes[byte]! ^= 4;
    writeFileSync(path, bytes);
  };
  const zeros = readFileSync(log).indexOf(Buffer.alloc(512), 4_096); // unused bytes: the engine overwrites what it frees
  expect(zeros).toBeGreaterThan(0);
  const byte = zeros + 500;
  flip(log, byte);
  const place = expect.stringContaining(`log.db page ${Math.floor(byte / 4_096) + 1} (`);
  expect(await problemsOf(options)).toEqual([{ place, message: "its bytes are not what was written" }]);
  const space = { soft: {}, hard: {}, ballast: {} } as never;
  const { complaints } = await examine({ ...options, directory, space, quick: true });
  expect(complaints).toContainEqual(
    expect.objectContaining({ about: "files", message: expect.stringContaining("log.db page") }),
  );
  flip(log, byte);
  expect(await problemsOf(options)).toEqual([]);
  flip(sums, 40);
  expect(await problemsOf(options)).toMatchObject([{ place: "log.sums" }]);
  await (await openStore(options)).close(); // a writer makes it anew
  expect(await problemsOf(options)).toEqual([]);
});

test("it holds after the keys changed, and after another key wraps them", async () => {
  const { home, options, directory, sums } = await closedStore();
  await rotateKeys({ ...options, directory });
  expect(existsSync(sums)).toBe(true);
  expect(await problemsOf(options)).toEqual([]);
  const keys = { provider: "file", path: join(home, "other") } as const;
  await rewrapStore(directory, options.keys, keys, options.random);
  expect(existsSync(sums)).toBe(true);
  expect(await problemsOf({ ...options, keys })).toEqual([]);
});
