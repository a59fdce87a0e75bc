import { Database } from "bun:sqlite";
import { expect, test } from "bun:test";
import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { verifyAudit } from "../../src/audit/verify.ts";
import { seededRandom, systemRandom } from "../../src/base/random.ts";
import { batchOf } from "../../src/contract/batch.ts";
import { migrate } from "../../src/store/migrations.ts";
import { openStore } from "../../src/store/store.ts";
import { plainContract, plainRows, timedContract } from "../support/rows.ts";
import { storeHome } from "../support/store_home.ts";

const MARKS = ["MARKVALUE", "MARKKEY", "MARKCURSOR", "MARKREADER", "MARKBYTES", "curated/marked", "MARKFIELD"];

function filesUnder(directory: string): string[] {
  return readdirSync(directory, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name));
}

test("no value, key, cursor, stream or field name is readable in any byte of the directory", async () => {
  const { options, remove } = storeHome();
  const store = await openStore(options);
  const look = () => {
    for (const path of filesUnder(options.directory)) {
      const bytes = readFileSync(path);
      for (const mark of MARKS) {
        expect({ path, mark, found: bytes.includes(mark) }).toEqual({ path, mark, found: false });
        expect(bytes.includes(Buffer.from(mark, "utf16le"))).toBe(false);
      }
    }
  };
  const rows = Array.from({ length: 200 }, (_, i) => ({
    id: `MARKKEY${i}`,
    place: "MARKVALUE",
    at: i,
    payload: new TextEncoder().encode(`MARKBYTES${i}`),
  }));
  for (let i = 0; i < 5; i++) {
    await store.commit({
      appends: [{ stream: "curated/marked", batch: batchOf(timedContract, rows as never) }],
      cursors: { MARKREADER: `MARKCURSOR${i}` },
      readers: { MARKREADER: i },
    });
  }
  look();
  await store.compact();
  look();
  await store.close();
  look();
  for (const path of filesUnder(options.directory)) expect(statSync(path).mode & 0o077).toBe(0);
  expect(statSync(options.directory).mode & 0o777).toBe(0o700);
  remove();
});

test("a second writer is refused by name, a reader is not, and a closed store opens again", async () => {
  const { options, remove } = storeHome();
  const store = await openStore(options);
  await store.commit({ appends: [], cursors: { s: "here" }, readers: { r: 7 } });
  for (const thread of [false, true]) {
    const refused = await openStore({ ...options, thread }).catch((cause) => cause);
    expect(refused).toMatchObject({ code: "store.locked", message: expect.stringContaining(String(process.pid)) });
  }
  const reader = await openStore({ ...options, mode: "read" });
  expect([await reader.cursor("s"), await reader.position("r")]).toEqual(["here", 7]);
  expect(await reader.commit({ appends: [] }).catch((cause) => cause.code)).toBe("store.read_only");
  const seen = reader.waitBeyond(1, 60_000);
  await store.commit({ appends: [] });
  await seen;
  await store.compact();
  expect([(await reader.head()).commitNo, await reader.cursor("s")]).toEqual([2, "here"]);
  await reader.close();
  await store.close();
  expect(await store.head().catch((cause) => cause.code)).toBe("store.closed");
  const again = await openStore(options);
  await again.close();
  remove();
});

test.each([false, true])("an opening or a closing that fails lets the lock go (log thread: %p)", async (thread) => {
  const { options, remove } = storeHome({ thread });
  const store = await openStore(options);
  await store.commit({
    appends: [{ stream: "landing/plain", batch: batchOf(plainContract, [{ kind: "k", body: null, at: 1 }]) }],
  });
  await store.compact();
  const folder = join(options.directory, "segments");
  renameSync(folder, `${folder}.away`);
  expect(await store.close().catch((error) => error)).toBeInstanceOf(Error);
  renameSync(`${folder}.away`, folder);
  const holder = join(options.directory, "writer.pid");
  rmSync(holder, { force: true });
  mkdirSync(holder);
  expect(await openStore(options).catch((error) => error)).toMatchObject({
    message: expect.stringContaining("EISDIR"),
  });
  rmSync(holder, { recursive: true });
  const again = await openStore(options);
  expect(verifyAudit(again).problems).toEqual([]);
  await again.close();
  remove();
});

test("a wrong or missing key gives one clear error and changes nothing", async () => {
  const { home, options, remove } = storeHome();
  const store = await openStore(options);
  await store.commit({ appends: [{ stream: "landing/plain", batch: batchOf(plainContract, [{ kind: "k", at: 1 }]) }] });
  await store.close();
  writeFileSync(join(home, "other"), systemRandom.bytes(32), { mode: 0o600 });
  const bytesOf = () => filesUnder(options.directory).map((path) => [path, Bun.hash(readFileSync(path))]);
  const before = bytesOf();
  for (const [path, code] of [
    ["other", "keys.wrong_key"],
    ["absent", "keys.missing_key"],
  ] as const) {
    for (const mode of ["write", "read"] as const) {
      const keys = { provider: "file", path: join(home, path) };
      expect(await openStore({ ...options, keys, mode }).catch((cause) => cause.code)).toBe(code);
    }
    expect(existsSync(join(home, "absent"))).toBe(false);
  }
  const changed = (list: typeof before) => list.filter(([path]) => !/-(wal|shm)$/.test(String(path)));
  expect(changed(bytesOf())).toEqual(changed(before));
  expect(await openStore({ ...options, directory: join(home, "none"), mode: "read" }).catch((c) => c.code)).toBe(
    "store.not_a_store",
  );
  remove();
});

test("a power cut leaves a beginning of the log: whole commits, no acknowledged one lost before the last sync", async () => {
  const { options, remove } = storeHome();
  const store = await openStore(options);
  const rows = (count: number) =>
    batchOf(
      plainContract,
      Array.from({ length: count }, (_, at) => ({ kind: "k", at })),
    );
  for (let i = 0; i < 30; i++) {
    await store.commit({
      appends: [
        { stream: "landing/plain", batch: rows(i) },
        { stream: "curated/plain", batch: rows(2 * i) },
      ],
      readers: { r: i + 1 },
    });
    if (i === 12) await store.compact();
  }
  const random = seededRandom(3);
  const image = `${options.directory}-image`;
  cpSync(options.directory, image, { recursive: true });
  const wal = readFileSync(join(image, "log.db-wal"));
  await store.close();
  for (let run = 0; run < 40; run++) {
    const cut = run === 0 ? wal.length : Math.floor(random.next() * wal.length);
    const directory = `${options.directory}-cut`;
    cpSync(image, directory, { recursive: true });
    rmSync(join(directory, "log.db-shm"), { force: true });
    const tail = systemRandom.bytes(Math.floor(random.next() * 5000));
    writeFileSync(join(directory, "log.db-wal"), Buffer.concat([wal.subarray(0, cut), tail]));
    const opened = await openStore({ ...options, directory }).catch((cause) => cause.code as string);
    if (typeof opened === "string") {
      // Cut before the store was made at all, which no power cut does: there is no store, and there are its segments.
      expect(opened).toBe("store.damaged");
    } else {
      const { commitNo } = await opened.head();
      if (run === 0) expect(commitNo).toBe(30);
      expect(await opened.position("r")).toBe(commitNo);
      const parts = [];
      for await (const part of opened.scan("curated/plain")) parts.push(part);
      expect(plainRows(parts).length).toBe(commitNo * Math.max(0, commitNo - 1));
      expect(verifyAudit(opened)).toMatchObject({ verified: true, size: commitNo });
      await opened.commit({ appends: [{ stream: "curated/plain", batch: rows(1) }] });
      await opened.close();
    }
    rmSync(directory, { recursive: true });
  }
  remove();
}, 30_000);

test("files that no catalogue row names are swept when the store opens", async () => {
  const { options, remove } = storeHome();
  const store = await openStore(options);
  await store.commit({ appends: [{ stream: "landing/plain", batch: batchOf(plainContract, [{ kind: "k", at: 1 }]) }] });
  await store.compact();
  await store.close();
  const folder = join(options.directory, "segments");
  const kept = readdirSync(folder).sort();
  writeFileSync(join(folder, "half-written"), "x");
  await (await openStore(options)).close();
  expect(readdirSync(folder).sort()).toEqual(kept);
  remove();
});

test("a damaged segment is named by stream and sequence, and other streams go on", async () => {
  const { options, remove } = storeHome();
  const store = await openStore(options);
  for (const stream of ["landing/a", "landing/b"]) {
    await store.commit({ appends: [{ stream, batch: batchOf(plainContract, [{ kind: "k", at: 1 }]) }] });
  }
  await store.compact();
  const info = store.reader.snapshot().segments.find(({ stream }) => stream === "landing/a")!;
  truncateSync(join(options.directory, "segments", info.file), 20);
  const read = async (stream: string) => {
    const parts = [];
    for await (const part of store.scan(stream)) parts.push(part);
    return parts.length;
  };
  const cause = await read("landing/a").catch((error) => error);
  expect(cause).toMatchObject({
    code: "store.damaged",
    message: expect.stringContaining("landing/a, sequences 0 to 0"),
  });
  expect(await read("landing/b")).toBe(1);
  await store.close();
  remove();
});

test("migrations that were edited, reordered or come from a later version are refused", () => {
  const list = [
    { number: 1, name: "a", sql: "CREATE TABLE a (x)" },
    { number: 2, name: "b", sql: "CREATE TABLE b (x)" },
  ];
  const database = new Database(":memory:");
  migrate(database, list);
  migrate(database, list);
  const edited = [list[0]!, { ...list[1]!, sql: "CREATE TABLE b (y)" }];
  for (const wrong of [edited, [list[1]!, list[0]!], [list[0]!]]) {
    expect(() => migrate(database, wrong)).toThrow("migration");
  }
});
