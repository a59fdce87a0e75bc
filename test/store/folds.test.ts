/** Saved folds: what was saved comes back, and whatever is wrong with one costs time and never truth. */

import { Database } from "bun:sqlite";
import { afterEach, expect, test } from "bun:test";
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { verifyAudit } from "../../src/audit/verify.ts";
import { batchOf } from "../../src/contract/batch.ts";
import { writeBackup } from "../../src/store/backup.ts";
import { type LogStore, openStore } from "../../src/store/store.ts";
import { openWriter } from "../../src/store/writer.ts";
import { plainContract } from "../support/rows.ts";
import { storeHome } from "../support/store_home.ts";

const homes: (() => void)[] = [];
afterEach(() => {
  for (const remove of homes.splice(0)) remove();
});

async function made() {
  const home = storeHome();
  homes.push(home.remove);
  const store = await openStore(home.options);
  await commit(store);
  return { ...home, store, folder: join(home.options.directory, "folds") };
}

const commit = (store: LogStore) =>
  store.commit({ appends: [{ stream: "s", batch: batchOf(plainContract, [{ kind: "k", body: null, at: 1 }]) }] });

const NAME = { name: "index", tag: "1" };
const bytes = (text: string) => new TextEncoder().encode(text);

/** The parts as one text, or why there is no fold. */
async function loaded(store: LogStore, name = NAME): Promise<string> {
  const why: string[] = [];
  const fold = await store.loadFold(name, (reason) => why.push(reason));
  if (!fold) return why.join("; ") || "none";
  const parts: Uint8Array[] = [];
  for await (const part of fold.parts) parts.push(part);
  return `${fold.upTo}: ${Buffer.concat(parts)}`;
}

test("parts come back in their order, of any size and number, also after the store was opened again", async () => {
  const { store, options } = await made();
  let open = store;
  await fc.assert(
    fc.asyncProperty(fc.array(fc.uint8Array({ maxLength: 5_000 }), { maxLength: 12 }), async (parts) => {
      expect(await open.saveFold({ ...NAME, upTo: 1 }, 0, parts)).toBe(true);
      expect(await loaded(open)).toBe(`1: ${Buffer.concat(parts)}`);
    }),
    { numRuns: 20 },
  );
  await open.saveFold({ ...NAME, upTo: 1 }, 0, [bytes("kept")]);
  await open.close();
  open = await openStore(options);
  expect(await loaded(open)).toBe("1: kept");
  await open.close();
});

test("a newer fold takes the place of the older, one name leaves another alone, and names are bounded", async () => {
  const { store, folder } = await made();
  await store.saveFold({ ...NAME, upTo: 1 }, 0, [bytes("old")]);
  await store.saveFold({ name: "other", tag: "1", upTo: 1 }, 0, [bytes("beside")]);
  await store.saveFold({ ...NAME, upTo: 1 }, 0, [bytes("new")]);
  expect(await loaded(store)).toBe("1: new");
  expect(await loaded(store, { name: "other", tag: "1" })).toBe("1: beside");
  expect(readdirSync(folder)).toHaveLength(2);
  for (let i = 0; i < 20; i++) await store.saveFold({ name: `n${i}`, tag: "1", upTo: 1 }, 0, [bytes("x")]);
  expect(readdirSync(folder)).toHaveLength(8);
  await store.close();
});

test("a reader that has begun goes on though the fold is replaced", async () => {
  const { store } = await made();
  const parts = Array.from({ length: 20 }, (_, i) => bytes(`part ${i},`));
  await store.saveFold({ ...NAME, upTo: 1 }, 0, parts);
  const fold = (await store.loadFold(NAME, () => {}))!;
  await store.saveFold({ ...NAME, upTo: 1 }, 0, [bytes("new")]);
  const read: Uint8Array[] = [];
  for await (const part of fold.parts) read.push(part);
  expect(`${Buffer.concat(read)}`).toBe(`${Buffer.concat(parts)}`);
  await store.close();
});

test("what is no fold of this log as it is now is passed over, and says why", async () => {
  const { store, options, folder } = await made();
  expect(await loaded(store)).toBe("none");
  await store.saveFold({ ...NAME, upTo: 2 }, 0, [bytes("x")]);
  expect(await loaded(store)).toBe("it goes up to commit 2, and the log ends with 1");
  expect(await loaded(store, { name: "index", tag: "2" })).toBe("it is of other views or another version");
  await commit(store);
  expect(await loaded(store)).toBe("2: x");
  rmSync(folder, { recursive: true });
  expect(await loaded(store)).toBe("its file is gone");
  await store.close();
  const again = await openStore(options);
  expect(await loaded(again)).toBe("none"); // its row was swept
  await again.close();
});

test("every flipped byte of a fold's file is noticed by the reader and named by the audit, and so is its row", async () => {
  const { store, options, folder } = await made();
  await store.saveFold({ ...NAME, upTo: 1 }, 0, [bytes("a".repeat(40)), bytes("b".repeat(40))]);
  expect(verifyAudit(store).problems).toEqual([]);
  const [file] = readdirSync(folder);
  const path = join(folder, file!);
  const whole = readFileSync(path);
  for (let at = 0; at <= whole.length; at += 7) {
    const flipped = Buffer.concat([whole, at === whole.length ? Buffer.alloc(1) : Buffer.alloc(0)]);
    if (at < whole.length) flipped[at]! ^= 1;
    writeFileSync(path, flipped);
    if (at < whole.length) await expect(loaded(store)).rejects.toThrow(/fold [0-9a-f]{32}, part \d is damaged/);
    expect(verifyAudit(store).problems.map(({ place }) => place)).toEqual([`fold ${file}`]);
  }
  writeFileSync(path, whole.subarray(0, 10)); // cut short
  await expect(loaded(store)).rejects.toThrow("is damaged");
  const database = new Database(join(options.directory, "log.db"));
  database.run("UPDATE folds SET fold_id = fold_id + 1");
  expect(verifyAudit(store).problems).toEqual([{ place: `fold ${file}`, message: "its row does not open" }]);
  expect(await loaded(store)).toBe(`the row of fold ${file} does not open`);
  database.run("UPDATE folds SET fold_id = fold_id - 1");
  database.close();
  rmSync(path); // deleting one is allowed
  expect(verifyAudit(store).verified).toBe(true);
  await store.close();
});

test("what fails while a fold is made changes nothing, and leaves no file", async () => {
  const { store, folder } = await made();
  await store.saveFold({ ...NAME, upTo: 1 }, 0, [bytes("old")]);
  const failing = (async function* () {
    yield bytes("begun");
    throw new Error("no space");
  })();
  await expect(store.saveFold({ ...NAME, upTo: 1 }, 0, failing)).rejects.toThrow("could not be saved: no space");
  expect(readdirSync(folder)).toHaveLength(1);
  expect(await loaded(store)).toBe("1: old");
  await store.close();
});

test("files that no row names are swept at the next start, and a backup leaves folds out", async () => {
  const { store, options, folder, home } = await made();
  await store.saveFold({ ...NAME, upTo: 1 }, 0, [bytes("kept")]);
  const manifest = await writeBackup(store, join(home, "backup"));
  expect(manifest.files.map(({ name }) => name)).toEqual(["log.db"]);
  await store.close();
  writeFileSync(join(folder, "0".repeat(32)), "half");
  const again = await openStore(options);
  expect(existsSync(join(folder, "0".repeat(32)))).toBe(false);
  expect(await loaded(again)).toBe("1: kept");
  await again.close();
});

test("forgetting in a transaction that fails leaves every fold as it was", async () => {
  const { store, options } = await made();
  await store.saveFold({ ...NAME, upTo: 1 }, 0, [bytes("kept")]);
  await store.close();
  const writer = await openWriter(options.directory, options.keys, options.clock, options.random);
  const failing = writer.log.database.transaction(() => {
    writer.folds.forget();
    throw new Error("no room");
  });
  expect(failing).toThrow("no room");
  await writer.close();
  const again = await openStore(options);
  expect(await loaded(again)).toBe("1: kept");
  await again.close();
});

test("forgetting removes every fold, and one that was being made is not kept", async () => {
  const { store, options, folder } = await made();
  await store.saveFold({ ...NAME, upTo: 1 }, 0, [bytes("secret")]);
  await store.close();
  const writer = await openWriter(options.directory, options.keys, options.clock, options.random);
  const begun = writer.folds.begin();
  const [file] = readdirSync(folder);
  writer.folds.forget()();
  expect(readdirSync(folder)).toEqual([]);
  writeFileSync(join(folder, file!), "made meanwhile");
  const late = { ...NAME, upTo: 1, file: file!, keyId: 1, nonce: "00".repeat(24), lengths: [14] };
  expect(writer.folds.keep(late, begun)).toBe(false);
  expect(readdirSync(folder)).toEqual([]);
  await writer.close();
});
