import { Database } from "bun:sqlite";
import { afterEach, expect, test } from "bun:test";
import { cpSync, existsSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { verifyAudit } from "../../src/audit/verify.ts";
import { seededRandom } from "../../src/base/random.ts";
import { batchOf } from "../../src/contract/batch.ts";
import { examine } from "../../src/store/doctor.ts";
import { rewrapStore } from "../../src/store/rewrap.ts";
import { rotateKeys } from "../../src/store/rotate_keys.ts";
import { openStore } from "../../src/store/store.ts";
import { decodeSums, encodeBase } from "../../src/store/sums_file.ts";
import { openWriter } from "../../src/store/writer.ts";
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

const PAGE = 4_096;

const someRows = (count: number, seed = 0) =>
  batchOf(
    plainContract,
    Array.from({ length: count }, (_, i) => ({ kind: "k", body: seededRandom(seed * 99 + i).bytes(300), at: i })),
  );

function flip(path: string, byte: number): void {
  const bytes = readFileSync(path);
  bytes[byte]! ^= 4;
  writeFileSync(path, bytes);
}

/** The engine overwrites what it frees. */
function unusedByte(log: string): number {
  const zeros = readFileSync(log).indexOf(Buffer.alloc(512), PAGE);
  expect(zeros).toBeGreaterThan(0);
  return zeros + 500;
}

async function problemsOf(options: StoreHome["options"]) {
  const store = await openStore({ ...options, mode: "read" });
  try {
    return verifyAudit(store).problems;
  } finally {
    await store.close();
  }
}

test("it is there while the log is open and after a kill; damage that nothing reads shows, and stays known", async () => {
  const { options, directory, sums } = await closedStore();
  expect(existsSync(sums)).toBe(true);
  expect(await problemsOf(options)).toEqual([]);
  const store = await openStore(options);
  await store.commit({ appends: [{ stream: "s", batch: someRows(3) }] });
  expect(verifyAudit(store)).toMatchObject({ problems: [], unchecked: [] });
  const killed = { ...options, directory: `${directory}-killed` };
  cpSync(directory, killed.directory, { recursive: true });
  await store.close();
  expect(await problemsOf(options)).toEqual([]);
  expect(await problemsOf(killed)).toEqual([]);
  const byte = unusedByte(join(killed.directory, "log.db"));
  flip(join(killed.directory, "log.db"), byte);
  const place = expect.stringContaining(`log.db page ${Math.floor(byte / PAGE) + 1} (`);
  const problems = [{ place, message: "its bytes are not what was written" }];
  expect(await problemsOf(killed)).toEqual(problems);
  const next = await openStore(killed);
  expect(verifyAudit(next).problems).toEqual(problems);
  await next.close();
  expect(await problemsOf(killed)).toEqual(problems);
});

test("whatever a crash leaves of a checkpoint and of what is said about it, nothing is called damaged", async () => {
  const { options, directory } = await closedStore();
  const store = await openStore(options);
  for (let c = 0; c < 4; c++) await store.commit({ appends: [{ stream: "s", batch: someRows(20, c) }] });
  const image = (name: string) => {
    const to = { ...options, directory: `${directory}-${name}` };
    cpSync(directory, to.directory, { recursive: true });
    rmSync(join(to.directory, "log.db-shm"), { force: true });
    return to;
  };
  const read = (file: string) => readFileSync(join(directory, file));
  const [earlier, said] = [read("log.db"), read("log.sums")];
  expect(await store.checkpoint("PASSIVE")).toBe(true); // the write-ahead log stays as it is
  const [later, entry] = [read("log.db"), read("log.sums").subarray(said.length)];
  expect(entry.length).toBeGreaterThan(100);
  const pages = later.length / PAGE;
  expect(pages).toBeGreaterThan(earlier.length / PAGE);
  const left = image("left");
  await store.close();
  const put = (file: string, bytes: Uint8Array) => writeFileSync(join(left.directory, file), bytes);
  const unmarked = Buffer.from(entry);
  unmarked.fill(0, entry.length - 16);
  const random = seededRandom(3);
  const pick = (most: number) => Math.floor(random.next() * most);
  const look = async (log: Uint8Array, sums: Uint8Array) => {
    put("log.db", log);
    put("log.sums", Buffer.concat([said, sums]));
    const reader = await openStore({ ...left, mode: "read" });
    const { problems, unchecked } = verifyAudit(reader);
    await reader.close();
    return { problems, unchecked };
  };
  const good = { problems: [], unchecked: [] };
  expect(await look(earlier, new Uint8Array())).toEqual(good);
  expect(await look(earlier, unmarked)).toEqual(good);
  expect(await look(later, unmarked)).toEqual(good);
  expect(await look(later, entry)).toEqual(good);
  for (let run = 0; run < 8; run++) {
    const cut = Buffer.concat([entry.subarray(0, pick(entry.length - 16)), random.bytes(pick(40))]);
    expect(await look(earlier, cut)).toEqual(good);
    const mark = Buffer.from(entry);
    mark.fill(0, entry.length - pick(17));
    const mixed = Buffer.from(later);
    for (let page = 0; page < earlier.length / PAGE; page++) {
      if (random.next() < 0.5) earlier.copy(mixed, page * PAGE, page * PAGE, (page + 1) * PAGE);
    }
    expect(await look(mixed, unmarked)).toEqual(good);
    expect(await look(later, mark)).toEqual(good);
  }
  const changed = Array.from({ length: earlier.length / PAGE }, (_, page) => page).filter((page) => {
    const at = [page * PAGE, (page + 1) * PAGE] as const;
    return Buffer.compare(earlier.subarray(...at), later.subarray(...at)) !== 0;
  });
  const torn = Buffer.from(later);
  const half = changed.at(-1)! * PAGE;
  random.bytes(512).forEach((byte, i) => {
    torn[half + 512 + i] = byte;
  });
  expect(await look(torn, unmarked)).toMatchObject({ problems: [], unchecked: [expect.stringContaining("1 page")] });

  // What is damaged, on the other hand, is named.
  for (let run = 0; run < 12; run++) {
    const bad = Buffer.from(entry);
    bad[pick(bad.length)]! ^= 1 << pick(8);
    expect((await look(later, bad)).problems).toMatchObject([{ place: "log.sums" }]);
  }
  expect((await look(torn, entry)).problems).toMatchObject([{ place: expect.stringContaining("log.db page") }]);

  // And each is gone on from.
  for (const [log, sums] of [
    [earlier, unmarked],
    [later, unmarked],
    [torn, unmarked],
    [earlier, entry.subarray(0, 90)],
  ] as const) {
    await look(log, sums);
    rmSync(join(left.directory, "log.db-shm"), { force: true });
    const copy = { ...left, directory: `${left.directory}-on` };
    cpSync(left.directory, copy.directory, { recursive: true });
    const next = await openStore(copy);
    await next.commit({ appends: [{ stream: "s", batch: someRows(3) }] });
    expect(verifyAudit(next)).toMatchObject({ problems: [], unchecked: [] });
    await next.close();
    expect(await problemsOf(copy)).toEqual([]);
    rmSync(copy.directory, { recursive: true });
  }
}, 60_000);

test("where no new file can be written, none says of log.db what was so before", async () => {
  const { options, directory, sums } = await closedStore();
  const refuse = () => symlinkSync(join(directory, "nowhere", "file"), `${sums}.tmp`); // it can't be opened, and is removed then
  refuse();
  const store = await openStore(options);
  for (let c = 0; c < 6; c++) await store.commit({ appends: [{ stream: "s", batch: someRows(20, c) }] });
  refuse();
  expect(await store.checkpoint("PASSIVE")).toBe(true);
  expect(verifyAudit(store)).toMatchObject({ problems: [], unchecked: [expect.stringContaining("no log.sums")] });
  const killed = { ...options, directory: `${directory}-killed` };
  cpSync(directory, killed.directory, { recursive: true });
  await store.close();
  expect(await problemsOf(options)).toEqual([]);
  const next = await openStore(killed);
  expect(verifyAudit(next)).toMatchObject({ problems: [], unchecked: [] });
  await next.close();
});

test("a bit of any mark in log.sums that is damaged is told, also where other checkpoints were made since", async () => {
  const { options, directory, sums } = await closedStore();
  const store = await openStore(options);
  const ends: number[] = [];
  for (let c = 0; c < 3; c++) {
    await store.commit({ appends: [{ stream: "s", batch: someRows(5, c) }] });
    expect(await store.checkpoint("PASSIVE")).toBe(true);
    ends.push(statSync(sums).size);
  }
  expect(decodeSums(readFileSync(sums), store.sealer)!.entries).toBe(3);
  const killed = { ...options, directory: `${directory}-killed` };
  cpSync(directory, killed.directory, { recursive: true });
  await store.close();
  expect(await problemsOf(killed)).toEqual([]);
  for (const byte of ends.flatMap((end) => [end - 16, end - 7, end - 1])) {
    flip(join(killed.directory, "log.sums"), byte);
    expect(await problemsOf(killed)).toMatchObject([{ place: "log.sums" }]);
    flip(join(killed.directory, "log.sums"), byte);
  }
});

test("a checkpoint that a reader stops half way, and many of them, leave it right and small", async () => {
  const { options, directory, sums } = await closedStore();
  const store = await openStore(options);
  const commit = (seed: number) => store.commit({ appends: [{ stream: "s", batch: someRows(1, seed) }] });
  await commit(0);
  using reader = new Database(join(directory, "log.db"), { readonly: true });
  reader.run("BEGIN");
  reader.query("SELECT count(*) FROM commits").get();
  await commit(1);
  for (let turn = 0; turn < 3; turn++) {
    expect(await store.checkpoint("PASSIVE")).toBe(false);
    expect(verifyAudit(store)).toMatchObject({ problems: [], unchecked: [] });
    await commit(2 + turn);
  }
  reader.run("COMMIT");
  let [last, shorter] = [0, 0];
  for (let turn = 0; turn < 250; turn++) {
    await commit(turn);
    expect(await store.checkpoint(turn % 50 === 0 ? "TRUNCATE" : "PASSIVE")).toBe(true);
    const { size } = statSync(sums);
    if (size < last) shorter++;
    last = size;
  }
  expect(verifyAudit(store)).toMatchObject({ problems: [], unchecked: [] });
  expect(shorter).toBeGreaterThan(0); // written anew, without entries
  expect(last).toBeLessThan(18_000 + (3 * statSync(join(directory, "log.db")).size) / 256);
  await store.close();
  expect(await problemsOf(options)).toEqual([]);
}, 60_000);

test("what was moved out of the write-ahead log is known until others take its place, as long as no power cut came", async () => {
  const { options, directory } = await closedStore();
  const store = await openStore(options);
  const copied = (name: string) => {
    const to = { ...options, directory: `${directory}-${name}` };
    cpSync(directory, to.directory, { recursive: true });
    return to;
  };
  const walOf = (one: StoreHome["options"]) => join(one.directory, "log.db-wal");
  const frame = PAGE + 24;
  for (let c = 0; c < 4; c++) await store.commit({ appends: [{ stream: "s", batch: someRows(40, c) }] });
  await store.checkpoint("PASSIVE");
  const moved = copied("moved"); // all of it stands there still
  for (let c = 0; c < 3; c++) {
    await store.commit({ appends: [{ stream: "s", batch: someRows(2, c) }] });
    await store.checkpoint("PASSIVE");
    expect(verifyAudit(store)).toMatchObject({ problems: [], unchecked: [] });
  }
  await store.commit({ appends: [{ stream: "s", batch: someRows(2, 9) }] });
  const killed = copied("killed"); // behind a short log are the rest of one as short, and of a long one
  const { sealer } = store;
  await store.close();
  const random = seededRandom(8);
  for (const one of [moved, killed]) {
    const frames = Math.floor(readFileSync(walOf(one)).length / frame);
    expect(frames).toBeGreaterThan(12);
    expect(await problemsOf(one)).toEqual([]);
    for (let place = 0; place < frames; place++) {
      const byte = 32 + place * frame + Math.floor(random.next() * frame);
      flip(walOf(one), byte);
      const problems = JSON.stringify(await problemsOf(one));
      // That the last commit was cut off, perhaps, shows against a kept checkpoint.
      if (one === moved || place > frames / 2) expect(problems).toContain(`log.db-wal`);
      if (one === killed && place > frames / 2) expect(problems).toContain(`log.db-wal frame ${place + 1}"`);
      flip(walOf(one), byte);
    }
  }
  // Another start of the system since: the places behind the end may be what the power cut tore.
  const sums = join(killed.directory, "log.sums");
  const read = decodeSums(readFileSync(sums), sealer)!;
  const base = { ...read.base, bytes: read.bytes, parts: read.parts, frames: read.frames, boot: "another" };
  writeFileSync(sums, encodeBase(base, sealer).file);
  expect(await problemsOf(killed)).toEqual([]);
  flip(walOf(killed), readFileSync(walOf(killed)).length - 9);
  const reader = await openStore({ ...killed, mode: "read" });
  expect(verifyAudit(reader)).toMatchObject({ problems: [], unchecked: [expect.stringContaining("1 old frame")] });
  await reader.close();
}, 60_000);

/** What a kill leaves that comes right after a commit. */
async function killedStore() {
  const { options, directory } = await closedStore();
  const store = await openStore(options);
  await store.commit({ appends: [{ stream: "s", batch: someRows(9) }] });
  const killed = { ...options, directory: `${directory}-killed` };
  cpSync(directory, killed.directory, { recursive: true });
  await store.close();
  return killed;
}

test("what a transaction that failed wrote behind the end of the write-ahead log is not called damage", async () => {
  const { options, directory } = await closedStore();
  const writer = await openWriter(options.directory, options.keys, options.clock, options.random);
  const { database } = writer.log;
  const write = (pages: number) => {
    for (let i = 0; i < pages; i++) database.run("INSERT INTO other VALUES (?)", [new Uint8Array(3_500).fill(i)]);
  };
  database.run("CREATE TABLE other (bytes BLOB)");
  database.transaction(() => write(100))();
  expect(writer.checkpoint("PASSIVE")).toBe(true); // these frames are known from here on
  write(1); // the log begins anew, over the first of them
  database.run("PRAGMA cache_size = 10"); // more than that is written before the end of the transaction
  expect(() =>
    database.transaction(() => {
      write(40);
      throw new Error("no room");
    })(),
  ).toThrow("no room");
  write(1);
  const copy = { ...options, directory: `${directory}-copy` };
  const problems = async () => {
    cpSync(directory, copy.directory, { recursive: true });
    const found = await problemsOf(copy);
    rmSync(copy.directory, { recursive: true });
    return found.filter(({ place }) => place.startsWith("log.db-wal"));
  };
  expect(await problems()).toEqual([]);
  expect(writer.checkpoint("PASSIVE")).toBe(true);
  write(1);
  expect(await problems()).toEqual([]);
  await writer.close();
});

test("where another program moved the write-ahead log of a killed host, the next start reads log.db through", async () => {
  const killed = await killedStore();
  const other = new Database(join(killed.directory, "log.db"));
  other.query("SELECT count(*) FROM commits").get();
  other.close(); // the last handle: SQLite moves the log
  await (await openStore(killed)).close();
  expect(await problemsOf(killed)).toEqual([]);
});

test("a handle that only reads leaves what a kill left; so does an opening that is refused", async () => {
  const killed = await killedStore();
  const bytes = () => ["log.db", "log.db-wal", "log.sums"].map((file) => readFileSync(join(killed.directory, file)));
  const before = bytes();
  expect(before[1]!.length).toBeGreaterThan(PAGE);
  expect(await problemsOf(killed)).toEqual([]);
  expect(bytes()).toEqual(before);
  const keys = { provider: "file", path: join(killed.directory, "..", "wrong") } as const;
  expect(openStore({ ...killed, keys })).rejects.toThrow();
  expect(bytes()).toEqual(before);
});

test("a bit of log.db that no row is read from is named by its page, by the audit and by doctor; so is log.sums itself", async () => {
  const { options, directory, sums, log } = await closedStore();
  const byte = unusedByte(log);
  flip(log, byte);
  const place = expect.stringContaining(`log.db page ${Math.floor(byte / PAGE) + 1} (`);
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

test("a header that SQLite does not know is said to be damage of log.db", async () => {
  const { options, log } = await closedStore();
  const bytes = readFileSync(log);
  bytes[47]! ^= 2; // format 6: there are 1 to 4
  writeFileSync(log, bytes);
  for (const mode of ["read", "write"] as const) {
    const opening = openStore({ ...options, mode });
    await expect(opening).rejects.toMatchObject({ code: "store.damaged", place: log });
  }
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
