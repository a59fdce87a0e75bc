import { Database } from "bun:sqlite";
import { afterEach, expect, test } from "bun:test";
import { cpSync, existsSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { verifyAudit } from "../../src/audit/verify.ts";
import { fromHex } from "../../src/base/bytes.ts";
import type { Row } from "../../src/base/row.ts";
import { batchOf, rowsOf } from "../../src/contract/batch.ts";
import { streamContract } from "../../src/contract/contract.ts";
import { readSecret, readState } from "../../src/store/catalogue.ts";
import { erasedEntities } from "../../src/store/erased.ts";
import { leavesOf } from "../../src/store/leaves.ts";
import { storedRows } from "../../src/store/port.ts";
import { query } from "../../src/store/query.ts";
import { decompress } from "../../src/store/record.ts";
import { saltsOf } from "../../src/store/salts.ts";
import { chunkBinder } from "../../src/store/segment_format.ts";
import { readSegmentInfos, type SegmentInfo } from "../../src/store/segment_info.ts";
import { STATEMENTS, statedCommits } from "../../src/store/statements.ts";
import { type LogStore, openStore } from "../../src/store/store.ts";
import { type StoreHome, storeHome } from "../support/store_home.ts";

/*
 * An entity is erased from a log with segments of two levels and a tail. Whoever holds all keys, the files as they are
 * and the segment files as they were before tries to open everything that ever was: nothing of the entity may come out.
 */
const GONE = "N14228-gone";
const flights = streamContract({
  name: "flights",
  fields: { id: "string", tailnum: "string?", at: "timestamp", delay: "double?", count: "long?", note: "string?" },
  entity: ["tailnum"],
  eventTime: "at",
  recordId: ["id"],
});
const pages = streamContract({ name: "pages", fields: { payload: "bytes", format: "string" }, recordId: "position" });

const homes: StoreHome[] = [];
afterEach(() => {
  for (const { remove } of homes.splice(0)) remove();
});

const secretOf = (commit: number) => `secret-of-${commit}-${GONE}`;

async function fill(store: LogStore, from: number, commits: number, rows = 40): Promise<void> {
  for (let c = from; c < from + commits; c++) {
    const list = Array.from({ length: rows }, (_, i) => ({
      id: `r${c}-${i}`,
      tailnum: i % 10 === 3 ? GONE : `N${i}`,
      at: c * 1_000 + i,
      delay: i % 10 === 3 ? 777_000.5 + c : i / 2,
      count: i % 10 === 3 ? 2n ** 60n + BigInt(c) : i,
      note: i % 10 === 3 ? secretOf(c) : `note ${i}`,
    }));
    const payload = new TextEncoder().encode(`one\n${GONE},${secretOf(c)}\nthree\n`);
    await store.commit({
      appends: [
        { stream: "curated/flights", batch: batchOf(flights, list as never) },
        { stream: "landing/flights", batch: batchOf(pages, [{ payload, format: "lines" }]) },
      ],
      cursors: { flights: `line ${c}, by ${GONE}` },
      readers: { reader: c },
    });
  }
}

async function filled(): Promise<{ home: StoreHome; store: LogStore }> {
  const home = storeHome();
  homes.push(home);
  const store = await openStore(home.options);
  for (let turn = 0; turn < 8; turn++) {
    await fill(store, 1 + turn * 3, 3, turn === 4 ? 700 : 40);
    await store.compact(); // the eighth turn merges
  }
  await fill(store, 25, 3);
  await store.compact();
  await fill(store, 28, 2);
  return { home, store };
}

/** Raw pages lose the line that names the entity. */
const withoutLines = (store: LogStore) => async () => {
  const replaced: { sequence: number; row: Row }[] = [];
  for await (const { batch, sequences } of store.scan("landing/flights")) {
    rowsOf(batch).forEach((row, i) => {
      const text = new TextDecoder().decode(row.payload as Uint8Array);
      if (!text.includes(GONE)) return;
      const kept = text.split("\n").filter((line) => !line.includes(GONE));
      replaced.push({ sequence: sequences[i]!, row: { ...row, payload: new TextEncoder().encode(kept.join("\n")) } });
    });
  }
  return [{ stream: "landing/flights", emptied: [], replaced }];
};

/** A source's position says how far it is, and no more what was read there. */
const cursors = async () => ({ flights: "line 29" });

const erase = (store: LogStore) => store.erase({ entity: { tailnum: GONE }, also: withoutLines(store), cursors });

async function allRows(store: LogStore, stream = "curated/flights"): Promise<Row[]> {
  const found: { sequence: number; row: Row }[] = [];
  for await (const stored of store.scan(stream)) {
    rowsOf(stored.batch).forEach((row, i) => {
      found.push({ sequence: stored.sequences[i]!, row });
    });
  }
  return found.sort((a, b) => a.sequence - b.sequence).map(({ row }) => row);
}

/** What `streams` says is there of each stream. */
const counted = async (store: LogStore) =>
  Object.fromEntries((await store.streams()).map((info) => [info.stream, storedRows(info)]));

async function tailRows(store: LogStore, stream: string): Promise<Row[]> {
  const rows: Row[] = [];
  for (let after = 0; ; ) {
    const page = await store.tail(after, [stream], 500);
    rows.push(...page.rows.flatMap(({ batch }) => rowsOf(batch)));
    after = page.upTo;
    if (page.upTo >= page.head.commitNo) return rows;
  }
}

function filesOf(directory: string): { path: string; bytes: Buffer }[] {
  return readdirSync(directory, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .map((path) => ({ path, bytes: readFileSync(path) }));
}

const NEEDLES = [GONE, "secret-of-", Buffer.from(new Float64Array([777_001.5]).buffer)];

/** Every chunk of the segment that opens under these keys and nonce, unpacked. */
function openedChunks(store: LogStore, info: SegmentInfo, bytes: Buffer, nonce: string, keyId: number): Uint8Array[] {
  const { keyring, storeId } = store.sealer;
  const keys = keyring.chunks(keyId, fromHex(nonce));
  const { fingerprint } = store.reader.names.contractOf(info.contractId);
  const bound = chunkBinder(storeId, info.file, info.stream, fingerprint);
  const opened: Uint8Array[] = [];
  for (const [chunk, { from, to }] of chunkPlaces.get(info.file)!.entries()) {
    const plain = keys.open(chunk, bytes.subarray(from, to), bound(chunk));
    if (plain) opened.push(decompress(plain));
  }
  return opened;
}

/** Where each chunk of each file began, by file: noted while the footers could be read. */
const chunkPlaces = new Map<string, { from: number; to: number }[]>();

function notePlaces(store: LogStore): SegmentInfo[] {
  const infos = readSegmentInfos(store.reader.database, store.sealer);
  for (const info of infos) {
    const { chunkLengths } = store.reader.segments.open(info).footer;
    const places: { from: number; to: number }[] = [];
    let at = 0;
    for (const length of chunkLengths) {
      places.push({ from: at, to: at + length });
      at += length;
    }
    chunkPlaces.set(info.file, [...places, { from: info.footerAt, to: info.bytes }]);
  }
  return infos;
}

const holds = (bytes: Uint8Array) => NEEDLES.some((needle) => Buffer.from(bytes).includes(needle));

/** Every sealed blob of the database: records, catalogue rows, keys, folds. */
const sealedBlobs = (directory: string): Buffer[] =>
  blobsOf(directory, "SELECT record AS blob FROM commits", "SELECT sealed AS blob FROM segments");

function blobsOf(directory: string, ...queries: readonly string[]): Buffer[] {
  const database = new Database(join(directory, "log.db"), { readwrite: true });
  try {
    return queries.flatMap((sql) =>
      database
        .query<{ blob: Uint8Array }, []>(sql)
        .all()
        .map(({ blob }) => Buffer.from(blob)),
    );
  } finally {
    database.close();
  }
}

test("with all keys in hand, nothing of an erased entity comes out of any byte that ever was", async () => {
  const { home, store } = await filled();
  const { directory } = home.options;
  const tailRecords = sealedBlobs(directory);
  expect(tailRecords.length).toBeGreaterThan(4);
  await store.compact();
  const before = notePlaces(store);
  const oldFiles = new Map(before.map(({ file }) => [file, readFileSync(join(directory, "segments", file))]));
  const oldBlobs = [...tailRecords, ...sealedBlobs(directory)];
  // The attack works while the rows are there.
  const found = before.filter((info) =>
    openedChunks(store, info, oldFiles.get(info.file)!, info.nonce, info.keyId).some(holds),
  );
  expect(new Set(found.map(({ stream }) => stream))).toEqual(new Set(["curated/flights", "landing/flights"]));

  // A server notes the entity's name, sealed, until it is done.
  const pending = { entity: { tailnum: GONE }, ahead: false };
  const state = () => blobsOf(directory, "SELECT sealed AS blob FROM state");
  await store.pending.pend(pending);
  expect(store.pending.erasures()).toEqual([pending]);
  oldBlobs.push(...state());
  expect(JSON.stringify(readState(store.reader.database, store.sealer).cursors)).toContain(GONE);
  const { outcome } = await erase(store);
  expect(readState(store.reader.database, store.sealer).cursors).toEqual({ flights: "line 29" });
  expect(await store.cursor("flights")).toBe("line 29");
  oldBlobs.push(...state());
  await store.pending.done(pending);
  expect(store.pending.erasures()).toEqual([]);
  expect(outcome).toMatchObject({ guessable: 0, scrubbed: true, replaced: 29 });
  expect(outcome.emptied).toBe((3 * 700 + 26 * 40) / 10);
  const after = notePlaces(store);
  const open = filesOf(directory);
  await store.close();

  const files = [...open, ...filesOf(directory)];
  for (const { path, bytes } of files) expect({ path, found: holds(bytes) }).toEqual({ path, found: false });
  const left = new Set(after.map(({ file }) => file));
  const changed = before.filter(({ file }) => !left.has(file));
  expect(changed.length).toBeGreaterThanOrEqual(found.length);
  for (const info of found) expect(left.has(info.file)).toBe(false);
  // Old segments: every key with every nonce that is anywhere now.
  const keyIds = new Set([...before, ...after].map(({ keyId }) => keyId));
  for (const info of changed) {
    for (const { nonce } of after) {
      for (const keyId of keyIds) {
        expect(openedChunks(store, info, oldFiles.get(info.file)!, nonce, keyId)).toEqual([]);
      }
    }
  }
  // Present segments: every chunk opens, and none holds anything.
  for (const info of after) {
    const bytes = readFileSync(join(directory, "segments", info.file));
    const opened = openedChunks(store, info, bytes, info.nonce, info.keyId);
    expect(opened.length).toBe(chunkPlaces.get(info.file)!.length);
    expect({ file: info.file, found: opened.some(holds) }).toEqual({ file: info.file, found: false });
  }
  // Old records and old catalogue rows, which carry their nonces, are in no file: not whole and not in parts.
  const live = new Set(sealedBlobs(directory).map((blob) => blob.toString("latin1")));
  for (const blob of oldBlobs) {
    if (live.has(blob.toString("latin1"))) continue;
    for (let at = 0; at + 32 <= blob.length; at += 32) {
      const window = blob.subarray(at, at + 32);
      expect(files.some(({ bytes }) => bytes.includes(window))).toBe(false);
    }
  }
});

test("erased rows are shown nowhere, the others everywhere, and the audit holds through what comes after", async () => {
  const { home, store } = await filled();
  const expected = (await allRows(store)).filter(({ tailnum }) => tailnum !== GONE);
  const { commitNo } = (await erase(store)).outcome;
  const look = async (log: LogStore) => {
    expect(await allRows(log)).toEqual(expected);
    expect(await tailRows(log, "curated/flights")).toEqual(expected);
    expect(await counted(log)).toMatchObject({ "curated/flights": expected.length, "landing/flights": 29 });
    expect((await query(log, "select count(*) from flights_versions")).read).toMatchObject([
      { stored: expected.length, read: expected.length },
    ]);
    expect(await log.asOf("curated/flights", [{ entity: [GONE], at: 1e9 }])).toEqual([null]);
    expect(await log.asOf("curated/flights", [{ entity: ["N5"], at: 1e9 }])).not.toEqual([null]);
    for (const { payload } of await allRows(log, "landing/flights")) {
      expect(new TextDecoder().decode(payload as Uint8Array)).toBe("one\nthree\n");
    }
    expect(verifyAudit(log)).toMatchObject({ verified: true, problems: [], erased: 314 + 29 });
  };
  await look(store);
  await store.close();
  const again = await openStore(home.options);
  expect((await again.head()).commitNo).toBe(commitNo);
  await look(again);
  for (let turn = 0; turn < 8; turn++) {
    await again.commit({ appends: [], cursors: { flights: `later ${turn}` } });
    await again.compact();
  }
  await look(again);
  // A second erasure finds what was replaced already replaced, and erases another entity beside it.
  await again.erase({ entity: { tailnum: "N5" }, also: withoutLines(again) });
  expect((await allRows(again)).some(({ tailnum }) => tailnum === "N5")).toBe(false);
  expect(verifyAudit(again)).toMatchObject({ verified: true, problems: [] });
  await again.close();
});

test("the kept leaf can't be guessed from: the salt comes from nothing that is left", async () => {
  const { store } = await filled();
  const row = (await allRows(store)).find(({ tailnum }) => tailnum === GONE)!;
  await erase(store);
  const salts = readSecret(store.reader.database, store.sealer, "salt");
  const kept = (await allRows(store, "erasures")).find(({ kind, sequence }) => kind === "row" && sequence === 3)!;
  for (const info of readSegmentInfos(store.reader.database, store.sealer)) {
    if (info.stream !== STATEMENTS) continue;
    for await (const stored of [store.reader.segments.open(info).rows(0)]) {
      for (const append of statedCommits(stored).flatMap(({ appends }) => appends)) {
        if (append.stream !== "curated/flights" || append.firstSequence > 3) continue;
        const own = saltsOf(salts, append.salt, append.rows);
        expect([...own.slice(12, 16)]).toEqual([0, 0, 0, 0]);
        expect(leavesOf(batchOf(flights, [row]), undefined, own.slice(12, 16))).not.toEqual(kept.leaf);
      }
    }
  }
  await store.close();
});

test("the digest tells the entity again, and no other", async () => {
  const { store } = await filled();
  expect(await erasedEntities(store)).toBeUndefined();
  await erase(store);
  const erased = (await erasedEntities(store))!;
  expect(erased.fieldSets).toEqual([["tailnum"]]);
  expect([GONE, "N5", null].map((value) => erased.has(["tailnum"], [value]))).toEqual([true, false, false]);
  await store.close();
});

test("a crash leaves the erasure not begun, or finished by the next start", async () => {
  const { home, store } = await filled();
  await store.compact();
  const { directory } = home.options;
  const copy = (name: string) => {
    cpSync(directory, `${directory}-${name}`, { recursive: true });
    rmSync(join(`${directory}-${name}`, "writer.lock"), { force: true });
    return `${directory}-${name}`;
  };
  // Before the transaction: new files lie there that nothing names.
  const begun = copy("begun");
  const { outcome } = await erase(store);
  expect(outcome.scrubbed).toBe(true);
  for (const file of readdirSync(join(directory, "segments"))) {
    if (!existsSync(join(begun, "segments", file)))
      cpSync(join(directory, "segments", file), join(begun, "segments", file));
  }
  await store.close();
  const first = await openStore({ ...home.options, directory: begun });
  expect((await allRows(first)).filter(({ tailnum }) => tailnum === GONE)).toHaveLength(314);
  expect(verifyAudit(first).problems).toEqual([]);
  expect(readdirSync(join(begun, "segments"))).toHaveLength(
    readSegmentInfos(first.reader.database, first.sealer).length,
  );
  // After it: a reader that holds on to the earlier log keeps the database from being written anew. The next start does it.
  const holder = new Database(join(begun, "log.db"), { readwrite: true });
  holder.run("BEGIN");
  holder.query("SELECT count(*) FROM segments").get();
  const cut = await erase(first);
  expect(cut.outcome.scrubbed).toBe(false);
  expect((await allRows(first)).filter(({ tailnum }) => tailnum === GONE)).toEqual([]);
  holder.run("ROLLBACK");
  holder.close();
  await first.close();
  const second = await openStore({ ...home.options, directory: begun });
  expect(second.reader.snapshot().compacted.scrub).toBeUndefined();
  expect(verifyAudit(second).problems).toEqual([]);
  await second.close();
});
