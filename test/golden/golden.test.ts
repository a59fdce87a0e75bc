/**
 * Stores that earlier formats left behind, each on a copy: read as it is, then opened for writing and so migrated, then
 * gone on with. It must fold to what was noted when it was written, every time.
 */
import { Database } from "bun:sqlite";
import { expect, test } from "bun:test";
import { chmodSync, cpSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { verifyAudit } from "../../src/audit/verify.ts";
import { systemRandom } from "../../src/base/random.ts";
import { batchOf } from "../../src/contract/batch.ts";
import { BACKUPS, CONTROL, controlContract, ERASURES, RETENTION } from "../../src/contract/streams.ts";
import { rowsOf } from "../../src/contract/batch.ts";
import { rewrapStore } from "../../src/store/rewrap.ts";
import { type LogStore, type OpenOptions, openStore } from "../../src/store/store.ts";
import { goldenClock, questions, writeContent } from "./content.ts";
import { type Fold, foldOf } from "./digests.ts";

/** What is written by the upkeep that the content has, and not when it is written once more. */
const UPKEEP: ReadonlySet<string> = new Set([BACKUPS, ERASURES, RETENTION]);
const kept = readdirSync(import.meta.dir).filter((name) => /^\d+$/.test(name));
type Expected = Fold & { readonly audit: { readonly size: number; readonly root: string } };

interface Copy {
  readonly options: OpenOptions;
  readonly expected: Expected;
  /** Every file of the directory but the lock and SQLite's shared memory. */
  files(): Map<string, string>;
}

async function withCopy(name: string, use: (copy: Copy) => Promise<void>): Promise<void> {
  const home = mkdtempSync(join(tmpdir(), "mlpe-golden-"));
  try {
    cpSync(join(import.meta.dir, name), home, { recursive: true });
    const path = join(home, "test-only.key");
    chmodSync(path, 0o600);
    const directory = join(home, "data");
    const options = { directory, keys: { provider: "file", path }, clock: goldenClock(), random: systemRandom };
    const files = () => {
      const list = readdirSync(directory, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
      const named = list.map((entry) => join(entry.parentPath, entry.name)).filter((file) => !/-shm$|writer\./.test(file));
      return new Map(named.map((file) => [file.slice(directory.length), sha256Of(file)]));
    };
    await use({ options, expected: JSON.parse(readFileSync(join(home, "expected.json"), "utf8")), files });
  } finally {
    rmSync(home, { recursive: true, force: true });
  }
}

const sha256Of = (path: string) => new Bun.CryptoHasher("sha256").update(readFileSync(path)).digest("hex");

async function holds(store: LogStore, { audit, ...fold }: Expected): Promise<void> {
  expect(await foldOf(store, questions)).toEqual(fold);
  const { size, root, verified, problems } = await verifyAudit(store);
  expect({ size, root, verified, problems: [...problems] }).toEqual({ ...audit, verified: true, problems: [] });
}

test("there is one of each format", () => expect(kept.length).toBeGreaterThan(0));

test.each(kept)("%p is read as it is, and nothing of it changes", async (name) => {
  await withCopy(name, async ({ options, expected, files }) => {
    const before = files();
    const store = await openStore({ ...options, mode: "read" });
    await holds(store, expected);
    await store.close();
    const after = files();
    after.delete("/log.db-wal"); // empty: made with the handle
    expect(after).toEqual(before);
  });
});

test("the newest says of every byte of log.db what it is, and a changed one shows", async () => {
  await withCopy(String(Math.max(...kept.map(Number))), async ({ options }) => {
    const audit = async () => {
      const store = await openStore({ ...options, mode: "read" });
      const { problems, unchecked } = verifyAudit(store);
      await store.close();
      return { problems: problems.map(({ place }) => place), unchecked };
    };
    expect(await audit()).toEqual({ problems: [], unchecked: [] });
    const path = join(options.directory, "log.db");
    const bytes = readFileSync(path);
    bytes[bytes.length - 2_000]! ^= 1;
    writeFileSync(path, bytes);
    expect((await audit()).problems[0]).toStartWith("log.db page");
  });
});

test.each(kept)("%p is migrated, folds to the same, goes on, and verifies again", async (name) => {
  await withCopy(name, async ({ options, expected }) => {
    let store = await openStore(options);
    await holds(store, expected);
    await store.compact();
    await holds(store, expected);
    const row = { kind: "idle", subject: "source", body: "{}", at: 1 };
    const { commitNo, firstSequence } = await store.commit({
      appends: [{ stream: CONTROL, batch: batchOf(controlContract, [row]) }],
    });
    expect([commitNo, firstSequence[CONTROL]]).toEqual([expected.head.commitNo + 1, expected.streams[CONTROL]!.rows]);
    await writeContent(store, goldenClock(), false);
    await store.close();
    store = await openStore(options);
    const { size, problems } = await verifyAudit(store);
    expect([size, problems]).toEqual([(await store.head()).commitNo, []]);
    const { streams } = await foldOf(store, questions);
    expect(Object.keys(streams)).toEqual(Object.keys(expected.streams));
    for (const [stream, { rows }] of Object.entries(streams)) {
      const before = expected.streams[stream]!.rows;
      const wanted = stream === CONTROL ? 2 * before + 1 : UPKEEP.has(stream) ? before : 2 * before;
      expect([stream, rows]).toEqual([stream, wanted]);
    }
    await store.close();
  });
}, 30_000);

/* Rows of format 1 have salts that anyone with the store's salt key can derive again: an erasure says so. */
test.each(kept)("an entity is erased from %p: its rows are gone, the audit verifies, and what can be guessed is told", async (name) => {
  await withCopy(name, async ({ options }) => {
    const store = await openStore(options);
    const places = async () => {
      const found: unknown[] = [];
      for await (const { batch, tombstones } of store.scan("curated/reading"))
        rowsOf(batch).forEach(({ place }, i) => tombstones[i] === 0 && place !== null && found.push(place));
      return found;
    };
    const [place] = await places();
    const { outcome } = await store.erase({ entity: { place: String(place) } });
    expect(outcome.emptied).toBeGreaterThan(0);
    if (name === "1") expect(outcome.guessable).toBeGreaterThan(0);
    else expect(outcome.guessable).toBe(0);
    expect(await places()).not.toContain(place);
    expect((await verifyAudit(store)).problems).toEqual([]);
    await store.close();
    const again = await openStore({ ...options, mode: "read" });
    expect((await verifyAudit(again)).problems).toEqual([]);
    await again.close();
  });
}, 30_000);

test.each(kept)("an older program leaves a newer %p as it is, and says so", async (name) => {
  await withCopy(name, async ({ options, files }) => {
    await (await openStore(options)).close();
    // To a program, a store of a later one is one with a migration that it does not know.
    const database = new Database(join(options.directory, "log.db"));
    database.run("INSERT INTO migrations VALUES (1000, 'later', 'digest')");
    database.run("PRAGMA wal_checkpoint(TRUNCATE)");
    database.close();
    const before = files();
    for (const mode of ["read", "write"] as const) {
      const opened = openStore({ ...options, mode }).then(
        (store) => store.close(),
        (cause: { code?: string }) => cause.code,
      );
      expect(await opened).toBe("store.newer_format");
    }
    const next = { provider: "file", path: `${options.directory}-next.key` };
    const wrapped = rewrapStore(options.directory, options.keys, next, systemRandom).catch((cause) => cause.code);
    expect([await wrapped, existsSync(next.path)]).toEqual(["store.newer_format", false]);
    const after = files();
    for (const path of ["/log.db-wal"]) if (!before.has(path)) after.delete(path);
    expect(after).toEqual(before);
  });
});
