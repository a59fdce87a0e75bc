/** Backups made while commits and compaction go on, and what becomes of them when they are damaged. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import {
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { verifyAudit } from "../../src/audit/verify.ts";
import { seededRandom } from "../../src/base/random.ts";
import { batchOf, rowAt } from "../../src/contract/batch.ts";
import { type BackupManifest, unpackBackup, writeBackup } from "../../src/store/backup.ts";
import { claimForRestore } from "../../src/store/restore.ts";
import { type LogStore, openStore } from "../../src/store/store.ts";
import { plainContract, timedContract } from "../support/rows.ts";
import { type StoreHome, storeHome } from "../support/store_home.ts";
import { createSmallDesk } from "../support/world.ts";

let home: StoreHome;
let store: LogStore;
const at = (name: string) => join(home.home, name);
const manifests: BackupManifest[] = [];

function commit(to: LogStore, c: number) {
  const rows = [0, 1, 2].map((i) => ({ id: `MARKKEY${c % 40}-${i}`, place: "MARKVALUE", at: c, amount: c / 3 }));
  return to.commit({
    appends: [
      { stream: "curated/timed", batch: batchOf(timedContract, rows) },
      ...(c % 5 === 0
        ? [{ stream: "landing/plain", batch: batchOf(plainContract, [{ kind: "k", body: new Uint8Array(c), at: c }]) }]
        : []),
    ],
    cursors: { source: `cursor ${c}` },
    readers: { reader: c },
  });
}

beforeAll(async () => {
  home = storeHome({ thread: true });
  store = await openStore(home.options);
  for (let b = 0; b < 4; b++) {
    // The log thread commits and compacts these while this thread makes the backup.
    const running = Array.from({ length: 300 }, (_, i) => commit(store, b * 300 + i + 1));
    await running[100];
    manifests.push(await writeBackup(store, at(`${b}.backup`)));
    await Promise.all(running);
    await store.compact(); // so that the next one holds segments, however slow compaction is beside it
  }
}, 60_000);

afterAll(async () => {
  await store.close();
  home.remove();
});

async function contentOf(from: LogStore, upTo: number) {
  const found: Record<string, unknown[]> = {};
  for (const stream of ["curated/timed", "landing/plain"]) {
    const rows: [number, unknown][] = [];
    for await (const { batch, sequences, knownTimes } of from.scan(stream, { upTo })) {
      for (let i = 0; i < batch.length; i++) rows.push([sequences[i]!, { ...rowAt(batch, i), known: knownTimes[i] }]);
    }
    found[stream] = rows.sort(([a], [b]) => a - b);
  }
  return found;
}

test("each holds what was committed up to its commit, and both logs go on", async () => {
  expect(manifests.some(({ files }) => files.length > 1)).toBe(true); // compaction had begun
  for (const [b, manifest] of manifests.entries()) {
    expect(manifest.commit_no).toBeGreaterThan(b * 300 + 100);
    const directory = at(`restored ${b}`);
    expect(unpackBackup(at(`${b}.backup`), directory)).toEqual(manifest);
    const restored = await openStore({ ...home.options, thread: false, directory });
    const { commitNo } = await restored.head();
    expect(commitNo).toBe(manifest.commit_no);
    expect(await contentOf(restored, commitNo)).toEqual(await contentOf(store, commitNo));
    expect([await restored.cursor("source"), await restored.position("reader")]).toEqual([
      `cursor ${commitNo}`,
      commitNo,
    ]);
    const report = verifyAudit(restored);
    expect([report.problems, report.size]).toEqual([[], commitNo]);
    await commit(restored, commitNo + 1);
    await restored.compact();
    expect([verifyAudit(restored).problems, (await restored.head()).commitNo]).toEqual([[], commitNo + 1]);
    await restored.close();
  }
  const { commitNo } = await commit(store, 1_201);
  await store.compact();
  expect([verifyAudit(store).problems, commitNo]).toEqual([[], 1_201]);
}, 30_000);

test("nothing readable is in an archive, it is its owner's, and nothing is left beside it", () => {
  const bytes = readFileSync(at("3.backup"));
  for (const mark of ["MARKKEY", "MARKVALUE", "curated/", "cursor", "reader"]) expect(bytes.includes(mark)).toBe(false);
  expect(bytes.includes(readFileSync(at("key")))).toBe(false);
  expect(statSync(at("3.backup")).mode & 0o777).toBe(0o600);
  expect(readdirSync(home.home).filter((name) => name.endsWith(".tmp"))).toEqual([]);
});

test("one flipped bit anywhere, a cut and an addition are refused, and leave nothing", () => {
  const bytes = readFileSync(at("3.backup"));
  const random = seededRandom(11);
  const places = [0, 100, 148, 200, 520, bytes.length - 1, bytes.length - 1_000];
  for (let i = 0; i < 60; i++) places.push(Math.floor(random.next() * bytes.length));
  const refused = (changed: Uint8Array) => {
    writeFileSync(at("changed"), changed);
    try {
      unpackBackup(at("changed"), at("none"));
      return "accepted";
    } catch (cause) {
      return (cause as { code: string }).code;
    }
  };
  for (const place of places) {
    const changed = Uint8Array.from(bytes);
    changed[place]! ^= 1 << (place % 8);
    expect({ place, code: refused(changed) }).toEqual({ place, code: "store.bad_backup" });
  }
  expect(refused(bytes.subarray(0, bytes.length - 512))).toBe("store.bad_backup");
  expect(refused(Buffer.concat([bytes, new Uint8Array(512)]))).toBe("store.bad_backup");
  expect(refused(new Uint8Array(4096))).toBe("store.bad_backup");
  expect(existsSync(at("none"))).toBe(false);
}, 30_000);

test("the commands: beside an open writer, then a proof before the directory is there", async () => {
  const desk = createSmallDesk();
  expect((await desk.run("ingest")).exit).toBe(0);
  const writer = await openStore({
    ...home.options,
    thread: false,
    directory: desk.path("data"),
    keys: { provider: "file", path: desk.path("keys/store.key") },
  });
  const made = await desk.run("backup", "--out", "b.mlpe", "--json");
  await writer.close();
  expect([made.exit, made.errors]).toEqual([0, ""]);
  expect((await desk.run("backup", "--out", "b.mlpe")).errors).toContain("cli.output_exists");
  expect((await desk.run("backup", "--out", "none/b.mlpe")).errors).toContain("store.backup_failed");
  expect((await desk.run("restore", "--from", "b.mlpe")).errors).toContain("store.not_empty");
  expect((await desk.run("restore", "--from", "none.mlpe", "--data", "other")).errors).toContain("store.bad_backup");
  const wrong = await desk.run("restore", "--from", "b.mlpe", "--data", "other", "--set", "keys.path=other.key");
  expect(wrong.errors).toContain("keys.missing_key");
  expect([existsSync(desk.path("other")), existsSync(desk.path("other.restoring"))]).toEqual([false, false]);
  desk.write("other.restoring/log.db", "");
  expect((await desk.run("restore", "--from", "b.mlpe", "--data", "other")).errors).toContain("look what it is");
  expect(existsSync(desk.path("other.restoring/log.db"))).toBe(true);
  rmSync(desk.path("other.restoring"), { recursive: true });
  const back = await desk.run("restore", "--from", "b.mlpe", "--data", "other");
  expect([back.exit, back.output]).toEqual([0, expect.stringContaining("the ledger balances")]);
  const digests = async (data: string) => (await desk.run("streams", "--digest", "--json", "--data", data)).output;
  expect((JSON.parse(await digests("other")) as unknown[]).length).toBeGreaterThan(3);
  // The failed backup after it is known to the directory alone.
  const contents = (text: string) =>
    (JSON.parse(text) as { stream: string; content: unknown }[])
      .filter(({ stream }) => stream !== "backups")
      .map(({ content }) => content);
  expect(contents(await digests("other"))).toEqual(contents(await digests("data")));
  expect((await desk.run("ingest", "--data", "other")).exit).toBe(0);
  expect((await desk.run("restore", "--from", "keys", "--data", "more")).errors).toContain("is a directory");

  // A link leads to where the data is to lie, and stays, whether there is a directory yet or not.
  mkdirSync(desk.path("disk/there"), { recursive: true });
  for (const place of ["there", "new"]) {
    symlinkSync(desk.path(`disk/${place}`), desk.path(`to-${place}`));
    expect((await desk.run("restore", "--from", "b.mlpe", "--data", `to-${place}`)).exit).toBe(0);
    expect(lstatSync(desk.path(`to-${place}`)).isSymbolicLink()).toBe(true);
    expect(existsSync(desk.path(`disk/${place}/log.db`))).toBe(true);
  }
  expect(readdirSync(desk.path("disk")).sort()).toEqual(["new", "there"]);
  desk.remove();
});

test("a directory that is there is restored in place: a killed restore says so, and the next one begins anew", async () => {
  const desk = createSmallDesk();
  expect((await desk.run("ingest")).exit).toBe(0);
  expect((await desk.run("backup", "--out", "b.mlpe")).exit).toBe(0);
  const restore = () => desk.run("restore", "--from", "b.mlpe", "--data", "volume");
  mkdirSync(desk.path("volume/lost+found"), { recursive: true }); // the root of a volume
  const before = statSync(desk.path("volume")).ino;
  expect((await restore()).errors).toBe("");
  expect(readdirSync(desk.path("volume")).sort()).toEqual(["log.db", "lost+found", "segments"]);
  expect(statSync(desk.path("volume"))).toMatchObject({ ino: before });
  expect((await desk.run("audit", "verify", "--data", "volume")).exit).toBe(0);
  expect((await restore()).errors).toContain("store.not_empty");

  // Killed while it moved its copy: log.db is moved last. Killed before it had the lock, and while it unpacked.
  for (const [left, moved] of [
    [["writer.lock", "data/log.db"], true],
    [["writer.lock", "data/log.db", "data/segments/x"], false],
    [[], false],
  ] as const) {
    rmSync(desk.path("volume/log.db"));
    if (!moved) rmSync(desk.path("volume/segments"), { recursive: true });
    mkdirSync(desk.path("volume/.restoring"), { recursive: true });
    for (const name of left) desk.write(`volume/.restoring/${name}`, "");
    for (const command of [["ingest"], ["streams"], ["audit", "verify"]]) {
      const { errors } = await desk.run(...command, "--data", "volume");
      expect(errors).toContain("store.unfinished_restore");
      expect(errors).toContain("mlpe restore");
    }
    expect((await desk.run("doctor", "--data", "volume")).output).toContain("unfinished restore");
    desk.write("volume/mine", "");
    expect((await restore()).errors).toContain("store.not_empty");
    rmSync(desk.path("volume/mine"));
    expect((await restore()).errors).toBe("");
    expect(readdirSync(desk.path("volume")).sort()).toEqual(["log.db", "lost+found", "segments"]);
    expect((await desk.run("audit", "verify", "--data", "volume")).exit).toBe(0);
  }
  desk.remove();
}, 60_000);

/** Takes the directory, unpacks into it and goes on living. */
const RESTORING = `
const { claimForRestore } = await import(process.argv[1]);
const { unpacked } = claimForRestore(process.argv[2]);
require("node:fs").mkdirSync(unpacked + "/segments", { recursive: true });
require("node:fs").writeFileSync(unpacked + "/log.db", "half");
Bun.gc(true); // nothing refers to what the claim gave: its lock stays
console.log("begun");
setInterval(() => {}, 1000);`;

test("what a killed restore left is taken over, what a living one works in is not", async () => {
  const directory = at("killed.restoring");
  const module = join(import.meta.dir, "../../src/store/restore.ts");
  const child = Bun.spawn([process.execPath, "-e", RESTORING, module, directory], { stdout: "pipe" });
  try {
    await child.stdout.getReader().read();
    expect(() => claimForRestore(directory)).toThrow(`process ${child.pid}`);
    expect(readFileSync(join(directory, "data/log.db"), "utf8")).toBe("half");
  } finally {
    child.kill("SIGKILL");
    await child.exited;
  }
  writeFileSync(join(directory, "mine"), "");
  expect(() => claimForRestore(directory)).toThrow("is not empty");
  expect(existsSync(join(directory, "data/log.db"))).toBe(true);
  rmSync(join(directory, "mine"));
  const { unpacked, release } = claimForRestore(directory);
  expect(existsSync(unpacked)).toBe(false);
  expect(() => claimForRestore(directory)).toThrow("is open for writing");
  release();
  expect(existsSync(directory)).toBe(false);
});
