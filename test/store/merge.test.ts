import { expect, test } from "bun:test";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { verifyAudit } from "../../src/audit/verify.ts";
import type { Row } from "../../src/base/row.ts";
import { MICROS_PER_MINUTE } from "../../src/base/time.ts";
import { batchOf } from "../../src/contract/batch.ts";
import { openStore } from "../../src/store/store.ts";
import { MemoryStore } from "../support/memory_store.ts";
import { plainRows, timedContract } from "../support/rows.ts";
import { storeHome } from "../support/store_home.ts";

test("merged segments answer as the plain model does, and replaced files go away", async () => {
  let now = 1_000;
  const clock = { now: () => now };
  const { options, remove } = storeHome({ clock });
  const store = await openStore(options);
  const model = new MemoryStore(clock);
  const stream = "curated/timed";
  for (let round = 0; round < 20; round++) {
    const rows = Array.from({ length: 700 }, (_, i) => ({
      id: `r${(i * 7 + round) % 900}`,
      place: ["JFK", "LGA", null][i % 3]!,
      gate: i % 40,
      at: (i * 31 + round * 17) % 500,
      note: `note ${i % 50}`,
    }));
    const tombstones = Uint8Array.from(rows, (_, i) => Number(i % 11 === 0));
    for (const target of [store, model]) {
      await target.commit({
        appends: [{ stream, batch: batchOf(timedContract, rows as unknown as Row[]), tombstones }],
      });
    }
    await store.compact();
  }
  const segments = store.reader.snapshot().segments.filter((info) => info.stream === stream);
  expect(segments.length).toBeLessThan(8);
  expect(Math.max(...segments.map(({ level }) => level))).toBe(1);
  const all = async (from: typeof store | typeof model, upTo: number) => {
    const parts = [];
    for await (const part of from.scan(stream, { upTo })) parts.push(part);
    return plainRows(parts);
  };
  expect(await all(store, 20)).toEqual(await all(model, 20));
  expect(await all(store, 9)).toEqual(await all(model, 9));
  const probes = Array.from({ length: 300 }, (_, i) => ({
    entity: [["JFK", "LGA", "none"][i % 3]!, i % 41],
    at: (i * 13) % 520,
  }));
  for (const probing of [{}, { upTo: 11 }, { maxAge: 40 }]) {
    expect(await store.asOf(stream, probes, probing)).toEqual(await model.asOf(stream, probes, probing));
  }
  const paged = [];
  for (let after = 0; after < 20; ) {
    const page = await store.tail(after, [stream], 1000);
    paged.push(...page.rows);
    after = page.upTo;
  }
  expect(plainRows(paged)).toEqual(plainRows((await model.tail(0, [stream], 1e9)).rows));
  expect(verifyAudit(store)).toMatchObject({ verified: true, size: 20, rows: 14_000 });
  const files = () => readdirSync(join(options.directory, "segments")).length;
  now += MICROS_PER_MINUTE;
  await store.compact();
  expect(files()).toBe(store.reader.snapshot().segments.length);
  await store.close();
  remove();
});

test("replaced files go away also where the clock was set back since", async () => {
  let now = 10 * MICROS_PER_MINUTE;
  const { options, remove } = storeHome({ clock: { now: () => now } });
  const store = await openStore(options);
  for (let i = 0; i < 16; i++) {
    const rows = [{ id: `r${i}`, place: "JFK", gate: i, at: i, note: "n" }];
    await store.commit({ appends: [{ stream: "s", batch: batchOf(timedContract, rows as unknown as Row[]) }] });
    await store.compact();
  }
  const files = () => readdirSync(join(options.directory, "segments")).length;
  const named = () => store.reader.snapshot().segments.length;
  expect(files()).toBeGreaterThan(named() + 16);
  now -= 5 * MICROS_PER_MINUTE;
  await store.compact();
  expect(files()).toBe(named());
  await store.close();
  remove();
});

test("the commit known at a time is found whatever the numbers of the segments: a merged one has the highest", async () => {
  let now = 1_000;
  const { options, remove } = storeHome({ clock: { now: () => now } });
  const store = await openStore(options);
  for (; now < 1_060; now += 10) {
    await store.commit({ appends: [] });
    await store.compact();
  }
  const { segments } = store.reader.snapshot();
  expect(segments.length).toBe(6);
  for (const order of [segments, [...segments].reverse()]) {
    const found = [999, 1_000, 1_019, 1_030, 1_050].map((time) => store.reader.segments.commitAt(order, time));
    expect(found).toEqual([0, 1, 2, 4, 6]);
  }
  await store.close();
  remove();
});
