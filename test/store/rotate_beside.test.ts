/**
 * Rotations of an open log, while its own threads and readers of other processes go on: nothing is lost, nothing waits for
 * the end, and afterwards nothing is under the old key, whatever was under way when it began.
 */
import { Database } from "bun:sqlite";
import { afterEach, expect, test } from "bun:test";
import { cpSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { verifyAuditBeside } from "../../src/audit/beside.ts";
import { verifyAudit } from "../../src/audit/verify.ts";
import { batchOf, rowsOf } from "../../src/contract/batch.ts";
import type { KeyProvider } from "../../src/keys/provider.ts";
import { readSecret, refreshKeys } from "../../src/store/catalogue.ts";
import { openReaderDatabase } from "../../src/store/database.ts";
import { examine } from "../../src/store/doctor.ts";
import { encodeCommit, encoderOf } from "../../src/store/encode.ts";
import { listKeys } from "../../src/store/key_list.ts";
import { rotateKeys } from "../../src/store/rotate_keys.ts";
import { openSealer, providerOf } from "../../src/store/sealer.ts";
import { connectStore, type LogStore, type OpenOptions, openStore } from "../../src/store/store.ts";
import { openWriter } from "../../src/store/writer.ts";
import { timedContract } from "../support/rows.ts";
import { type StoreHome, storeHome } from "../support/store_home.ts";

const STREAM = "curated/timed";
const homes: StoreHome[] = [];
afterEach(() => {
  for (const { remove } of homes.splice(0)) remove();
});

/** Of each writer that shares its thread with the rotation: it would have most of the turns. */
const WRITES_IN_PLACE = 200;

let made = 0;
function commitSome(store: LogStore, stream = STREAM) {
  const rows = [0, 1, 2, 3].map((i) => ({
    id: `r${made}-${i}`,
    place: "JFK",
    gate: 1,
    at: made * 10 + i,
    seen_at: made * 10 + i,
    note: `note ${made}`,
  }));
  made++;
  return store.commit({ appends: [{ stream, batch: batchOf(timedContract, rows) }] });
}

async function filled(options: OpenOptions): Promise<LogStore> {
  const store = await openStore(options);
  for (let turn = 0; turn < 6; turn++) {
    await commitSome(store, turn % 2 ? STREAM : "landing/timed");
    await store.compact();
  }
  for (let c = 0; c < 3; c++) await commitSome(store);
  return store;
}

async function ids(store: LogStore): Promise<string[]> {
  const found: string[] = [];
  for (const stream of [STREAM, "landing/timed"]) {
    for await (const { batch } of store.scan(stream)) found.push(...rowsOf(batch).map(({ id }) => String(id)));
  }
  return found.sort();
}

/** Every sealed cell of the catalogue by its first byte: the key it is under. */
function keysInCells(directory: string): number[] {
  const database = new Database(join(directory, "log.db"));
  const tables = ["secrets", "streams", "contracts", "segments", "state", "stream_keys", "folds", "upkeep"];
  const cells = [...tables.map((table) => [table, "sealed"]), ["commits", "record"]].flatMap(([table, column]) =>
    database.query<{ cell: Uint8Array }, []>(`SELECT ${column} AS cell FROM ${table}`).all(),
  );
  database.close();
  return [...new Set(cells.map(({ cell }) => cell[0]!))];
}

for (const thread of [false, true]) {
  test(`two rotations while commits and reads go on (${thread ? "log thread" : "in place"})`, async () => {
    const home = storeHome();
    homes.push(home);
    const { options } = home;
    const store = await filled({ ...options, thread });
    const connected = await connectStore(options, store.port());
    const other = await openStore({ ...options, mode: "read" });
    const told: string[] = [];
    connected.onRekeyed(() => told.push("connected"));
    const begun = await store.beginFold();
    expect(await store.saveFold({ name: "f", tag: "t", upTo: 9 }, begun, [Uint8Array.of(1)])).toBe(true);
    let [stop, reads] = [false, 0];
    const commits: number[] = [];
    const writing = [store, connected].map(async (writer) => {
      for (let c = 0; !stop && (thread || c < WRITES_IN_PLACE); c++) commits.push((await commitSome(writer)).commitNo);
    });
    const reading = (async () => {
      for (; !stop; reads++) {
        for (const reader of [other, connected]) {
          const least = (await reader.head()).commitNo;
          expect((await ids(reader)).length).toBeGreaterThanOrEqual(least * 4);
          expect((await reader.tail(least - 3, [STREAM])).upTo).toBeGreaterThanOrEqual(least);
          expect(await reader.asOf(STREAM, [{ entity: ["JFK", 1], at: 1e9 }])).not.toEqual([null]);
        }
      }
    })();
    const [first, same] = await Promise.all([store.rotate(), connected.rotate()]);
    expect(same).toEqual(first);
    expect(first).toMatchObject({ keyId: 2, retired: [1], resumed: false });
    const between = commits.length;
    expect(await connected.rotate()).toMatchObject({ keyId: 3, retired: [2], resumed: false });
    stop = true;
    await Promise.all([...writing, reading]);
    expect([between > 0, !thread || commits.length > between, reads > 0]).toEqual([true, true, true]);
    expect(told.length).toBe(2);
    const head = 9 + commits.length;
    expect((await other.head()).commitNo).toBe(head);
    const all = await ids(store);
    expect(new Set(all).size).toBe(head * 4);
    for (const reader of [other, connected]) expect(await ids(reader)).toEqual(all);
    expect(keysInCells(options.directory)).toEqual([3]);
    expect(listKeys(store)).toMatchObject({ store_keys: [{ key_id: 3, current: true }], retired: { segments: 0 } });
    // A fold of before is gone; one that is made of the same rows can be saved again.
    expect(await store.loadFold({ name: "f", tag: "t" }, () => {})).toBeUndefined();
    expect(await connected.saveFold({ name: "f", tag: "t", upTo: 9 }, begun, [Uint8Array.of(1)])).toBe(true);
    expect(verifyAudit(store)).toMatchObject({ verified: true, problems: [] });
    for (const one of [other, connected, store]) await one.close();
    const again = await openStore(options);
    expect(await ids(again)).toEqual(all);
    const named = again.reader.snapshot().segments.map(({ file }) => file);
    expect(readdirSync(join(options.directory, "segments")).sort()).toEqual([...named].sort());
    expect(verifyAudit(again)).toMatchObject({ verified: true, problems: [] });
    await again.close();
  });
}

test("what was sealed under the key before is refused once a rotation began: its sender seals it again", async () => {
  const home = storeHome();
  homes.push(home);
  const { directory, keys, clock, random } = home.options;
  const writer = await openWriter(directory, keys, clock, random);
  const database = openReaderDatabase(directory);
  const stale = (await openSealer(database, keys, directory, random))!;
  const encoder = encoderOf(stale, readSecret(database, stale, "salt"), random);
  const sealed = () => encodeCommit({ appends: [] }, encoder);
  expect((await writer.commit(sealed())).commitNo).toBe(1);
  await writer.rotate();
  expect(await writer.commit(sealed()).catch((cause) => cause.code)).toBe("store.rekeyed");
  await refreshKeys(database, stale);
  expect((await writer.commit(sealed())).commitNo).toBe(2);
  database.close();
  await writer.close();
});

test("cut off after any step, with commits under both keys, it is finished by the next", async () => {
  const home = storeHome();
  homes.push(home);
  const { options } = home;
  await (await filled(options)).close();
  const { directory, keys, clock, random } = options;
  const writer = await openWriter(directory, keys, clock, random);
  const reader = await openStore({ ...options, mode: "read" });
  const before = await ids(reader);
  const copies: { step: string; directory: string }[] = [];
  await writer.rotate(({ step }) => {
    const to = `${directory}-${copies.length}`;
    cpSync(directory, to, { recursive: true });
    for (const name of ["writer.lock", "log.db-shm"]) rmSync(join(to, name), { force: true });
    copies.push({ step, directory: to });
  });
  expect(await ids(reader)).toEqual(before);
  await reader.close();
  await writer.close();
  expect([...new Set(copies.map(({ step }) => step))]).toEqual(["key made", "tail compacted", "segments", "finished"]);
  for (const { step, directory: at } of copies) {
    const store = await openStore({ ...options, directory: at });
    expect(await ids(store)).toEqual(before);
    await commitSome(store);
    const rotation = await store.rotate();
    expect({ step, ...rotation }).toMatchObject(
      step === "finished" ? { keyId: 3, resumed: false } : { keyId: 2, resumed: true },
    );
    expect(verifyAudit(store)).toMatchObject({ verified: true, problems: [] });
    await store.close();
    expect(keysInCells(at)).toEqual([rotation.keyId]);
    expect((await rotateKeys({ ...options, directory: at })).resumed).toBe(false);
  }
});

test("an audit and the doctor beside a rotation find nothing wrong, whenever it comes between; an altered key they find", async () => {
  const home = storeHome();
  homes.push(home);
  const { options } = home;
  const store = await filled(options);
  const reader = await openStore({ ...options, mode: "read" });
  try {
    for (let turn = 0; turn < 2; turn++) {
      await store.rotate();
      expect(verifyAudit(reader).verified).toBe(false); // under the keys of when it was opened
      expect(await verifyAuditBeside(reader)).toMatchObject({ verified: true, problems: [] });
    }
    const provider = providerOf(options.keys, options.directory, false, options.random);
    let rotations = 0;
    const between: KeyProvider = {
      ...provider,
      async unwrap(wrapped) {
        const key = await provider.unwrap(wrapped);
        if (rotations++ === 0) await store.rotate();
        return key;
      },
    };
    const { complaints } = await examine({ ...options, keys: between, space: {}, quick: false });
    expect([rotations, complaints]).toEqual([2, []]);
    const database = new Database(join(options.directory, "log.db"), { readwrite: true });
    database.run("UPDATE data_keys SET key_id = key_id + 1");
    database.close();
    expect((await verifyAuditBeside(reader)).problems).toContainEqual({
      place: "data key 5",
      message: "its row was altered",
    });
  } finally {
    await reader.close();
    await store.close();
  }
});
