import { expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { systemRandom } from "../../src/base/random.ts";
import type { Row } from "../../src/base/row.ts";
import { batchOf } from "../../src/contract/batch.ts";
import type { CommitRequest, Probe, ScanOptions, Store } from "../../src/store/port.ts";
import { openStore } from "../../src/store/store.ts";
import { MemoryStore } from "../support/memory_store.ts";
import { plainRows, streams } from "../support/rows.ts";

/*
 * Random appends, compactions and reopenings, and after them every kind of read with random arguments: the sealed log
 * must answer as the plain in-memory model does.
 */

const names = Object.keys(streams);

const append = fc
  .constantFrom(...names)
  .chain((stream) =>
    fc
      .array(fc.tuple(streams[stream]!.row, fc.boolean()), { maxLength: 12 })
      .map((rows) => ({ stream, rows: rows.map(([row]) => row), dead: rows.map(([, dead]) => dead) })),
  );

const commit = fc.record({
  kind: fc.constant("commit" as const),
  appends: fc.array(append, { maxLength: 4 }),
  cursors: fc.dictionary(fc.constantFrom("s", "t"), fc.string({ maxLength: 5 }), { maxKeys: 2 }),
  readers: fc.dictionary(fc.constantFrom("r", "q"), fc.nat(100), { maxKeys: 2 }),
  expectReader: fc.option(fc.nat(3), { nil: undefined, freq: 8 }),
  clock: fc.integer({ min: -50, max: 100 }),
});

const step = fc.oneof(
  { weight: 8, arbitrary: commit },
  { weight: 2, arbitrary: fc.constant({ kind: "compact" as const }) },
  { weight: 1, arbitrary: fc.constant({ kind: "reopen" as const }) },
);

const probe: fc.Arbitrary<{ stream: string } & Probe> = fc
  .constantFrom("curated/timed", "curated/fixed")
  .chain((stream) =>
    fc.record({
      stream: fc.constant(stream),
      entity:
        stream === "curated/timed"
          ? fc.tuple(fc.constantFrom("JFK", "LGA", "", "Ü", "none", null), fc.constantFrom(1, 2, -3, null))
          : fc.tuple(fc.constantFrom("A", "B", "C", "D")),
      at: fc.integer({ min: -1, max: 31 }),
    }),
  );

const reads = fc.record({
  after: fc.nat(20),
  maxRows: fc.integer({ min: 1, max: 30 }),
  upTo: fc.option(fc.nat(20), { nil: undefined }),
  from: fc.option(fc.nat(20), { nil: undefined }),
  to: fc.option(fc.nat(20), { nil: undefined }),
  columns: fc.option(fc.subarray(["at", "note", "count", "code", "body"]), { nil: undefined }),
  maxAge: fc.option(fc.nat(10), { nil: undefined }),
  probes: fc.array(probe, { maxLength: 12 }),
});

type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;
type Reads = typeof reads extends fc.Arbitrary<infer T> ? T : never;

function requestOf(item: Extract<Step, { kind: "commit" }>): CommitRequest {
  return {
    appends: item.appends.map(({ stream, rows, dead }) => ({
      stream,
      batch: batchOf(streams[stream]!.contract, rows as Row[]),
      ...(dead.includes(true) ? { tombstones: Uint8Array.from(dead, Number) } : {}),
    })),
    cursors: item.cursors,
    readers: item.readers,
    ...(item.expectReader === undefined ? {} : { expect: { readers: { r: item.expectReader } } }),
  };
}

const outcome = async <T>(promise: Promise<T>) =>
  promise.catch((cause) => ({ refused: (cause as { code: string }).code }));

async function collect(store: Store, stream: string, options: ScanOptions) {
  const parts = [];
  for await (const part of store.scan(stream, options)) parts.push(part);
  return plainRows(parts);
}

const defined = <T extends object>(options: T) =>
  Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined));

async function compare(real: Store, model: Store, read: Reads): Promise<void> {
  expect(await real.head()).toEqual(await model.head());
  for (const name of ["s", "t"]) expect(await real.cursor(name)).toBe(await model.cursor(name));
  for (const name of ["r", "q"]) expect(await real.position(name)).toBe(await model.position(name));
  const known = (list: readonly { stream: string }[]) =>
    [...list].map((info) => ({ ...info, bytes: 0 })).sort((a, b) => (a.stream < b.stream ? -1 : 1));
  expect(known(await real.streams())).toEqual(known(await model.streams()));
  const { knownTime } = await model.head();
  for (const time of [knownTime - read.after, knownTime, -1]) {
    expect(await real.commitAt(time)).toBe(await model.commitAt(time));
  }
  await compareTail(real, model, read);
  for (const stream of names) {
    const { upTo, from, to, columns } = read;
    const options = defined({ upTo, from, to, columns });
    expect(await collect(real, stream, options)).toEqual(await collect(model, stream, options));
    const later = { ...options, after: read.after };
    expect(await collect(real, stream, later)).toEqual(await collect(model, stream, later));
    for (const { stream: probed, entity } of read.probes) {
      if (probed !== stream) continue;
      expect(await collect(real, stream, { entity })).toEqual(await collect(model, stream, { entity }));
    }
  }
  for (const stream of ["curated/timed", "curated/fixed"]) {
    const probes = read.probes.filter((item) => item.stream === stream);
    const options = defined({ upTo: read.upTo, maxAge: read.maxAge, columns: read.columns });
    expect(await real.asOf(stream, probes, options)).toEqual(await model.asOf(stream, probes, options));
  }
}

/** Pages may end at different commits; what counts is that paging on gives the same rows, in order and without gaps. */
async function compareTail(real: Store, model: Store, read: Reads): Promise<void> {
  const wanted = names.slice(0, 2);
  const all = await model.tail(read.after, wanted, Number.MAX_SAFE_INTEGER);
  const { commitNo } = await real.head();
  const found = [];
  let after = read.after;
  while (after < commitNo) {
    const page = await real.tail(after, wanted, read.maxRows);
    expect(page.upTo).toBeGreaterThan(after);
    const numbers = page.rows.map((rows) => rows.commitNos[0]!);
    expect(numbers).toEqual([...numbers].sort((a, b) => a - b));
    for (const number of numbers) expect(number > after && number <= page.upTo).toBe(true);
    found.push(...page.rows);
    after = page.upTo;
  }
  expect(plainRows(found)).toEqual(plainRows(all.rows));
}

test("the sealed log answers as the plain model does", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(step, { maxLength: 24 }),
      fc.array(reads, { minLength: 1, maxLength: 4 }),
      async (steps, list) => {
        const home = mkdtempSync(join(tmpdir(), "mlpe-random-"));
        let now = 1_000_000;
        const clock = { now: () => now };
        const options = {
          directory: join(home, "data"),
          keys: { provider: "file", path: join(home, "key") },
          clock,
          random: systemRandom,
        };
        const model = new MemoryStore(clock);
        let real = await openStore(options);
        try {
          for (const item of steps) {
            if (item.kind === "commit") {
              now += item.clock;
              const request = requestOf(item);
              expect(await outcome(real.commit(request))).toEqual(await outcome(model.commit(request)));
            } else if (item.kind === "compact") await real.compact();
            else {
              await real.close();
              real = await openStore(options);
            }
          }
          for (const read of list) await compare(real, model, read);
        } finally {
          await real.close();
          rmSync(home, { recursive: true });
        }
      },
    ),
    { numRuns: Number(Bun.env.MLPE_RUNS ?? 60) },
  );
}, 60_000);
