/** Entity filters: never "no" for an entity that is there, rarely "maybe" for one that is not, and what reads open by them. */
import { Database } from "bun:sqlite";
import { expect, test } from "bun:test";
import { renameSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { verifyAudit } from "../../src/audit/verify.ts";
import { seededRandom } from "../../src/base/random.ts";
import type { Row } from "../../src/base/row.ts";
import { batchOf } from "../../src/contract/batch.ts";
import { streamContract } from "../../src/contract/contract.ts";
import { databasePath } from "../../src/store/database.ts";
import { entityFilter, keyHasher, mayHold } from "../../src/store/entity_filter.ts";
import { insertSegmentInfo, readSegmentInfos } from "../../src/store/segment_info.ts";
import { type LogStore, openStore } from "../../src/store/store.ts";
import { MemoryStore } from "../support/memory_store.ts";
import { plainRows } from "../support/rows.ts";
import { storeHome } from "../support/store_home.ts";

test("a filter never denies a key that it was made of", () => {
  const property = fc.property(
    fc.uniqueArray(fc.string({ unit: "binary" }), { maxLength: 200 }),
    fc.uint8Array({ minLength: 16, maxLength: 16 }),
    (keys, storeId) => {
      const hashOf = keyHasher(storeId);
      const filter = entityFilter(keys, hashOf)!;
      for (const key of keys) expect(mayHold(filter, hashOf(key))).toBe(true);
    },
  );
  fc.assert(property);
});

test.each([
  [2_000, 0.001],
  [100_000, 0.02],
])("of %d keys, others are said to be there in at most %d of the cases", (count, share) => {
  const hashOf = keyHasher(seededRandom(7).bytes(16));
  const filter = entityFilter(
    Array.from({ length: count }, (_, i) => `sP${i}`),
    hashOf,
  )!;
  expect(filter.length).toBeLessThan(count * 2.6);
  let wrong = 0;
  for (let i = 0; i < 50_000; i++) if (mayHold(filter, hashOf(`sother ${i}`))) wrong++;
  expect(wrong / 50_000).toBeLessThan(share);
});

test("beyond its bound there is none", () => {
  const hashOf = () => ({ high: 1, low: 2 });
  expect(entityFilter(new Array(1 << 20).fill(""), hashOf)).toBeDefined();
  expect(entityFilter(new Array(1 << 21).fill(""), hashOf)).toBeUndefined();
});

const contract = streamContract({
  name: "readings",
  fields: { id: "string", place: "string", at: "timestamp", value: "double" },
  entity: ["place"],
  eventTime: "at",
  recordId: ["id"],
});
const STREAM = "curated/readings";
const PLACES = 5_000; // a filter of so many does not fit in the catalogue's row

/** Seven segments, each of an hour later than the one before; place 0 is in all, the others in one each. */
async function sevenHours(store: LogStore | MemoryStore): Promise<void> {
  for (let hour = 0; hour < 7; hour++) {
    const count = hour === 3 ? PLACES : 40;
    const rows = Array.from({ length: count }, (_, i): Row => {
      const place = i % 10 === 0 ? "P0" : `P${hour}-${i}`;
      return { id: `${hour}-${i}`, place, at: hour * 3_600 + (i % 3_000), value: i };
    });
    const tombstones = Uint8Array.from(rows, (_, i) => Number(i % 30 === 20));
    await store.commit({ appends: [{ stream: STREAM, batch: batchOf(contract, rows), tombstones }] });
    if (!(store instanceof MemoryStore)) await store.compact();
  }
}

const probes = Array.from({ length: 400 }, (_, i) => ({
  entity: [["P0", `P${i % 10}-${i % 41}`, `P3-${i * 7}`, "none"][i % 4]!],
  at: (i * 977) % 40_000,
}));

async function sameAnswers(store: LogStore, model: MemoryStore): Promise<void> {
  for (const options of [{}, { maxAge: 5_000 }, { upTo: 4 }]) {
    expect(await store.asOf(STREAM, probes, options)).toEqual(await model.asOf(STREAM, probes, options));
  }
  for (const entity of [["P0"], ["P3-4"], ["none"]]) {
    for (const bounds of [{}, { from: 7_000, to: 12_000 }]) {
      const found = async (from: LogStore | MemoryStore) => {
        const parts = [];
        for await (const part of from.scan(STREAM, { entity, ...bounds })) parts.push(part);
        return plainRows(parts);
      };
      expect(await found(store)).toEqual(await found(model));
    }
  }
}

test("an as-of read opens the segments that can decide it, and answers as the plain model does", async () => {
  const { options, remove } = storeHome({ clock: { now: () => 1_000 } });
  const [store, model] = [await openStore(options), new MemoryStore(options.clock)];
  const folder = join(options.directory, "segments");
  try {
    await sevenHours(store);
    await sevenHours(model);
    await sameAnswers(store, model);
    const infos = store.reader.snapshot().segments.filter(({ stream }) => stream === STREAM);
    expect(infos.filter(({ filterChunk }) => filterChunk).length).toBe(1);
    expect(infos.filter(({ filter }) => filter).length).toBe(infos.length - 1);
    expect(verifyAudit(store)).toMatchObject({ verified: true });
    // With every other file away, a read that opened one would fail.
    const reader = await openStore({ ...options, mode: "read" });
    await reader.head();
    renameSync(folder, `${folder}.away`);
    const filtered = infos.filter(({ filterChunk }) => !filterChunk);
    expect(await reader.asOf(STREAM, [{ entity: ["none"], at: 10_000 }])).toEqual([null]);
    await expect(reader.asOf(STREAM, [{ entity: ["P0"], at: 10_000 }])).rejects.toMatchObject({
      code: "store.damaged",
    });
    renameSync(`${folder}.away`, folder);
    const late = filtered.toSorted((a, b) => b.maxTime! - a.maxTime!);
    for (const { file } of late.slice(1)) renameSync(join(folder, file), join(folder, `${file}.away`));
    expect(await reader.asOf(STREAM, [{ entity: ["P0"], at: 1e9 }])).not.toEqual([null]);
    await reader.close();
  } finally {
    await store.close();
    remove();
  }
});

test("segments of older versions, without times and filters, answer the same", async () => {
  const { options, remove } = storeHome({ clock: { now: () => 1_000 } });
  const [store, model] = [await openStore(options), new MemoryStore(options.clock)];
  try {
    await sevenHours(store);
    await sevenHours(model);
    using database = new Database(databasePath(store.directory));
    for (const info of readSegmentInfos(database, store.sealer)) {
      if (info.segmentId % 3 === 0) continue; // old and new ones beside each other
      const { minTime: _a, maxTime: _b, decodedBytes: _c, filter: _d, filterChunk: _e, ...old } = info;
      database.run("DELETE FROM segments WHERE segment_id = ?", [info.segmentId]);
      insertSegmentInfo(database, store.sealer, old);
    }
    const reader = await openStore({ ...options, mode: "read" });
    await sameAnswers(reader, model);
    await reader.close();
  } finally {
    await store.close();
    remove();
  }
});
