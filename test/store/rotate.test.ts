/**
 * Rotations, and copies of the directory taken after each of their steps: what a crash there would leave. Each copy must
 * verify, hold the same rows, and be finished by the next rotation.
 */
import { Database } from "bun:sqlite";
import { expect, test } from "bun:test";
import {
  chmodSync,
  cpSync,
  existsSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { verifyAudit } from "../../src/audit/verify.ts";
import { seededRandom, systemRandom } from "../../src/base/random.ts";
import { batchOf, rowAt } from "../../src/contract/batch.ts";
import { FIRST_STREAM_KEY, newestStoreKey, nextStoreKey } from "../../src/keys/keyring.ts";
import { listKeys } from "../../src/store/key_list.ts";
import { rewrapStore } from "../../src/store/rewrap.ts";
import type { RotationStep } from "../../src/store/rotate.ts";
import { rotateKeys } from "../../src/store/rotate_keys.ts";
import { type LogStore, type OpenOptions, openStore } from "../../src/store/store.ts";
import { plainContract, timedContract } from "../support/rows.ts";
import { type StoreHome, storeHome } from "../support/store_home.ts";
import { createSmallDesk } from "../support/world.ts";

const STREAMS = ["curated/timed", "landing/plain", "landing/other"];

async function fill(store: LogStore, from: number, commits: number): Promise<void> {
  for (let c = from; c < from + commits; c++) {
    const rows = [0, 1, 2, 3].map((i) => ({ id: `r${c}-${i}`, place: "JFK", at: c * 10 + i, note: `note ${c} ${i}` }));
    const plain = batchOf(plainContract, [{ kind: "k", body: new Uint8Array(c), at: c }]);
    await store.commit({
      appends: [
        { stream: STREAMS[0]!, batch: batchOf(timedContract, rows) },
        { stream: STREAMS[1 + (c % 2)]!, batch: plain },
      ],
      cursors: { source: `cursor ${c}` },
      readers: { reader: c },
    });
  }
}

/** A closed store with merged and fresh segments and a tail. */
async function filledStore(): Promise<StoreHome> {
  const home = storeHome();
  const store = await openStore(home.options);
  for (let turn = 0; turn < 12; turn++) {
    await fill(store, 1 + turn * 2, 2);
    await store.compact();
  }
  await fill(store, 25, 5);
  await store.close();
  return home;
}

async function contentOf(store: LogStore) {
  const content: Record<string, unknown> = { head: await store.head(), cursor: await store.cursor("source") };
  for (const stream of STREAMS) {
    const rows: [number, unknown][] = [];
    for await (const { batch, sequences, knownTimes } of store.scan(stream)) {
      for (let i = 0; i < batch.length; i++) rows.push([sequences[i]!, { ...rowAt(batch, i), known: knownTimes[i] }]);
    }
    content[stream] = rows.sort(([a], [b]) => a - b);
  }
  const audit = await verifyAudit(store);
  return { ...content, root: audit.root, problems: audit.problems };
}

async function opened<T>(options: OpenOptions, look: (store: LogStore) => T | Promise<T>): Promise<T> {
  const store = await openStore({ ...options, mode: "read" });
  try {
    return await look(store);
  } finally {
    await store.close();
  }
}

/** Every sealed cell of the catalogue by its first byte: the key it is under. */
function keysInCells(directory: string): number[] {
  const database = new Database(join(directory, "log.db"));
  const found = new Set<number>();
  for (const [table, column] of [
    ...["secrets", "streams", "contracts", "segments", "state", "stream_keys", "folds", "upkeep"].map((t) => [
      t,
      "sealed",
    ]),
    ["commits", "record"],
  ]) {
    const cells = database.query<{ cell: Uint8Array }, []>(`SELECT ${column} AS cell FROM ${table}`).all();
    for (const { cell } of cells) found.add(cell[0]!);
  }
  database.close();
  return [...found];
}

const wrappedOf = (directory: string): Uint8Array[] => {
  const database = new Database(join(directory, "log.db"));
  const rows = database.query<{ wrapped: Uint8Array }, []>("SELECT wrapped FROM data_keys").all();
  database.close();
  return rows.map(({ wrapped }) => new Uint8Array(wrapped));
};

const filesOf = (directory: string): Map<string, Buffer> =>
  new Map(
    readdirSync(directory, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile() && !/-shm$|-wal$|writer\./.test(entry.name))
      .map((entry) => [entry.name, readFileSync(join(entry.parentPath, entry.name))]),
  );

test("after a rotation everything is as it was, and nothing is under an old key or holds it", async () => {
  const { options, remove } = await filledStore();
  const { directory } = options;
  const before = await opened(options, contentOf);
  const [oldWrapped] = wrappedOf(directory);
  const oldFiles = new Set(readdirSync(join(directory, "segments")));
  const oldKeys = await opened(options, (store) => listKeys(store).stream_keys.map(({ key_id }) => key_id));
  expect(before).toMatchObject({ problems: [], head: { commitNo: 29 } });
  const steps: RotationStep[] = [];
  const rotation = await rotateKeys({ ...options, progress: (step) => void steps.push(step) });
  expect(rotation).toMatchObject({ keyId: 2, retired: [1], resumed: false });
  expect(steps.map(({ step }) => step)).toEqual([
    "key made",
    "tail compacted",
    "segments",
    "segments",
    "segments",
    "finished",
  ]);
  expect(await opened(options, contentOf)).toEqual(before);
  expect(keysInCells(directory)).toEqual([2]);
  expect(readdirSync(join(directory, "segments")).filter((file) => oldFiles.has(file))).toEqual([]);
  const list = await opened(options, listKeys);
  expect(list).toMatchObject({ store_keys: [{ key_id: 2, current: true }], retired: { segments: 0 } });
  expect(list.stream_keys.filter(({ key_id }) => oldKeys.includes(key_id))).toEqual([]);
  for (const [, bytes] of filesOf(directory)) expect(bytes.includes(Buffer.from(oldWrapped!))).toBe(false);
  expect(statSync(join(directory, "log.db-wal")).size).toBe(0);
  const store = await openStore(options);
  await fill(store, 30, 2);
  await store.compact();
  await store.close();
  expect((await rotateKeys(options)).keyId).toBe(3);
  expect(await opened(options, contentOf)).toMatchObject({ problems: [], head: { commitNo: 31 } });
  remove();
});

test("a rotation cut off after any step verifies, holds the same, goes on taking commits, and is finished by the next", async () => {
  const { options, remove } = await filledStore();
  const before = await opened(options, contentOf);
  const copies: { step: RotationStep; directory: string }[] = [];
  await rotateKeys({
    ...options,
    progress: (step) => {
      const directory = `${options.directory}-${copies.length}`;
      cpSync(options.directory, directory, { recursive: true });
      rmSync(join(directory, "log.db-shm"), { force: true });
      copies.push({ step, directory });
    },
  });
  expect(copies.length).toBe(6);
  for (const { step, directory } of copies) {
    const copy = { ...options, directory };
    expect({ step, ...(await opened(copy, contentOf)) }).toEqual({ step, ...before });
    const store = await openStore(copy);
    await fill(store, 30, 1);
    await store.compact();
    await store.close();
    const rotation = await rotateKeys(copy);
    expect(rotation).toMatchObject(
      step.step === "finished" ? { keyId: 3, resumed: false } : { keyId: 2, resumed: true },
    );
    expect(await opened(copy, contentOf)).toMatchObject({ problems: [], head: { commitNo: 30 } });
    expect(keysInCells(directory)).toEqual([rotation.keyId]);
  }
  remove();
}, 60_000);

test("segments directly under a store key, as older versions wrote them, get keys of their streams", async () => {
  const { home, remove } = storeHome();
  cpSync(join(import.meta.dir, "../golden/1"), home, { recursive: true });
  const path = join(home, "test-only.key");
  chmodSync(path, 0o600);
  const clock = { now: () => Number.MAX_SAFE_INTEGER / 2 };
  const options = { directory: join(home, "data"), keys: { provider: "file", path }, clock, random: systemRandom };
  const audit = () => opened(options, (store) => ({ ...verifyAudit(store), unchecked: [] })); // it had no log.sums
  const before = await audit();
  expect(await opened(options, ({ reader }) => reader.snapshot().segments[0]!.keyId)).toBe(1);
  await rotateKeys(options);
  expect(await audit()).toEqual(before);
  const keyIds = await opened(options, ({ reader }) => reader.snapshot().segments.map(({ keyId }) => keyId));
  expect(keyIds.every((keyId) => keyId >= FIRST_STREAM_KEY)).toBe(true);
  remove();
});

test("a damaged segment does not stop the others, and the old key stays until it is mended", async () => {
  const { options, remove } = await filledStore();
  const info = await opened(options, ({ reader }) => reader.snapshot().segments[0]!);
  const path = join(options.directory, "segments", info.file);
  const whole = readFileSync(path);
  truncateSync(path, 20);
  const { code, message } = await rotateKeys(options).catch((cause) => cause);
  expect(code).toBe("store.damaged");
  expect(message).toContain(info.file);
  const list = await opened(options, listKeys);
  expect([list.store_keys.length, list.retired.segments]).toEqual([2, 1]);
  const audit = await opened(options, (store) => verifyAudit(store));
  expect(audit.problems.every(({ place, message: said }) => `${place} ${said}`.includes(info.file))).toBe(true);
  writeFileSync(path, whole);
  expect(await rotateKeys(options)).toMatchObject({ keyId: 2, resumed: true, segments: 1 });
  expect(await opened(options, contentOf)).toMatchObject({ problems: [] });
  remove();
});

test("files that a rotation wrote before the disk refused one take no place while the log is open", async () => {
  const { options, remove } = await filledStore();
  let filesLeft = Number.POSITIVE_INFINITY;
  const random = {
    ...systemRandom,
    bytes(count: number) {
      if (count === 16 && filesLeft-- <= 0) throw Object.assign(new Error("no space left"), { code: "ENOSPC" }); // a file's name
      return systemRandom.bytes(count);
    },
  };
  const store = await openStore({ ...options, random });
  try {
    await store.compact();
    const segments = () => store.reader.snapshot().segments.map(({ file }) => file);
    expect(segments().length).toBeGreaterThan(5);
    const folder = join(options.directory, "segments");
    const before = readdirSync(folder);
    filesLeft = 3;
    expect(await store.rotate().catch((error) => error)).toMatchObject({ code: "store.full" });
    const known = new Set([...before, ...segments()]);
    expect(readdirSync(folder).filter((file) => !known.has(file))).toEqual([]);
    filesLeft = Number.POSITIVE_INFINITY;
    expect((await store.rotate()).segments).toBeGreaterThan(0);
    expect(verifyAudit(store).problems).toEqual([]);
  } finally {
    await store.close();
    remove();
  }
});

test("beside an open writer nothing is rotated or wrapped by others, and a reader that was open before goes on", async () => {
  const { home, options, remove } = await filledStore();
  const other = { provider: "file", path: join(home, "other") };
  const writer = await openStore(options);
  const before = filesOf(options.directory);
  for (const work of [rotateKeys(options), rewrapStore(options.directory, options.keys, other, systemRandom)]) {
    expect(await work.catch((cause) => cause.code)).toBe("store.locked");
  }
  expect(filesOf(options.directory)).toEqual(before);
  expect(existsSync(other.path)).toBe(false);
  await writer.close();
  const reader = await openStore({ ...options, mode: "read" });
  expect((await reader.head()).commitNo).toBe(29);
  await rotateKeys(options);
  expect(await contentOf(reader)).toMatchObject({ problems: [], head: { commitNo: 29 } });
  const again = await openStore(options);
  await fill(again, 30, 1);
  expect((await reader.head()).commitNo).toBe(30);
  await again.close();
  await reader.close();
  remove();
});

test("re-wrapping changes only who opens the store; a key from before, cut short or missing changes nothing", async () => {
  const { home, options, remove } = await filledStore();
  const { directory } = options;
  const before = await opened(options, contentOf);
  const segments = readdirSync(join(directory, "segments"));
  const to = { provider: "file", path: join(home, "next/key") };
  const wrong = { provider: "file", path: join(home, "wrong") };
  writeFileSync(wrong.path, systemRandom.bytes(32), { mode: 0o600 });
  const refused = await rewrapStore(directory, wrong, to, systemRandom).catch((cause) => cause.code);
  expect([refused, existsSync(to.path)]).toEqual(["keys.wrong_key", false]);
  const inside = { provider: "file", path: join(directory, "key") };
  expect(await rewrapStore(directory, options.keys, inside, systemRandom).catch((cause) => cause.code)).toBe(
    "keys.key_inside_data",
  );
  const [oldWrapped] = wrappedOf(directory);
  expect(await rewrapStore(directory, options.keys, to, systemRandom)).toEqual([1]);
  expect(await opened({ ...options, keys: to }, contentOf)).toEqual(before);
  expect(readdirSync(join(directory, "segments"))).toEqual(segments);
  for (const [, bytes] of filesOf(directory)) expect(bytes.includes(Buffer.from(oldWrapped!))).toBe(false);
  const cut = { provider: "file", path: join(home, "cut") };
  writeFileSync(cut.path, readFileSync(to.path).subarray(0, 31), { mode: 0o600 });
  const kept = filesOf(directory);
  for (const [keys, code] of [
    [options.keys, "keys.wrong_key"],
    [cut, "keys.bad_key_file"],
    [{ provider: "file", path: join(home, "none") }, "keys.missing_key"],
  ] as const) {
    for (const mode of ["read", "write"] as const) {
      expect(await openStore({ ...options, keys, mode }).catch((cause) => cause.code)).toBe(code);
    }
    expect(await rotateKeys({ ...options, keys }).catch((cause) => cause.code)).toBe(code);
  }
  expect(filesOf(directory)).toEqual(kept);
  expect(await rotateKeys({ ...options, keys: to })).toMatchObject({ keyId: 2 });
  remove();
});

test("a power cut while keys are wrapped anew leaves a store that exactly one of both keys opens", async () => {
  const { home, options, remove } = await filledStore();
  const { directory } = options;
  const to = { provider: "file", path: join(home, "next") };
  const old = join(home, "old");
  cpSync(directory, old, { recursive: true });
  await rewrapStore(directory, options.keys, to, systemRandom);
  const after = new Database(join(directory, "log.db"));
  const row = after.query<{ wrapped: Uint8Array; key_check: Uint8Array }, []>("SELECT * FROM data_keys").get()!;
  after.close();
  // The same transaction on the directory as it was, and what the disk may hold of it when the power goes.
  const database = new Database(join(old, "log.db"));
  database.run("UPDATE data_keys SET wrapped = ?, key_check = ?", [row.wrapped, row.key_check]);
  const wal = readFileSync(join(old, "log.db-wal"));
  const main = readFileSync(join(old, "log.db"));
  database.close();
  const random = seededRandom(5);
  const openedBy = { old: 0, new: 0 };
  for (let run = 0; run < 30; run++) {
    const cut = run === 0 ? wal.length : Math.floor(random.next() * wal.length);
    const image = join(home, `image-${run}`);
    cpSync(old, image, { recursive: true });
    writeFileSync(join(image, "log.db"), main);
    writeFileSync(join(image, "log.db-wal"), Buffer.concat([wal.subarray(0, cut), systemRandom.bytes(run * 40)]));
    const codes = [];
    for (const keys of [options.keys, to]) {
      const copy = { ...options, directory: image, keys };
      codes.push(await opened(copy, async (store) => (await store.head()).commitNo).catch((cause) => cause.code));
    }
    expect([
      [29, "keys.wrong_key"],
      ["keys.wrong_key", 29],
    ]).toContainEqual(codes);
    openedBy[codes[0] === 29 ? "old" : "new"]++;
  }
  expect(openedBy.old).toBeGreaterThan(5);
  expect(openedBy.new).toBeGreaterThan(0);
  remove();
});

test("store keys go round: after 255 comes 1, and the newest of neighbours is found across the seam", () => {
  expect([nextStoreKey(1), nextStoreKey(254), nextStoreKey(255)]).toEqual([2, 255, 1]);
  expect([newestStoreKey([1]), newestStoreKey([1, 2]), newestStoreKey([255, 1]), newestStoreKey([1, 255])]).toEqual([
    1, 2, 1, 1,
  ]);
});

test("the commands: list, rotate, rewrap, and the config that goes with them", async () => {
  const desk = createSmallDesk();
  expect((await desk.run("ingest")).exit).toBe(0);
  expect((await desk.run("keys", "list")).output).toContain("store key 1, wrapped by file");
  const rotated = await desk.run("keys", "rotate", "--json");
  expect([rotated.errors, JSON.parse(rotated.output)]).toMatchObject(["", { key_id: 2, retired: [1], resumed: false }]);
  const list = JSON.parse((await desk.run("keys", "list", "--json")).output);
  expect(list.stream_keys.map(({ stream }: { stream: string }) => stream)).toContain("curated/d");
  expect(list.retired.segments).toBe(0);
  const wrapped = await desk.run("keys", "rewrap", "--to", "keys/next.key");
  expect([wrapped.exit, wrapped.errors]).toEqual([0, ""]);
  expect(wrapped.output).toContain(`  path: ${JSON.stringify(desk.path("keys/next.key"))}`);
  // The key that wraps already would be said to open the store no more.
  const again = ["keys", "rewrap", "--to", "keys/next.key", "--set", "keys.path=keys/next.key"];
  expect((await desk.run(...again)).errors).toContain("keys.same_key");
  expect((await desk.run("streams")).errors).toContain("keys.wrong_key");
  expect((await desk.run("audit", "verify", "--set", "keys.path=keys/next.key")).exit).toBe(0);
  expect((await desk.run("keys", "rewrap")).errors).toContain("cli.bad_usage");
  desk.remove();
});
