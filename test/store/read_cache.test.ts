/** What reads keep decoded stays within its bound while the data grows past it, and answers are those of the plain model. */
import { expect, test } from "bun:test";
import type { Row } from "../../src/base/row.ts";
import { batchOf } from "../../src/contract/batch.ts";
import { readCache } from "../../src/store/read_cache.ts";
import { openStore } from "../../src/store/store.ts";
import { MemoryStore } from "../support/memory_store.ts";
import { plainRows, timedContract } from "../support/rows.ts";
import { storeHome } from "../support/store_home.ts";

const CACHE = 256 << 10;
const STREAM = "curated/timed";

test("readers of all kinds keep no more than the bound, over much more data, and find every row", async () => {
  const clock = { now: () => 1_000 };
  const { options, remove } = storeHome({ clock, cacheBytes: CACHE });
  const store = await openStore(options);
  const model = new MemoryStore(clock);
  let most = 0;
  const look = () => {
    most = Math.max(most, store.reader.segments.cachedBytes());
    expect(most).toBeLessThanOrEqual(CACHE);
  };
  try {
    for (let round = 0; round < 8; round++) {
      const rows = Array.from({ length: 1_000 }, (_, i) => ({
        id: `r${(i * 7 + round) % 900}`,
        place: ["JFK", "LGA", null][i % 3]!,
        gate: i % 40,
        at: (i * 31 + round * 17) % 500,
        note: `note ${i % 50} of ${round}`,
      }));
      for (const target of [store, model]) {
        for (const half of [rows.slice(0, 3), rows.slice(3)]) {
          await target.commit({
            appends: [{ stream: STREAM, batch: batchOf(timedContract, half as unknown as Row[]) }],
          });
        }
      }
      await store.compact();
      if (round % 4 !== 3) continue;
      // Two readers at different places, pages that begin and end anywhere.
      const expected = plainRows((await model.tail(0, [STREAM], 1e9)).rows);
      const readers = [300, 1_500].map((size) => ({
        size,
        after: 0,
        rows: [] as Parameters<typeof plainRows>[0][number][],
      }));
      for (let reading = true; reading; ) {
        reading = false;
        for (const reader of readers) {
          const page = await store.tail(reader.after, [STREAM], reader.size);
          reader.rows.push(...page.rows);
          reading ||= page.upTo > reader.after;
          reader.after = page.upTo;
          look();
        }
      }
      for (const reader of readers) expect(plainRows(reader.rows)).toEqual(expected);
      const probes = Array.from({ length: 40 }, (_, i) => ({ entity: ["JFK", i % 41], at: (i * 13) % 520 }));
      for (const probe of probes) {
        expect(await store.asOf(STREAM, [probe])).toEqual(await model.asOf(STREAM, [probe]));
        look();
      }
    }
    const decoded = store.reader.snapshot().segments.reduce((sum, info) => sum + (info.decodedBytes ?? 0), 0);
    expect(decoded).toBeGreaterThan(3 * CACHE);
    expect(most).toBeGreaterThan(CACHE / 2);
  } finally {
    await store.close();
    remove();
  }
});

test("the least recently used go first, and what grew is counted", () => {
  const cache = readCache(100);
  const dropped: string[] = [];
  const use = (name: string, cost: number) =>
    cache.get(name, () => ({ value: name, cost, drop: () => dropped.push(name) }));
  use("a", 40);
  use("b", 40);
  use("a", 40);
  use("c", 40);
  expect(dropped).toEqual(["b"]);
  cache.recost("c", 90);
  expect([dropped, cache.bytes()]).toEqual([["b", "a"], 90]);
  use("large", 500); // alone it may exceed the bound
  expect([dropped, cache.bytes()]).toEqual([["b", "a", "c"], 500]);
  cache.clear();
  expect(cache.bytes()).toBe(0);
});
