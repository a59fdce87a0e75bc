/**
 * Erasures while others commit and read: everything that was committed before the erasure's own commit is looked through,
 * whatever moment it came at; and a copy of the directory taken at each step is whole.
 */
import { afterEach, expect, test } from "bun:test";
import { cpSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { verifyAudit } from "../../src/audit/verify.ts";
import { batchOf, rowsOf } from "../../src/contract/batch.ts";
import { streamContract } from "../../src/contract/contract.ts";
import { readState } from "../../src/store/catalogue.ts";
import { openReaderDatabase } from "../../src/store/database.ts";
import type { EraseRequest } from "../../src/store/erase_select.ts";
import { readSegmentInfos } from "../../src/store/segment_info.ts";
import { type LogStore, openStore } from "../../src/store/store.ts";
import { type StoreHome, storeHome } from "../support/store_home.ts";

const GONE = "gone-1";
const STREAM = "curated/visits";
const visits = streamContract({
  name: "visits",
  fields: { id: "string", who: "string?", at: "timestamp", note: "string?" },
  entity: ["who"],
  eventTime: "at",
  recordId: ["id"],
});

const homes: StoreHome[] = [];
afterEach(() => {
  for (const { remove } of homes.splice(0)) remove();
});

function home(): StoreHome {
  const made = storeHome();
  homes.push(made);
  return made;
}

let next = 0;
/** One commit; every fourth row is of the entity. */
function commitSome(store: LogStore, rows = 40) {
  const first = next;
  next += rows;
  const list = Array.from({ length: rows }, (_, i) => {
    const who = i % 4 === 1 ? GONE : `who-${i % 7}`;
    return { id: `v${first + i}`, who, at: first + i, note: i % 4 === 1 ? "secret" : "note" };
  });
  return store.commit({
    appends: [{ stream: STREAM, batch: batchOf(visits, list) }],
    cursors: { door: `at ${first}` },
  });
}

const COMMITS = 5 * 3 + 3;

async function filled(options: StoreHome["options"]): Promise<LogStore> {
  const store = await openStore(options);
  for (let turn = 0; turn < 5; turn++) {
    for (let c = 0; c < 3; c++) await commitSome(store);
    await store.compact();
  }
  for (let c = 0; c < 3; c++) await commitSome(store);
  return store;
}

async function goneRows(store: LogStore, upTo?: number): Promise<number> {
  let found = 0;
  for await (const { batch } of store.scan(STREAM, upTo === undefined ? {} : { upTo })) {
    found += rowsOf(batch).filter(({ who }) => who === GONE).length;
  }
  return found;
}

const request: EraseRequest = { entity: { who: GONE }, mustBeStored: true };

for (const thread of [false, true]) {
  test(`commits and reads go on, and what comes meanwhile is erased too (${thread ? "log thread" : "in place"})`, async () => {
    const { options } = home();
    const store = await filled({ ...options, thread });
    const other = await openStore({ ...options, mode: "read" });
    let [stop, _commits, reads] = [false, 0, 0];
    const receipts: number[] = [];
    const writing = (async () => {
      for (; !stop; _commits++) receipts.push((await commitSome(store, 8)).commitNo);
    })();
    const reading = (async () => {
      for (; !stop; reads++) {
        for (const reader of [store, other]) {
          const before = await reader.head();
          await goneRows(reader);
          expect(await reader.asOf(STREAM, [{ entity: ["who-2"], at: 1e9 }])).not.toEqual([null]);
          expect((await reader.tail(Math.max(0, before.commitNo - 5), [STREAM])).upTo).toBeGreaterThanOrEqual(
            before.commitNo,
          );
        }
      }
    })();
    const begun = (await store.head()).commitNo;
    const { outcome, erasure } = await store.erase(request);
    stop = true;
    await Promise.all([writing, reading]);
    const { commitNo } = outcome;
    // Commits were taken while it went on, and rows of the entity among them are gone as well.
    expect(commitNo - begun).toBeGreaterThan(3);
    expect(reads).toBeGreaterThan(0);
    expect(receipts).not.toContain(commitNo);
    for (const reader of [store, other]) expect(await goneRows(reader, commitNo)).toBe(0);
    const before = receipts.filter((one) => one < commitNo).length;
    expect(outcome.emptied).toBe(COMMITS * 10 + before * 2);
    expect(erasure.streams.map(({ stream, emptied }) => [stream, emptied.length])).toEqual([[STREAM, outcome.emptied]]);
    expect(verifyAudit(store)).toMatchObject({ verified: true, problems: [], erased: outcome.emptied });
    // What came later is another erasure's.
    const later = await store.eraseLater({ ...request, after: commitNo });
    expect(later?.outcome.emptied ?? 0).toBe(receipts.filter((one) => one > commitNo).length * 2);
    const upTo = later?.outcome.commitNo ?? commitNo;
    expect(await store.eraseLater({ ...request, after: upTo })).toBeUndefined();
    expect((await store.head()).commitNo).toBe(upTo);
    expect(await goneRows(store)).toBe(0);
    await other.close();
    await store.close();
    const again = await openStore(options);
    expect(await goneRows(again)).toBe(0);
    const named = readSegmentInfos(again.reader.database, again.sealer).map(({ file }) => file);
    expect(readdirSync(join(options.directory, "segments")).sort()).toEqual(named.sort());
    expect(verifyAudit(again)).toMatchObject({ verified: true, problems: [] });
    await again.close();
  });
}

test("cut off at any step it is not begun, or done; the next start finishes and the audit holds", async () => {
  const { options } = home();
  const store = await filled(options);
  const { directory } = options;
  const copies: string[] = [];
  const copy = () => {
    const to = `${directory}-${copies.length}`;
    cpSync(directory, to, { recursive: true });
    for (const name of ["writer.lock", "log.db-shm"]) rmSync(join(to, name), { force: true });
    copies.push(to);
  };
  let looks = 0;
  const cut: EraseRequest = {
    ...request,
    async also() {
      if (looks++ > 0) copy(); // prepared, with nothing held; then held
      await Promise.resolve();
      return [];
    },
    async quiet(last) {
      await commitSome(store);
      const done = await last();
      copy(); // done
      return done;
    },
  };
  // Rows that come while it is prepared are found by the second look, and those before the hold by the last one.
  const hold = store.erase({
    ...cut,
    also: async (found, range) => {
      const rows = await cut.also!(found, range);
      if (looks === 2) await commitSome(store);
      return rows;
    },
  });
  const { outcome } = await hold;
  expect([looks, copies.length]).toEqual([3, 3]);
  expect(outcome.emptied).toBe((COMMITS + 2) * 10);
  await store.close();
  copies.push(directory);
  const left: number[] = [];
  for (const at of copies) {
    const opened = await openStore({ ...options, directory: at });
    expect(verifyAudit(opened).problems).toEqual([]);
    expect(opened.reader.snapshot().compacted.scrub).toBeUndefined();
    const named = readSegmentInfos(opened.reader.database, opened.sealer).map(({ file }) => file);
    expect(readdirSync(join(at, "segments")).sort()).toEqual(named.sort());
    left.push(await goneRows(opened));
    await opened.erase({ entity: { who: GONE } });
    expect(await goneRows(opened)).toBe(0);
    expect(verifyAudit(opened)).toMatchObject({ verified: true, problems: [] });
    await opened.close();
  }
  expect(left).toEqual([(COMMITS + 1) * 10, (COMMITS + 2) * 10, 0, 0]);
});

test("a hold that takes too long is let go, commits go on, and the erasure is begun anew", async () => {
  const { options } = home();
  const store = await filled(options);
  let looks = 0;
  const { outcome } = await store.erase({
    ...request,
    async also() {
      looks++;
      if (looks === 2) await commitSome(store); // so that there is something to look for in the hold
      if (looks === 3) await commitSome(store); // it would wait for ever if the hold did not end by itself
      return [];
    },
    async quiet(last) {
      if (looks === 1) await commitSome(store);
      return last();
    },
  });
  expect(looks).toBeGreaterThan(3);
  expect(outcome.emptied).toBe((COMMITS + 3) * 10);
  expect(await goneRows(store)).toBe(0);
  expect(verifyAudit(store)).toMatchObject({ verified: true, problems: [] });
  // Rows that retention takes away in between: what was prepared for them is given up.
  for (let c = 0; c < 3; c++) await commitSome(store);
  const again = await store.erase({
    ...request,
    mustBeStored: false,
    async quiet(last) {
      if (looks++ === 4) await store.retain({ rules: [{ streams: STREAM, age: 0 }] });
      return last();
    },
  });
  expect(again.outcome.commitNo).toBe((await store.head()).commitNo);
  expect(await goneRows(store)).toBe(0);
  expect(verifyAudit(store)).toMatchObject({ verified: true, problems: [] });
  await store.close();
});

test("a reader that holds on to an earlier version keeps no commit waiting: what it is in the way of is done later", async () => {
  const { options } = home();
  const store = await filled({ ...options, thread: true });
  const reader = openReaderDatabase(options.directory);
  reader.run("BEGIN");
  reader.query("SELECT count(*) FROM commits").get();
  let stop = false;
  const writing = (async () => {
    while (!stop) {
      await commitSome(store, 8);
      await Bun.sleep(2); // what is committed before the last look is looked through and packed too
    }
  })();
  const { outcome } = await store.erase(request);
  stop = true;
  await writing;
  // The log was tried to be overwritten again and again, and between two tries commits were made.
  expect(outcome.scrubbed).toBe(false);
  expect((await store.head()).commitNo - outcome.commitNo).toBeGreaterThan(20);
  reader.run("COMMIT");
  reader.close();
  await store.close();
  const again = await openStore(options);
  expect(readState(again.reader.database, again.sealer).scrub).toBeUndefined();
  expect(verifyAudit(again)).toMatchObject({ verified: true, problems: [] });
  await again.close();
});
