/** The doctor over directories that are well, damaged, locked with another key, and left by a crash; it changes no file. */
import { afterEach, expect, test } from "bun:test";
import { appendFileSync, chmodSync, cpSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { batchOf } from "../../src/contract/batch.ts";
import { type DoctorOptions, examine } from "../../src/store/doctor.ts";
import {
  beginPowerLossTest,
  checkPowerLossTest,
  deviceOf,
  judgePowerLoss,
  syncTimes,
} from "../../src/store/power_loss.ts";
import { openStore } from "../../src/store/store.ts";
import { plainContract } from "../support/rows.ts";
import { storeHome } from "../support/store_home.ts";

const removals: (() => void)[] = [];
afterEach(() => {
  for (const remove of removals.splice(0)) remove();
});

async function stored(crash = false) {
  const { options, remove, home } = storeHome();
  removals.push(remove);
  const store = await openStore(options);
  const commit = () => {
    const row = { kind: "k", body: null, at: 1 };
    return store.commit({ appends: [{ stream: "curated/d", batch: batchOf(plainContract, [row, row]) }] });
  };
  await commit();
  await store.compact();
  await commit();
  if (crash) cpSync(options.directory, join(home, "crashed"), { recursive: true });
  await store.close();
  const asked: DoctorOptions = { ...options, directory: options.directory, space: {}, quick: false };
  return { asked: crash ? { ...asked, directory: join(home, "crashed") } : asked, home };
}

/** Name, bytes, content and mode of every file but the shared memory of SQLite, which is worth nothing. */
const filesOf = (directory: string) =>
  readdirSync(directory, { recursive: true, encoding: "utf8" })
    .filter((name) => !name.endsWith("-shm") && statSync(join(directory, name)).isFile())
    .sort()
    .map((name) => [name, statSync(join(directory, name)).mode, Bun.hash(readFileSync(join(directory, name)))]);

test("segments that are gone with their folder are named one by one; bytes that follow one are told", async () => {
  const { asked } = await stored();
  const folder = join(asked.directory, "segments");
  const [file] = readdirSync(folder);
  const { size } = statSync(join(folder, file!));
  appendFileSync(join(folder, file!), "xy");
  expect((await examine(asked)).complaints).toMatchObject([
    { about: "files", message: `segments/${file} has ${size + 2} bytes, not ${size}` },
  ]);
  rmSync(folder, { recursive: true });
  const { facts, complaints } = await examine(asked);
  expect(complaints.length).toBe(facts.segments as number);
  for (const { about, message } of complaints) {
    expect(about).toBe("segments");
    expect(message).toEndWith("the file is missing or can't be opened");
  }
});

test("a directory that is well: facts, no complaint, no file changed, also beside a writer and after a crash", async () => {
  for (const crash of [false, true]) {
    const { asked } = await stored(crash);
    const before = filesOf(asked.directory);
    const { facts, complaints } = await examine(asked);
    expect(complaints).toEqual([]);
    expect(facts).toMatchObject({
      format: 1,
      key: "opens",
      commits: 2,
      tail_records: 1,
      orphans: 0,
      damaged: [],
      writer: "none",
    });
    expect(facts.segments).toBeGreaterThan(0);
    expect(facts.wal_bytes).toBe(crash ? statSync(join(asked.directory, "log.db-wal")).size : 0);
    expect(filesOf(asked.directory)).toEqual(before);
  }
  const { asked } = await stored();
  const store = await openStore(asked);
  expect((await examine(asked)).facts.writer).toBe(`process ${process.pid}`);
  await store.close();
});

test("damage is named by stream and sequences, and what else is wrong with its next step", async () => {
  const { asked, home } = await stored();
  const segments = join(asked.directory, "segments");
  const files = readdirSync(segments);
  for (const file of files) {
    const bytes = readFileSync(join(segments, file));
    bytes[10]! ^= 1;
    writeFileSync(join(segments, file), bytes);
  }
  writeFileSync(join(segments, "0".repeat(32)), "left by a crash", { mode: 0o600 });
  chmodSync(join(asked.directory, "log.db"), 0o644);
  const past = { now: () => 0 };
  const { facts, complaints } = await examine({ ...asked, clock: past });
  expect(facts).toMatchObject({ orphans: 1 });
  expect(facts.damaged).toContainEqual({
    stream: "curated/d",
    file: expect.any(String),
    firstSequence: 0,
    lastSequence: 1,
  });
  expect((facts.damaged as readonly object[]).length).toBe(files.length);
  const about = new Set(complaints.map((one) => one.about));
  expect(about).toEqual(new Set(["files", "segments", "clock"]));
  for (const { message, next } of complaints) expect([message.length > 10, next.length > 10]).toEqual([true, true]);

  rmSync(join(home, "key"));
  expect((await examine(asked)).complaints).toContainEqual(expect.objectContaining({ about: "keys" }));
  writeFileSync(join(home, "key"), new Uint8Array(32), { mode: 0o600 });
  const wrong = await examine(asked);
  expect(wrong.facts.key).toBe("does not open");
  expect(wrong.complaints.find((one) => one.about === "keys")?.message).toContain("keys.wrong_key");

  writeFileSync(join(asked.directory, "log.db"), "no database at all");
  expect((await examine(asked)).complaints.map((one) => one.about)).toContain("store");
  rmSync(asked.directory, { recursive: true });
  expect((await examine(asked)).complaints.map((one) => one.about)).toEqual(["directory"]);
});

test("a low disk is a complaint", async () => {
  const { asked } = await stored();
  const { facts, complaints } = await examine({ ...asked, space: { hard: { percent: 100 } } });
  expect(facts.space).toBe("hard");
  expect(complaints.map(({ about }) => about)).toEqual(["space"]);
});

test("the probe measures and leaves nothing; what the facts say is judged", async () => {
  const { asked } = await stored();
  const before = readdirSync(asked.directory);
  let now = 0;
  const times = syncTimes(asked.directory, () => (now += 50));
  expect(times).toEqual({ writes: 200, least: 50, median: 50, p99: 50 });
  expect(readdirSync(asked.directory)).toEqual(before);
  expect(deviceOf(asked.directory).fileSystem).toMatch(/^\w+$/);

  const flash = { fileSystem: "ext4", mountOptions: "rw,relatime", rotating: false };
  const judged = (device: object, median = 50) => judgePowerLoss({ ...flash, ...device }, { ...times, median }).verdict;
  expect(judged({})).toBe("no reason for doubt");
  expect(judged({}, 3)).toBe("doubtful");
  expect(judged({ rotating: true }, 50)).toBe("doubtful");
  expect(judged({ rotating: true }, 8_000)).toBe("no reason for doubt");
  expect(judged({ mountOptions: "rw,nobarrier" })).toBe("doubtful");
  expect(judged({ fileSystem: "overlay" })).toBe("doubtful");
  expect(judged({ fileSystem: "fuse.sshfs" })).toBe("doubtful");
  expect(judged({ device: "vda", rotating: true }, 300)).toBe("doubtful");
  expect(judged({ fileSystem: "tmpfs" })).toBe("not kept");
});

test("records of the power-loss test: whole up to the last, and a lost or torn one shows", async () => {
  const { asked } = await stored();
  expect(checkPowerLossTest(asked.directory)).toBeUndefined();
  const records = beginPowerLossTest(asked.directory);
  for (let i = 1; i <= 10; i++) expect(records.write()).toBe(i);
  records.close();
  expect(checkPowerLossTest(asked.directory)).toBe(10);
  const path = join(asked.directory, "power-loss.records");
  const bytes = readFileSync(path);
  bytes[64 * 7 + 20]! ^= 1;
  writeFileSync(path, bytes);
  expect(checkPowerLossTest(asked.directory)).toBe(7);
  writeFileSync(path, bytes.subarray(0, 64 * 4 + 3));
  expect(checkPowerLossTest(asked.directory)).toBe(4);
});

test("a directory that this user may not enter is no missing store", async () => {
  const { asked } = await stored();
  const user = process.geteuid?.();
  chmodSync(asked.directory, 0);
  if (user === 0) process.seteuid?.(65_534); // root may enter everything
  const examined = examine(asked);
  const opened = openStore({ ...asked, mode: "read" }).catch((cause) => cause.code);
  if (user === 0) process.seteuid?.(0);
  chmodSync(asked.directory, 0o700);
  const { complaints } = await examined;
  expect(complaints.map(({ about, message }) => [about, message])).toEqual([
    ["directory", `this user may not read ${asked.directory}`],
  ]);
  expect(await opened).toBe("EACCES");
});
