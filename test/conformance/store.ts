import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { batchOf, rowsOf } from "../../src/contract/batch.ts";
import type { Contract } from "../../src/contract/contract.ts";
import type { CommitRequest, Store, StoredRows } from "../../src/store/port.ts";
import { plainContract, plainRows, staticContract, timedContract } from "../support/rows.ts";

/** An implementation of the store's port on an empty store. `compact` is present where there is something to compact. */
export interface StoreUnderTest {
  readonly store: Store;
  compact?(): Promise<void>;
  /** Moves the clock that the store was given, where it can be held. */
  setClock?(now: number): void;
  dispose(): Promise<void>;
}

const timed = (...rows: Record<string, unknown>[]) => batchOf(timedContract, rows as never);
const plain = (count: number) =>
  batchOf(
    plainContract,
    Array.from({ length: count }, (_, i) => ({ kind: "k", body: null, at: i })),
  );

async function allOf(rows: AsyncIterable<StoredRows>) {
  const parts = [];
  for await (const part of rows) parts.push(part);
  return plainRows(parts);
}

/** What every store must do, run over each implementation: before compaction and after it. */
export function storeConformance(name: string, make: () => Promise<StoreUnderTest>): void {
  describe(name, () => {
    let made: StoreUnderTest;
    let store: Store;
    beforeEach(async () => {
      made = await make();
      store = made.store;
    });
    afterEach(() => made.dispose());

    test("an empty store has nothing", async () => {
      expect(await store.head()).toEqual({ commitNo: 0, knownTime: 0 });
      expect(await store.cursor("source")).toBe("");
      expect(await store.position("reader")).toBe(0);
      expect(await store.commitAt(Number.MAX_SAFE_INTEGER)).toBe(0);
      expect(await store.streams()).toEqual([]);
      expect(await store.tail(0, ["landing/plain"])).toEqual({
        rows: [],
        upTo: 0,
        head: { commitNo: 0, knownTime: 0 },
      });
      expect(await allOf(store.scan("landing/plain"))).toEqual([]);
      expect(await store.asOf("curated/timed", [{ entity: ["JFK", 1], at: 5 }])).toEqual([null]);
    });

    test("commits are numbered without gaps and known times increase", async () => {
      const receipts = await Promise.all(
        [3, 0, 2].map((rows) => store.commit({ appends: [{ stream: "landing/plain", batch: plain(rows) }] })),
      );
      expect(receipts.map(({ commitNo }) => commitNo)).toEqual([1, 2, 3]);
      expect(receipts.map(({ firstSequence }) => firstSequence["landing/plain"])).toEqual([0, 3, 3]);
      expect(receipts[1]!.knownTime).toBeGreaterThan(receipts[0]!.knownTime);
      expect(receipts[2]!.knownTime).toBeGreaterThan(receipts[1]!.knownTime);
      expect(await store.head()).toEqual({ commitNo: 3, knownTime: receipts[2]!.knownTime });
      expect(await store.commitAt(receipts[1]!.knownTime)).toBe(2);
      expect(await store.commitAt(receipts[1]!.knownTime - 1)).toBe(1);
      expect(await store.commitAt(receipts[0]!.knownTime - 1)).toBe(0);
    });

    test("commits of either durability stand in the order in which they were handed over, and are read alike", async () => {
      const kinds = ["process", "power-loss", "process", undefined, "process"] as const;
      const receipts = await Promise.all(
        kinds.map((durability) =>
          store.commit({
            appends: [{ stream: "landing/plain", batch: plain(1) }],
            ...(durability ? { durability } : {}),
          }),
        ),
      );
      expect(receipts.map(({ commitNo }) => commitNo)).toEqual([1, 2, 3, 4, 5]);
      expect(receipts.map(({ firstSequence }) => firstSequence["landing/plain"])).toEqual([0, 1, 2, 3, 4]);
      const refused = store.commit({ appends: [], expect: { cursors: { s: "x" } }, durability: "process" });
      expect(await refused.catch((cause) => cause.code)).toBe("store.stale_writer");
      for (const compacted of [false, true]) {
        if (compacted) await made.compact?.();
        const page = await store.tail(0, ["landing/plain"]);
        expect(page.rows.flatMap((rows) => [...rows.sequences])).toEqual([0, 1, 2, 3, 4]);
        expect(page.head.commitNo).toBe(5);
      }
    });

    test("a clock that goes back does not move known times back", async () => {
      if (!made.setClock) return;
      made.setClock(1000);
      const first = await store.commit({ appends: [] });
      made.setClock(10);
      const second = await store.commit({ appends: [] });
      expect([first.knownTime, second.knownTime]).toEqual([1000, 1001]);
    });

    test("a commit is all or nothing: a stale writer changes nothing", async () => {
      const append = { stream: "landing/plain", batch: plain(1) };
      await store.commit({ appends: [append], cursors: { s: "1" }, readers: { r: 4 } });
      for (const expect_ of [{ readers: { r: 3 } }, { cursors: { s: "" } }, { readers: { r: 4, other: 1 } }]) {
        // Not expect().rejects: it turns the event loop itself, without the messages of threads.
        const refused = store.commit({ appends: [append], cursors: { s: "2" }, readers: { r: 5 }, expect: expect_ });
        const cause = await refused.then(() => undefined).catch((error) => error);
        expect(cause).toMatchObject({ code: "store.stale_writer", retryable: true });
      }
      expect((await store.head()).commitNo).toBe(1);
      expect([await store.cursor("s"), await store.position("r")]).toEqual(["1", 4]);
      await store.commit({ appends: [append], readers: { r: 5 }, expect: { readers: { r: 4 }, cursors: { s: "1" } } });
      expect(await store.position("r")).toBe(5);
    });

    test("a position that is no commit number is refused, and what was committed reads on", async () => {
      await store.commit({ appends: [], readers: { r: Number.MAX_SAFE_INTEGER, zero: 0 } });
      for (const position of [-1, 0.5, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 53]) {
        const cause = await store.commit({ appends: [], readers: { r: position } }).catch((error) => error);
        expect(cause).toMatchObject({ code: "store.bad_position" });
      }
      expect((await store.head()).commitNo).toBe(1);
      await store.commit({ appends: [], readers: { other: 1 } });
      expect([await store.position("r"), await store.position("zero")]).toEqual([Number.MAX_SAFE_INTEGER, 0]);
    });

    test("of two writers that expect the same position one wins", async () => {
      const move = () => store.commit({ appends: [], readers: { r: 1 }, expect: { readers: { r: 0 } } });
      const outcomes = await Promise.allSettled([move(), move()]);
      expect(outcomes.map(({ status }) => status).sort()).toEqual(["fulfilled", "rejected"]);
      expect((await store.head()).commitNo).toBe(1);
    });

    test("a writer that is late is refused whatever it expected: a cursor or a position, of many or before any", async () => {
      const append = { stream: "landing/plain", batch: plain(2) };
      const late = async (expected: CommitRequest["expect"]) =>
        store
          .commit({ appends: [append], cursors: { s: "late" }, readers: { r: 99 }, expect: expected! })
          .then(({ commitNo }) => commitNo)
          .catch((cause) => cause.code as string);
      expect(await late({ cursors: { s: "1" } })).toBe("store.stale_writer"); // never set
      await store.commit({ appends: [append], cursors: { s: "1", t: "1" }, readers: { r: 1, q: 1 } });
      for (const compacted of [false, true]) {
        if (compacted) await made.compact?.();
        for (const expected of [
          { cursors: { s: "" } },
          { cursors: { s: "1", t: "2" } },
          { readers: { r: 0 } },
          { readers: { r: 1, q: 0 } },
          { readers: { r: 1 }, cursors: { s: "0" } },
          { readers: { r: 2 }, cursors: { s: "1" } },
        ]) {
          expect([expected, await late(expected)]).toEqual([expected, "store.stale_writer"]);
        }
      }
      expect([await store.cursor("s"), await store.position("r"), (await store.head()).commitNo]).toEqual(["1", 1, 1]);
      expect((await store.tail(0, ["landing/plain"])).rows.flatMap((rows) => [...rows.sequences])).toEqual([0, 1]);
      expect(await late({ cursors: { s: "1", t: "1" }, readers: { r: 1, q: 1 } })).toBe(2);
      expect(await late({ cursors: { s: "1" } })).toBe("store.stale_writer"); // by its own commit
    });

    test("a large commit that is still under way holds its place: those handed over later stand behind it", async () => {
      const large = store.commit({
        appends: Array.from({ length: 8 }, () => ({ stream: "landing/plain", batch: plain(4_000) })),
        cursors: { s: "large" },
      });
      const expecting = store.commit({ appends: [], cursors: { s: "next" }, expect: { cursors: { s: "large" } } });
      const stale = store.commit({ appends: [], expect: { cursors: { s: "" } } }).catch((cause) => cause.code);
      const small = store.commit({ appends: [{ stream: "landing/plain", batch: plain(1) }] });
      const receipts = [await large, await expecting, await small];
      expect(await stale).toBe("store.stale_writer");
      expect(receipts.map(({ commitNo }) => commitNo)).toEqual([1, 2, 3]);
      expect(receipts[2]!.firstSequence).toEqual({ "landing/plain": 32_000 });
      // Whoever reads sees a commit whole or not at all, while others are made.
      const more = store.commit({ appends: [{ stream: "landing/plain", batch: plain(4_000) }] });
      const seen = await store.tail(0, ["landing/plain"], 100_000);
      const rows = seen.rows.reduce((sum, { batch }) => sum + batch.length, 0);
      expect([32_001, 36_001]).toContain(rows);
      expect(rows === 36_001).toBe(seen.upTo === 4);
      await more;
      expect(await store.cursor("s")).toBe("next");
    });

    test("the tail gives whole commits, by commit, stream and sequence", async () => {
      const two = { stream: "landing/plain", batch: plain(2) };
      await store.commit({ appends: [two, { stream: "curated/timed", batch: timed({ id: "a", at: 1 }) }, two] });
      await store.commit({ appends: [], readers: { r: 1 } });
      await store.commit({ appends: [two] });
      for (const compacted of [false, true]) {
        if (compacted) await made.compact?.();
        const whole = await store.tail(0, ["landing/plain", "curated/timed"]);
        expect(whole.upTo).toBe(3);
        expect(whole.rows[0]!.stream).toBe("curated/timed");
        expect(whole.rows.flatMap((rows) => [...rows.commitNos])).toEqual([1, 1, 1, 1, 1, 3, 3]);
        expect(whole.rows.slice(1).flatMap((rows) => [...rows.sequences])).toEqual([0, 1, 2, 3, 4, 5]);
        const page = await store.tail(0, ["landing/plain"], 1);
        expect(page.upTo).toBeLessThan(3);
        expect(page.rows.reduce((sum, rows) => sum + rows.batch.length, 0)).toBe(4);
        expect((await store.tail(3, ["landing/plain"])).rows).toEqual([]);
        expect((await store.tail(0, ["curated/none"])).upTo).toBe(3);
      }
    });

    test("the streams say which contracts their rows have, that of the newest row first", async () => {
      const wider = { ...plainContract, fingerprint: `${plainContract.fingerprint}2` };
      const put = (contract: Contract) =>
        store.commit({ appends: [{ stream: "landing/plain", batch: { ...plain(2), contract } }] });
      const contracts = async () =>
        (await store.streams()).flatMap((info) => info.contracts.map(({ fingerprint }) => fingerprint));
      await put(plainContract);
      expect(await contracts()).toEqual([plainContract.fingerprint]);
      await put(wider);
      expect(await contracts()).toEqual([wider.fingerprint, plainContract.fingerprint]);
      await put(plainContract);
      expect(await contracts()).toEqual([plainContract.fingerprint, wider.fingerprint]);
    });

    test("a scan selects by commit, time, entity and column", async () => {
      const rows = [
        { id: "a", place: "JFK", gate: 1, at: 1, note: "x" },
        { id: "b", place: "JFK", gate: 2, at: 5, note: "y" },
        { id: "c", place: null, gate: 1, at: 9, note: "z" },
      ];
      await store.commit({ appends: [{ stream: "curated/timed", batch: timed(...rows) }] });
      await store.commit({ appends: [{ stream: "curated/timed", batch: timed({ ...rows[0], at: 7 }) }] });
      for (const compacted of [false, true]) {
        if (compacted) await made.compact?.();
        const sequences = async (options: Parameters<Store["scan"]>[1]) =>
          (await allOf(store.scan("curated/timed", options))).map((row) => (row as { sequence: number }).sequence);
        expect(await sequences({})).toEqual([0, 1, 2, 3]);
        expect(await sequences({ upTo: 1 })).toEqual([0, 1, 2]);
        expect(await sequences({ after: 1 })).toEqual([3]);
        expect(await sequences({ after: 0, upTo: 1, from: 5 })).toEqual([1, 2]);
        expect(await sequences({ after: 2 })).toEqual([]);
        expect(await sequences({ from: 5, to: 7 })).toEqual([1, 3]);
        expect(await sequences({ entity: ["JFK", 1] })).toEqual([0, 3]);
        expect(await sequences({ entity: [null, 1] })).toEqual([]);
        for await (const part of store.scan("curated/timed", { columns: ["note"], from: 5 })) {
          for (const row of rowsOf(part.batch)) expect([row.id, row.at, row.note !== null]).toEqual([null, null, true]);
        }
      }
    });

    test("as of: both ends inclusive, available time, ties, tombstones and the cutoff", async () => {
      const at = (id: string, time: number, more: object = {}) => ({ id, place: "JFK", gate: 1, at: time, ...more });
      const stream = "curated/timed";
      await store.commit({
        appends: [{ stream, batch: timed(at("a", 10), at("b", 10), at("c", 20, { seen_at: 25 })) }],
      });
      await store.commit({ appends: [{ stream, batch: timed(at("b", 10)), tombstones: Uint8Array.of(1) }] });
      await store.commit({ appends: [{ stream, batch: timed(at("b", 10, { note: "again" })) }] });
      for (const compacted of [false, true]) {
        if (compacted) await made.compact?.();
        const id = async (time: number, options = {}) =>
          (await store.asOf(stream, [{ entity: ["JFK", 1], at: time }], options))[0]?.id ?? null;
        expect(await id(9)).toBeNull();
        expect(await id(10)).toBe("b");
        expect(await id(10, { upTo: 2 })).toBe("a");
        expect(await id(10, { upTo: 1 })).toBe("b");
        expect([await id(24), await id(25)]).toEqual(["b", "c"]);
        expect([await id(13, { maxAge: 3 }), await id(14, { maxAge: 3 })]).toEqual(["b", null]);
        const probes = [
          ["LGA", 1],
          ["JFK", null],
        ].map((entity) => ({ entity, at: 50 }));
        expect(await store.asOf(stream, probes)).toEqual([null, null]);
      }
    });

    test("as of a static dataset is the latest version", async () => {
      const stream = "curated/fixed";
      const fixed = (name: string) => batchOf(staticContract, [{ code: "A", name, size: 2n ** 60n }]);
      await store.commit({ appends: [{ stream, batch: fixed("old") }] });
      await made.compact?.();
      await store.commit({ appends: [{ stream, batch: fixed("new") }] });
      const probe = { entity: ["A"], at: 0 };
      expect(await store.asOf(stream, [probe])).toEqual([{ code: "A", name: "new", size: 2n ** 60n }]);
      expect(await store.asOf(stream, [probe], { upTo: 1, columns: ["name"] })).toEqual([
        { code: null, name: "old", size: null },
      ]);
    });

    test("waiting ends with the next commit, with the time, and with the store", async () => {
      await store.waitBeyond(0, 1);
      const woken = store.waitBeyond(0, 60_000);
      await store.commit({ appends: [] });
      await woken;
      await store.waitBeyond(0, 60_000);
      const left = store.waitBeyond(1, 60_000);
      await store.close();
      await left;
    });
  });
}
