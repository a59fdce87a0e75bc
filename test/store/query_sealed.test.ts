/** Queries over the real sealed log: its tail, its segments, and commits that arrive while a query reads. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import type { Row } from "../../src/base/row.ts";
import { batchOf } from "../../src/contract/batch.ts";
import { streamContract } from "../../src/contract/contract.ts";
import type { ScanOptions } from "../../src/store/port.ts";
import { query } from "../../src/store/query.ts";
import { type LogStore, openStore } from "../../src/store/store.ts";
import { storeHome } from "../support/store_home.ts";

const notes = streamContract({
  name: "notes",
  fields: { id: "long", at: "timestamp", text: "string?", amount: "double?", blob: "bytes?" },
  entity: ["id"],
  eventTime: "at",
  recordId: ["id"],
});
const events = streamContract({ name: "events", fields: { note: "long", kind: "string" }, recordId: "position" });

const home = storeHome();
let store: LogStore;
const note = (id: number | bigint, text: string | null): Row => ({
  id,
  at: 1_700_000_000_000_000 + Number(BigInt(id) % 1000n) * 1_000_000,
  text,
  amount: text === null ? null : Number(BigInt(id) % 1000n) / 4,
  blob: new Uint8Array([1, 2]),
});
const putNotes = (rows: readonly Row[], tombstones?: Uint8Array) =>
  store.commit({
    appends: [{ stream: "curated/notes", batch: batchOf(notes, rows), ...(tombstones ? { tombstones } : {}) }],
  });
const putEvents = (ids: readonly number[]) =>
  store.commit({
    appends: [
      {
        stream: "curated/events",
        batch: batchOf(
          events,
          ids.map((id) => ({ note: id, kind: "seen" })),
        ),
      },
    ],
  });

beforeAll(async () => {
  store = await openStore(home.options);
  await putNotes([note(1, "one"), note(2, "two"), note(3, "three"), note(2n ** 60n + 1n, "big")]);
  await putEvents([1, 1, 2]);
  await store.compact();
  // In the tail: a correction of a compacted row, and the withdrawal of another.
  await putNotes([note(2, "two, corrected"), note(3, null)], Uint8Array.of(0, 1));
  await putEvents([3]);
});

afterAll(async () => {
  await store.close();
  home.remove();
});

test("versions in segments and in the tail are one table", async () => {
  expect((await query(store, "select id, text, amount, at, blob from notes where id < 100 order by id")).rows).toEqual([
    [1, "one", 0.25, "2023-11-14T22:13:21Z", new Uint8Array([1, 2])],
    [2, "two, corrected", 0.5, "2023-11-14T22:13:22Z", new Uint8Array([1, 2])],
  ]);
  expect((await query(store, "select id from notes where id > 1000")).rows).toEqual([[2n ** 60n + 1n]]);
  const versions = await query(
    store,
    "select id, _commit_no, _tombstone from notes_versions where id < 4 order by _sequence",
  );
  expect(versions.rows).toEqual([
    [1, 1, false],
    [2, 1, false],
    [3, 1, false],
    [2, 3, false],
    [3, 3, true],
  ]);
  const joined =
    "select n.text, count(*) from notes n join events e on e.note = n.id where n.id < 100 group by n.id order by n.id";
  expect((await query(store, joined)).rows).toEqual([
    ["one", 2],
    ["two, corrected", 1],
  ]);
});

test("reading beside the writer gives the same answer", async () => {
  const reader = await openStore({ ...home.options, mode: "read" });
  try {
    const sql = "select count(*), sum(amount) from notes";
    expect(await query(reader, sql)).toEqual(await query(store, sql));
  } finally {
    await reader.close();
  }
});

test("all tables of a query see the same commits, also when more arrive while it reads", async () => {
  const before = (await store.head()).commitNo;
  let commits = 0;
  const busy = {
    ...store,
    async *scan(stream: string, options?: ScanOptions) {
      // Each commit adds a note and an event of it: a query that saw one without the other would count a mismatch.
      const id = 500 + commits++;
      await store.commit({
        appends: [
          { stream: "curated/notes", batch: batchOf(notes, [note(id, "new")]) },
          { stream: "curated/events", batch: batchOf(events, [{ note: id, kind: "new" }]) },
        ],
      });
      yield* store.scan(stream, options);
    },
  };
  const sql = `select (select count(*) from notes where id between 500 and 900) - (select count(*) from events where note >= 500),
    (select max(_commit_no) from events_versions)`;
  expect((await query(busy, sql)).rows).toEqual([[0, before]]);
  expect(commits).toBeGreaterThan(2);
  expect((await store.head()).commitNo).toBe(before + commits);
});
