/** Exports against the plainest reading of the same rows: every version in a list, the last one of each id that is no tombstone. */
import { afterEach, expect, test } from "bun:test";
import { concatBytes } from "../../src/base/bytes.ts";
import type { Row } from "../../src/base/row.ts";
import { batchOf } from "../../src/contract/batch.ts";
import { type Contract, streamContract } from "../../src/contract/contract.ts";
import { openParquet, readParquet } from "../../src/contract/parquet.ts";
import { exportStream, type StreamExportOptions } from "../../src/store/export.ts";
import { type LogStore, openStore } from "../../src/store/store.ts";
import { plainContract, timedContract } from "../support/rows.ts";
import { type StoreHome, storeHome } from "../support/store_home.ts";

let home: StoreHome | undefined;
let store: LogStore | undefined;
afterEach(async () => {
  await store?.close();
  home?.remove();
});

async function opened(): Promise<LogStore> {
  home = storeHome();
  store = await openStore(home.options);
  return store;
}

const commit = (to: LogStore, stream: string, contract: Contract, rows: readonly Row[], tombstones?: number[]) =>
  to.commit({
    appends: [
      { stream, batch: batchOf(contract, rows), ...(tombstones ? { tombstones: Uint8Array.from(tombstones) } : {}) },
    ],
  });

async function exported(from: LogStore, name: string, options: StreamExportOptions = {}) {
  const parts: Uint8Array[] = [];
  const found = await exportStream(from, name, options);
  for await (const part of found.parts()) parts.push(part);
  const bytes = concatBytes(parts);
  const file = await openParquet(bytes, "out");
  const rows: Row[] = [];
  for await (const slice of readParquet(file, "out")) rows.push(...slice.rows);
  return { bytes, file, rows };
}

const full = (row: Row): Row => Object.fromEntries(timedContract.fields.map(({ name }) => [name, row[name] ?? null]));

test("the latest version of each record or every version, in order, the same bytes compacted or not", async () => {
  const log = await opened();
  const versions: { row: Row; gone: boolean }[] = [];
  for (let c = 0; c < 12; c++) {
    const rows = Array.from({ length: 7 }, (_, i) => ({
      id: `r${(c * 5 + i * 3) % 20}`,
      at: c * 1_000_000 + i,
      count: c === 3 ? 9_007_199_254_740_993n : c,
      open: i % 2 === 0,
      day: c - 5,
      payload: new Uint8Array([c, i]),
    }));
    const gone = rows.map((_, i) => (c % 4 === 1 && i === 2 ? 1 : 0));
    rows.forEach((row, i) => void versions.push({ row: full(row), gone: gone[i] === 1 }));
    await commit(log, "curated/timed", timedContract, rows, gone);
  }
  const last = new Map(versions.map(({ row }, index) => [row.id, index]));
  const latest = versions.filter(({ row, gone }, index) => last.get(row.id!) === index && !gone);
  expect(latest.length).toBeLessThan(20);
  const before = await exported(log, "timed");
  expect(before.rows).toEqual(latest.map(({ row }) => row));
  const shown = before.file.columns.map(({ name, type, nullable }) => [name, type, nullable]);
  expect(shown).toEqual(timedContract.fields.map(({ name, type, nullable }) => [name, type, nullable]));
  const all = await exported(log, "curated/timed", { versions: true, columns: ["count", "id"] });
  expect(all.rows.map(({ _known_time, ...row }) => row)).toEqual(
    versions.map(({ row, gone }, index) => ({
      count: row.count!,
      id: row.id!,
      _sequence: index,
      _commit_no: Math.floor(index / 7) + 1,
      _tombstone: gone,
    })),
  );
  const [from, to] = [3_000_000, 5_000_000];
  const inside = latest.filter(({ row }) => Number(row.at) >= from && Number(row.at) <= to);
  expect((await exported(log, "timed", { from, to })).rows).toEqual(inside.map(({ row }) => row));
  await log.compact();
  expect(Buffer.compare((await exported(log, "timed")).bytes, before.bytes)).toBe(0);
});

test("rows of several contracts become one table, and what can't is refused", async () => {
  const log = await opened();
  const older = streamContract({ name: "n", fields: { id: "long", a: "int", gone: "string" }, recordId: ["id"] });
  const newer = streamContract({ name: "n", fields: { id: "long", a: "double", b: "string" }, recordId: ["id"] });
  await commit(log, "curated/n", older, [{ id: 1, a: 7, gone: "x" }]);
  await commit(log, "curated/n", newer, [{ id: 2, a: 0.5, b: "y" }]);
  const { rows, file } = await exported(log, "n");
  expect(rows).toEqual([
    { id: 1, a: 7, b: null, gone: "x" },
    { id: 2, a: 0.5, b: "y", gone: null },
  ]);
  expect(file.columns.map(({ type, nullable }) => `${type}${nullable ? "?" : ""}`)).toEqual([
    "long",
    "double",
    "string?",
    "string?",
  ]);
  const other = streamContract({ name: "n", fields: { id: "long", a: "string" }, recordId: ["id"] });
  await commit(log, "curated/n", other, [{ id: 3, a: "z" }]);
  const refused = (options: StreamExportOptions, name = "n") =>
    exported(log, name, options).then(
      () => "accepted",
      (cause) => cause.code,
    );
  expect(await refused({})).toBe("store.export_refused");
  expect((await exported(log, "n", { columns: ["id"] })).rows).toEqual([{ id: 1 }, { id: 2 }, { id: 3 }]);
  expect(await refused({ columns: ["id", "nothing"] })).toBe("store.export_refused");
  expect(await refused({ columns: ["id", "id"] })).toBe("store.export_refused");
  expect(await refused({ from: 0 })).toBe("store.export_refused");
  expect(await refused({}, "m")).toBe("store.unknown_stream");
});

test("rows with long byte strings come in row groups of bounded size", async () => {
  const log = await opened();
  for (let c = 0; c < 5; c++) {
    const body = new Uint8Array(9 << 20).fill(c);
    await commit(log, "landing/plain", plainContract, [{ kind: "k", body, at: c }]);
  }
  const { file, rows } = await exported(log, "landing/plain");
  expect(rows.map(({ body }) => (body as Uint8Array)[0])).toEqual([0, 1, 2, 3, 4]);
  expect(file.footer.row_groups.map(({ num_rows }) => Number(num_rows))).toEqual([4, 1]);
});
