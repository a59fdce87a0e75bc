import { Database } from "bun:sqlite";
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { cpSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { checkpoint, readCheckpoint, treeHead, verifierKey } from "../../src/audit/checkpoint.ts";
import { inclusionProof } from "../../src/audit/inclusion.ts";
import { consistencyPath, inclusionPath, rootFromPath, treeRoot } from "../../src/audit/proofs.ts";
import { verifyAudit } from "../../src/audit/verify.ts";
import { sha256 } from "../../src/base/digest.ts";
import { seededRandom } from "../../src/base/random.ts";
import { batchOf } from "../../src/contract/batch.ts";
import { type LogStore, openStore } from "../../src/store/store.ts";
import { addLeaf, rootOf } from "../../src/store/tree.ts";
import { plainContract, timedContract } from "../support/rows.ts";
import { type StoreHome, storeHome } from "../support/store_home.ts";

/*
 * A store with compacted commits and a tail is made once; each test works on a copy of its directory, so that one
 * flipped bit is all that is wrong in it.
 */
let original: StoreHome;
let note: string;
let earlier: string;

async function fill(store: LogStore, from: number, commits: number): Promise<void> {
  for (let c = from; c < from + commits; c++) {
    const rows = Array.from({ length: 5 }, (_, i) => ({
      id: `r${c}-${i}`,
      place: i % 2 ? "JFK" : "LGA",
      gate: i,
      at: c * 10 + i,
      amount: c / 3,
      note: `note ${c} ${i}`,
    }));
    const plain = [{ kind: "k", body: new Uint8Array([c, 1, 2, 3]), at: c }];
    await store.commit({
      appends: [
        { stream: "curated/timed", batch: batchOf(timedContract, rows as never) },
        ...(c % 2 ? [{ stream: "landing/plain", batch: batchOf(plainContract, plain) }] : []),
      ],
      cursors: { source: `cursor ${c}` },
      readers: { reader: c },
    });
  }
}

beforeAll(async () => {
  original = storeHome();
  const store = await openStore(original.options);
  await fill(store, 1, 12);
  earlier = checkpoint(store);
  await store.compact();
  await fill(store, 13, 9);
  await store.compact();
  await fill(store, 22, 6);
  note = checkpoint(store);
  await store.close();
  rmSync(join(original.options.directory, "log.sums")); // what the rest finds by itself
});
afterAll(() => original.remove());

async function onCopy<T>(
  change: (directory: string) => void,
  look: (store: LogStore) => Promise<T> | T,
): Promise<T | string> {
  const directory = `${original.options.directory}-${Bun.randomUUIDv7()}`;
  cpSync(original.options.directory, directory, { recursive: true });
  try {
    change(directory);
    const store = await openStore({ ...original.options, directory, mode: "read" }).catch((cause) =>
      String(cause.code),
    );
    if (typeof store === "string") return store;
    try {
      return await look(store);
    } finally {
      await store.close();
    }
  } finally {
    rmSync(directory, { recursive: true });
  }
}

/** True where the damage is found: by the audit, or already on opening with a clear error. */
async function isFound(change: (directory: string) => void): Promise<boolean> {
  const outcome = await onCopy(change, (store) => verifyAudit(store));
  return typeof outcome === "string"
    ? /^(store|keys)\./.test(outcome)
    : !outcome.verified && outcome.problems.length > 0;
}

describe("the audit of content", () => {
  test("finds nothing wrong in a store that was left alone", async () => {
    const report = await onCopy(
      () => {},
      (store) => verifyAudit(store, { checkpoint: note }),
    );
    expect(report).toMatchObject({ size: 27, verified: true, problems: [], rows: 27 * 5 + 14 });
  });

  test("finds any flipped bit of a segment file, and names it", async () => {
    const files = readdirSync(join(original.options.directory, "segments"));
    expect(files.length).toBeGreaterThan(3);
    const random = seededRandom(7);
    for (let run = 0; run < 60; run++) {
      const file = files[run % files.length]!;
      const found = await onCopy(
        (directory) => {
          const path = join(directory, "segments", file);
          const bytes = readFileSync(path);
          bytes[Math.floor(random.next() * bytes.length)]! ^= 1 << Math.floor(random.next() * 8);
          writeFileSync(path, bytes);
        },
        (store) => verifyAudit(store),
      );
      expect(found).toMatchObject({ verified: false });
      expect(JSON.stringify((found as { problems: unknown }).problems)).toContain(file);
    }
  });

  test("finds any flipped bit of any row of any table", async () => {
    const random = seededRandom(11);
    const cells = cellsOf(original.options.directory);
    expect(new Set(cells.map(({ table }) => table)).size).toBeGreaterThanOrEqual(10);
    for (let run = 0; run < 240; run++) {
      const cell = cells[run % cells.length]!;
      const bit = random.next();
      const found = await isFound((directory) => flipCell(directory, cell, bit));
      expect({ cell, bit, found }).toEqual({ cell, bit, found: true });
    }
  }, 60_000);

  test("finds a segment, a commit or a row that is gone", async () => {
    const [file] = readdirSync(join(original.options.directory, "segments"));
    expect(await isFound((directory) => rmSync(join(directory, "segments", file!)))).toBe(true);
    for (const statement of [
      "DELETE FROM commits WHERE commit_no = 24",
      "DELETE FROM segments WHERE segment_id = 1",
      "DELETE FROM contracts WHERE contract_id = 1",
      "DELETE FROM streams WHERE stream_id = 0",
      "DELETE FROM secrets WHERE name = 'signing'",
      "UPDATE commits SET record = (SELECT record FROM commits WHERE commit_no = 25) WHERE commit_no = 24",
    ]) {
      expect({ statement, found: await isFound((directory) => edit(directory, statement)) }).toEqual({
        statement,
        found: true,
      });
    }
  });

  test("a checkpoint kept elsewhere shows a rolled-back directory", async () => {
    const rollBack = (directory: string) => edit(directory, "DELETE FROM commits WHERE commit_no = 27");
    expect(await onCopy(rollBack, (store) => verifyAudit(store))).toMatchObject({ verified: true, size: 26 });
    expect(await onCopy(rollBack, (store) => verifyAudit(store, { checkpoint: note }))).toMatchObject({
      verified: false,
    });
    expect(
      await onCopy(
        () => {},
        (store) => verifyAudit(store, { checkpoint: earlier }),
      ),
    ).toMatchObject({ verified: true });
  });

  test("a checkpoint is signed, and an altered one is refused", async () => {
    await onCopy(
      () => {},
      (store) => {
        expect(readCheckpoint(note, store)).toEqual(treeHead(store));
        expect(verifierKey(store)).toMatch(/^mlpe\/[0-9a-f]{32}\+[0-9a-f]{8}\+[A-Za-z0-9+/=]{44}$/);
        const forged = note.replace("\n27\n", "\n26\n");
        expect(() => readCheckpoint(forged, store)).toThrow("signature");
        expect(() => readCheckpoint("27", store)).toThrow("form");
      },
    );
  });

  test("an inclusion proof leads from every commit to the root", async () => {
    await onCopy(
      () => {},
      (store) => {
        const { root, size } = treeHead(store);
        for (let commitNo = 1; commitNo <= size; commitNo++) {
          const { leaf, path } = inclusionProof(store, commitNo);
          expect(rootFromPath(leaf, commitNo - 1, size, path)).toEqual(root);
          expect(rootFromPath(leaf, commitNo % size, size, path)).not.toEqual(root);
        }
        expect(() => inclusionProof(store, size + 1)).toThrow("commit");
      },
    );
  });
});

test("the frontier gives the root of the whole tree, and consistency paths are those of RFC 6962", () => {
  const leaves = Array.from({ length: 70 }, (_, i) => sha256(String(i)));
  let frontier: readonly Uint8Array[] = [];
  leaves.forEach((leaf, i) => {
    frontier = addLeaf(frontier, i, leaf);
    expect(rootOf(frontier)).toEqual(treeRoot(leaves.slice(0, i + 1)));
  });
  // The example of RFC 6962, 2.1.3: seven leaves.
  const seven = leaves.slice(0, 7);
  const [a, b, c, d, e, f, j] = seven as [Uint8Array, ...Uint8Array[]];
  const node = (...parts: Uint8Array[]) => treeRoot(parts);
  expect(inclusionPath(seven, 0)).toEqual([b!, node(c!, d!), node(e!, f!, j!)]);
  expect(inclusionPath(seven, 6)).toEqual([node(e!, f!), node(a, b!, c!, d!)]);
  expect(consistencyPath(seven, 3)).toEqual([c!, d!, node(a, b!), node(e!, f!, j!)]);
  expect(consistencyPath(seven, 4)).toEqual([node(e!, f!, j!)]);
  expect(consistencyPath(seven, 6)).toEqual([node(e!, f!), j!, node(a, b!, c!, d!)]);
});

interface Cell {
  readonly table: string;
  readonly column: string;
  readonly rowid: number;
}

function withDatabase<T>(directory: string, use: (database: Database) => T): T {
  const database = new Database(join(directory, "log.db"));
  try {
    return use(database);
  } finally {
    database.close();
  }
}

const edit = (directory: string, statement: string) => withDatabase(directory, (database) => database.run(statement));

/** Every cell of every row. */
function cellsOf(directory: string): Cell[] {
  return withDatabase(directory, (database) => {
    const tables = database.query<{ name: string }, []>("SELECT name FROM sqlite_master WHERE type = 'table'").all();
    return tables.flatMap(({ name: table }) => {
      const columns = database.query<{ name: string }, []>(`PRAGMA table_info(${table})`).all();
      const rows = database.query<{ rowid: number }, []>(`SELECT rowid AS rowid FROM ${table}`).all();
      return columns.flatMap(({ name: column }) => rows.map(({ rowid }) => ({ table, column, rowid })));
    });
  });
}

/** One bit of the cell, `at` of the way through it: of an integer, of a blob, or of a text. */
function flipCell(directory: string, { table, column, rowid }: Cell, at: number): void {
  withDatabase(directory, (database) => {
    database.run("PRAGMA ignore_check_constraints = ON");
    const value = Object.values(
      database.query<Record<string, unknown>, [number]>(`SELECT ${column} FROM ${table} WHERE rowid = ?`).get(rowid)!,
    )[0];
    const set = (changed: string | number | Uint8Array) =>
      database.run(`UPDATE ${table} SET ${column} = ? WHERE rowid = ?`, [changed, rowid]);
    if (typeof value === "number") {
      let changed = value + (Math.floor(value / 2 ** Math.floor(at * 8)) % 2 === 0 ? 1 : -1) * 2 ** Math.floor(at * 8);
      // A number that another row has would be refused as a duplicate: flip a bit that no row uses.
      if (column.endsWith("_no") || column.endsWith("_id") || column === "number") changed = value + 1024;
      set(changed);
      return;
    }
    const bytes = typeof value === "string" ? Buffer.from(value) : Buffer.from(value as Uint8Array);
    const bit = Math.floor(at * bytes.length * (typeof value === "string" ? 7 : 8));
    if (typeof value === "string") bytes[Math.floor(bit / 7)]! ^= 1 << (bit % 7);
    else bytes[bit >> 3]! ^= 1 << (bit & 7);
    set(typeof value === "string" ? bytes.toString() : new Uint8Array(bytes));
  });
}
