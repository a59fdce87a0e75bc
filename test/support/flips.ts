import { Database } from "bun:sqlite";
import { cpSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join, relative } from "node:path";
import { checkpoint } from "../../src/audit/checkpoint.ts";
import { verifyAudit } from "../../src/audit/verify.ts";
import { sha256Hex } from "../../src/base/digest.ts";
import { seededRandom } from "../../src/base/random.ts";
import { batchOf } from "../../src/contract/batch.ts";
import { openStore } from "../../src/store/store.ts";
import { plainContract, timedContract } from "./rows.ts";
import { type StoreHome, storeHome } from "./store_home.ts";

/**
 * `found`: the audit names the damage, or the store does not open and says so. `nothing`: every row of every table reads
 * as before: the bit belongs to none (unused places of pages, pages that the write-ahead log replaces). `missed`: neither.
 */
export interface Flip {
  readonly file: string;
  readonly byte: number;
  readonly bit: number;
  readonly outcome: "found" | "nothing" | "missed";
  /** Whether what was said names the file, or a row, commit or table in it. */
  readonly named: boolean;
  readonly said: string;
}

/** A page, a table or what a row of it is; `said` is a list of places, or why the store does not open. */
const NAMED =
  /log\.(?:db|sums)|table |data key|stream|secret|state|segment|commit|fold|upkeep|migration|malformed database schema|database disk image|not a database|data_keys/;

/** Files that hold nothing: the number of the last writer's process, and what SQLite makes anew. */
const NO_CONTENT = /^(?:writer\.pid|log\.db-shm)$/;

/**
 * A store with segments, an erasure and a retention: `closed`, or `killed`, which is to say copied while it is open, with
 * a tail that is still in the write-ahead log, and old frames behind it. The same bytes each time, but for what names the
 * system's run. `flip` is a function of its seed.
 */
export async function damagedHome(left: "closed" | "killed"): Promise<{
  home: StoreHome;
  note: string;
  flip: (seed: number) => Promise<Flip>;
}> {
  let now = 1_700_000_000_000_000;
  const home = storeHome({ clock: { now: () => (now += 1_000) }, random: seededRandom(0) });
  const { directory } = home.options;
  const base = `${directory}-base`;
  const store = await openStore(home.options);
  const fill = async (from: number, commits: number) => {
    for (let c = from; c < from + commits; c++) {
      const rows = Array.from({ length: 30 }, (_, i) => ({
        id: `r${c}-${i}`,
        place: i % 7 ? "JFK" : "LGA",
        gate: i,
        at: c * 100 + i,
      }));
      await store.commit({
        appends: [
          { stream: "curated/timed", batch: batchOf(timedContract, rows as never) },
          {
            stream: "landing/plain",
            batch: batchOf(plainContract, [{ kind: "k", body: new Uint8Array(200).fill(c), at: c }]),
          },
        ],
        cursors: { source: `line ${c}` },
      });
    }
  };
  for (let turn = 0; turn < 9; turn++) {
    await fill(turn * 3 + 1, 3);
    await store.compact();
  }
  await store.erase({ entity: { place: "LGA", gate: "7" } });
  await store.retain({ rules: [{ streams: "landing/*", bytes: 1_500 }] });
  await fill(28, 6);
  await store.checkpoint("PASSIVE"); // what it moved stays in the write-ahead log until others take its place
  await fill(34, 2);
  const note = checkpoint(store);
  if (left === "closed") await store.close();
  cpSync(directory, base, { recursive: true });
  if (left === "killed") await store.close();
  const before = await onCopy(base, contentOf);
  const named = await onCopy(base, filesNamed);
  const files = readdirSync(base, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && !NO_CONTENT.test(entry.name))
    .map((entry) => relative(base, join(entry.parentPath, entry.name)))
    .sort()
    // After a kill, files that no row names any more are of nothing: the next start removes them.
    .filter((file) => left === "closed" || !file.startsWith("segments/") || named.has(file.slice("segments/".length)))
    .map((file) => ({ file, size: readFileSync(join(base, file)).length }));
  const total = files.reduce((sum, { size }) => sum + size, 0);
  return {
    home,
    note,
    async flip(seed) {
      const random = seededRandom(seed);
      let byte = Math.floor(random.next() * total);
      const bit = Math.floor(random.next() * 8);
      const { file } = files.find(({ size }) => {
        if (byte < size) return true;
        byte -= size;
        return false;
      })!;
      return judge(home, base, before, { file, byte, bit }, note);
    },
  };
}

async function judge(
  { options }: StoreHome,
  base: string,
  before: string,
  place: { file: string; byte: number; bit: number },
  note: string,
): Promise<Flip> {
  return onCopy(base, async (directory) => {
    const path = join(directory, place.file);
    const bytes = readFileSync(path);
    bytes[place.byte]! ^= 1 << place.bit;
    writeFileSync(path, bytes);
    const said = await complaint({ ...options, directory }, note);
    if (said !== undefined) {
      const name = place.file.replace(/^segments\//, "");
      const named = place.file.startsWith("segments/") ? said.includes(name) : NAMED.test(said);
      return { ...place, outcome: "found", named, said };
    }
    return { ...place, outcome: contentOf(directory) === before ? "nothing" : "missed", named: false, said: "" };
  });
}

async function onCopy<T>(base: string, look: (directory: string) => T | Promise<T>): Promise<T> {
  const directory = `${base}-${Bun.randomUUIDv7()}`;
  cpSync(base, directory, { recursive: true });
  rmSync(join(directory, "log.db-shm"), { force: true }); // made anew from the log, as after a crash
  try {
    return await look(directory);
  } finally {
    rmSync(directory, { recursive: true });
  }
}

/** Segment files that the catalogue names; replaced ones are there for a while yet, and of no store. */
function filesNamed(directory: string): Set<string> {
  const database = new Database(join(directory, "log.db"), { readwrite: true });
  try {
    return new Set(
      database
        .query<{ file: string }, []>("SELECT file FROM segments")
        .all()
        .map(({ file }) => file),
    );
  } finally {
    database.close();
  }
}

async function complaint(options: StoreHome["options"], note: string): Promise<string | undefined> {
  try {
    const store = await openStore({ ...options, mode: "read" });
    try {
      const { problems } = verifyAudit(store, { checkpoint: note });
      return problems.length === 0 ? undefined : JSON.stringify(problems);
    } finally {
      await store.close();
    }
  } catch (cause) {
    return String(cause);
  }
}

/** A digest of every row of every table, and of the bytes of every segment file. */
function contentOf(directory: string): string {
  const database = new Database(join(directory, "log.db"), { readwrite: true });
  try {
    const tables = database
      .query<{ name: string; sql: string }, []>("SELECT name, sql FROM sqlite_master ORDER BY name")
      .all();
    const rows = tables
      .filter(({ sql }) => sql?.startsWith("CREATE TABLE"))
      .map(({ name }) => database.query<Record<string, unknown>, []>(`SELECT * FROM ${name}`).all());
    const segments = readdirSync(join(directory, "segments"))
      .sort()
      .map((file) => readFileSync(join(directory, "segments", file)).toString("base64"));
    const plain = JSON.stringify([tables, rows, segments], (_, value) =>
      value instanceof Uint8Array ? Buffer.from(value).toString("base64") : value,
    );
    return sha256Hex(plain);
  } finally {
    database.close();
  }
}
