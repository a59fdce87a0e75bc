import { Database } from "bun:sqlite";
import { afterEach, expect, test } from "bun:test";
import { cpSync, existsSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { batchOf } from "../../src/contract/batch.ts";
import { examine } from "../../src/store/doctor.ts";
import { openStore } from "../../src/store/store.ts";
import { plainContract } from "../support/rows.ts";
import { type StoreHome, storeHome } from "../support/store_home.ts";

/*
 * `log.db` of a store is taken away, emptied, or left without what stood in its write-ahead log. A new store in its place
 * would sweep the segments: opening must be refused and change nothing, so that what was lost can be put back.
 */
const homes: StoreHome[] = [];
afterEach(() => {
  for (const { remove } of homes.splice(0)) remove();
});

/** A closed store with segments, and one as a kill leaves it, whose tables stand in the write-ahead log alone. */
async function stores() {
  const home = storeHome();
  homes.push(home);
  const { directory } = home.options;
  const store = await openStore(home.options);
  await store.commit({ appends: [{ stream: "s", batch: batchOf(plainContract, [{ kind: "k", body: null, at: 1 }]) }] });
  await store.compact();
  const killed = `${directory}-killed`;
  cpSync(directory, killed, { recursive: true });
  await store.close();
  return { home, closed: directory, killed };
}

const LOSSES: Readonly<Record<string, (directory: string) => void>> = {
  "it is gone": (directory) => rmSync(join(directory, "log.db")),
  "it is gone with log.sums": (directory) => {
    rmSync(join(directory, "log.db"));
    rmSync(join(directory, "log.sums"), { force: true });
  },
  "it is empty": (directory) => truncateSync(join(directory, "log.db"), 0),
};

for (const [loss, lose] of Object.entries(LOSSES)) {
  test(`a store whose log.db is lost is refused, and nothing is swept: ${loss}`, async () => {
    const { home, closed, killed } = await stores();
    for (const directory of [closed, killed]) {
      lose(directory);
      await expectRefused({ ...home.options, directory });
    }
  });
}

test("a store that lost the write-ahead log in which its tables stood is refused, and nothing is swept", async () => {
  const { home, killed } = await stores();
  rmSync(join(killed, "log.db-wal"));
  rmSync(join(killed, "log.db-shm"), { force: true });
  rmSync(join(killed, "log.db"));
  const header = new Database(join(killed, "log.db"), { create: true });
  header.run("PRAGMA user_version = 1"); // one page, and no table
  header.close();
  await expectRefused({ ...home.options, directory: killed });
});

test("an older log.db over newer segments sweeps none of them, so that the right one can be put back", async () => {
  const { home, closed, killed: older } = await stores();
  const folder = join(closed, "segments");
  const [replaced] = readdirSync(folder);
  const store = await openStore(home.options);
  await store.commit({ appends: [{ stream: "t", batch: batchOf(plainContract, [{ kind: "k", body: null, at: 2 }]) }] });
  await store.compact();
  await store.close();
  const right = `${closed}-right`;
  cpSync(closed, right, { recursive: true });
  rmSync(join(folder, replaced!)); // as a merge would have
  const before = readdirSync(folder);
  for (const name of ["log.db", "log.db-wal"]) cpSync(join(older, name), join(closed, name));
  await (await openStore(home.options)).close();
  expect(readdirSync(folder)).toEqual(expect.arrayContaining(before));
  for (const name of ["log.db", "log.sums"]) cpSync(join(right, name), join(closed, name));
  cpSync(join(right, "segments", replaced!), join(folder, replaced!));
  rmSync(join(closed, "log.db-wal"), { force: true });
  const again = await openStore(home.options);
  for (const stream of ["s", "t"]) {
    let rows = 0;
    for await (const { batch } of again.scan(stream)) rows += batch.length;
    expect(rows).toBe(1);
  }
  await again.close();
});

test("without a key file none is made where log.db is lost", async () => {
  const { home, closed } = await stores();
  rmSync(join(closed, "log.db"));
  const path = `${closed}-other.key`;
  await expectRefused({ ...home.options, keys: { ...home.options.keys, path } });
  expect(existsSync(path)).toBe(false);
});

test("a first start that was cut off before there were tables is gone on with", async () => {
  const home = storeHome();
  homes.push(home);
  const { directory } = home.options;
  const store = await openStore(home.options);
  await store.close();
  for (const name of readdirSync(directory)) if (name.startsWith("log.")) rmSync(join(directory, name));
  writeFileSync(join(directory, "log.db"), "", { mode: 0o600 });
  await (await openStore(home.options)).close();
  await (await openStore({ ...home.options, mode: "read" })).close();
});

async function expectRefused(options: StoreHome["options"]): Promise<void> {
  const { directory } = options;
  const before = readdirSync(join(directory, "segments")).sort();
  expect(before.length).toBeGreaterThan(0);
  for (const mode of ["write", "read", "write"] as const) {
    const opening = openStore({ ...options, mode });
    await expect(opening).rejects.toMatchObject({ code: "store.damaged", fix: expect.stringContaining("log.db") });
  }
  const { complaints } = await examine({ ...options, space: {}, quick: true });
  expect(complaints.map(({ next }) => next)).toContainEqual(expect.stringContaining("Put log.db back"));
  expect(readdirSync(join(directory, "segments")).sort()).toEqual(before);
}

test("a changed bit in the definition of the first table is said to be damage of log.db", async () => {
  const { home, closed } = await stores();
  const path = join(closed, "log.db");
  const bytes = readFileSync(path);
  const at = bytes.indexOf("store_id");
  expect(at).toBeGreaterThan(0);
  bytes[at]! ^= 1;
  writeFileSync(path, bytes);
  for (const mode of ["read", "write"] as const) {
    const refused = await openStore({ ...home.options, mode }).catch((error) => error);
    expect(refused).toMatchObject({ code: "store.damaged", place: "log.db" });
  }
});
