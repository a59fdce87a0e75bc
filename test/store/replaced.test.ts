/**
 * Readers beside a writer that replaces segments and has removed the old files before they were opened. In one process
 * the moment is chosen: a getter of what is asked for, which is read after the catalogue and before the files. Then
 * another process reads on and on, while this one commits and compacts, with a clock that lets no file stay.
 */
import { afterEach, expect, test } from "bun:test";
import { existsSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { verifyAudit } from "../../src/audit/verify.ts";
import type { MlpeError } from "../../src/base/errors.ts";
import { batchOf } from "../../src/contract/batch.ts";
import { streamContract } from "../../src/contract/contract.ts";
import { logReader } from "../../src/store/log_reader.ts";
import type { StoredRows } from "../../src/store/port.ts";
import { givenRows, holdSnapshot, readAgain, readAgainInTurns } from "../../src/store/replaced.ts";
import { openSegment } from "../../src/store/segment_read.ts";
import { type LogStore, openStore } from "../../src/store/store.ts";
import { openWriter } from "../../src/store/writer.ts";
import { replacementOf } from "../support/replacing.ts";
import { timedContract } from "../support/rows.ts";
import { storeHome } from "../support/store_home.ts";

const STREAM = "curated/flights";
const otherContract = streamContract({
  name: "other",
  fields: { id: "string", place: "string?", gate: "int?", at: "timestamp", amount: "double?" },
  entity: ["place", "gate"],
  eventTime: "at",
  recordId: ["id"],
});
const cleanups: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

const row = (i: number) => ({ id: `r${i}`, place: `p${i % 7}`, gate: 1, at: i, amount: i / 2, note: `note ${i}` });
const append = (store: LogStore, from: number, rows: number) =>
  store.commit({
    appends: [
      { stream: STREAM, batch: batchOf(timedContract, Array.from({ length: rows }, (_, i) => row(from + i)) as never) },
    ],
  });

/** A log of three segments and a tail, and a reader of its own, as in another process. */
async function stored() {
  const home = storeHome();
  cleanups.push(home.remove);
  const store = await openStore(home.options);
  cleanups.push(() => store.close());
  for (let i = 0; i < 3; i++) {
    await append(store, i * 10, 10);
    await store.compact();
  }
  await append(store, 30, 5);
  const reading = await openStore({ ...home.options, mode: "read" });
  cleanups.push(() => reading.close());
  const replace = await replacementOf(store);
  return { store, reading, replace, directory: home.options.directory };
}

/** `value` with a property that does `act` when it is first read, and is absent. */
function tripped<T extends object>(value: T, name: string, act: () => void): T {
  let done = false;
  const get = () => {
    if (!done) act();
    done = true;
    return undefined;
  };
  return Object.defineProperty(value, name, { get, enumerable: true });
}

const rowsOf = (parts: readonly StoredRows[]) =>
  parts
    .flatMap(({ sequences, commitNos }) => Array.from(sequences, (sequence, i) => [sequence, commitNos[i]!] as const))
    .sort((a, b) => a[0] - b[0]);
const ALL = Array.from({ length: 35 }, (_, i) => [i, 1 + Math.floor(i / 10)] as const);

async function scanned(store: LogStore, options = {}): Promise<StoredRows[]> {
  const parts: StoredRows[] = [];
  for await (const part of store.scan(STREAM, options)) parts.push(part);
  return parts;
}

test("a scan goes on over what replaced its segments, with the same rows, up to the commit it began with", async () => {
  const { store, reading, replace } = await stored();
  const before = readdirSync(join(store.directory, "segments"));
  const more: Promise<unknown>[] = [];
  const options = tripped({}, "from", () => {
    replace();
    more.push(append(store, 35, 5)); // a later commit
  });
  expect(rowsOf(await scanned(reading, options))).toEqual(ALL);
  expect(more).toHaveLength(1);
  await Promise.all(more);
  const after = readdirSync(join(store.directory, "segments"));
  expect(after.filter((file) => before.includes(file)).length).toBeLessThan(before.length);
  expect(rowsOf(await scanned(reading))).toHaveLength(40);
});

test("a scan that leaves damage out does not take a replaced segment for it", async () => {
  const { reading, replace } = await stored();
  const left: MlpeError[] = [];
  const options = { leftOut: (damage: MlpeError) => void left.push(damage) };
  expect(rowsOf(await scanned(reading, tripped(options, "from", replace)))).toEqual(ALL);
  expect(left).toEqual([]);
});

test("a page of the tail goes on at the same position", async () => {
  const { reading, replace } = await stored();
  const page = reading.tail(1, [STREAM], 20); // it has looked, and opens windows in turns
  replace();
  const { rows, upTo } = await page;
  expect(rowsOf(rows)).toEqual(ALL.slice(10, 30));
  const next = await reading.tail(upTo, [STREAM]);
  expect(rowsOf([...rows, ...next.rows])).toEqual(ALL.slice(10));
});

test("an as-of read finds what it would have found", async () => {
  const { reading, replace } = await stored();
  const options = tripped({}, "maxAge", replace); // asked for just before segments are opened
  expect(await reading.asOf(STREAM, [{ entity: ["p3", 1], at: 24 }], options)).toMatchObject([{ id: "r24" }]);
  expect("maxAge" in options).toBe(true);
});

test("a file that is missing and still named is damage, at once", async () => {
  const { store, reading } = await stored();
  const [info] = store.reader.snapshot().segments.filter(({ stream }) => stream === STREAM);
  rmSync(join(store.directory, "segments", info!.file));
  let looks = 0;
  const looked = () => {
    looks++;
    return reading.reader.snapshot();
  };
  const open = () => openSegment(store.directory, info!, reading.sealer, reading.reader.names);
  expect(() => readAgain(looked, open)).toThrow(/missing/);
  expect(looks).toBe(2); // and whether it is still named
  expect((await scanned(reading).catch((error) => error)).code).toBe("store.damaged");
});

test("where segments are replaced again and again, a read gives up with a clear error", async () => {
  const { store, reading } = await stored();
  let tries = 0;
  const read = async () => {
    tries++;
    const [info] = reading.reader.snapshot().segments;
    (await replacementOf(store))();
    return openSegment(store.directory, info!, reading.sealer, reading.reader.names);
  };
  expect((await readAgainInTurns(reading.reader.snapshot, read).catch((error) => error)).code).toBe("store.overtaken");
  expect(tries).toBe(5);
});

test("an audit that takes long reads the files it began with", async () => {
  const { store, reading, replace, directory } = await stored();
  const reader = logReader(directory, reading.sealer);
  const held = holdSnapshot(directory, reader.snapshot);
  replace();
  const found = held.snapshot.segments
    .filter(({ stream }) => stream === STREAM)
    .map((info) => openSegment(directory, info, reading.sealer, reader.names, held.handles.get(info.file)).rows(0));
  expect(rowsOf(found)).toEqual(ALL.slice(0, 30));
  held.close();
  reader.close();
  expect(verifyAudit(store).problems).toEqual([]);
});

const OPEN_FILES = "/proc/self/fd";

/** A log of a stream that changes its contract all the time: 300 small segments of ten rows and one of 200. */
async function alternating() {
  const home = storeHome();
  cleanups.push(home.remove);
  const store = await openStore(home.options);
  cleanups.push(() => store.close());
  const contracts = [timedContract, otherContract];
  const part = (from: number, rows: number, turn: number) => ({
    stream: STREAM,
    batch: batchOf(contracts[turn % 2]!, Array.from({ length: rows }, (_, i) => row(from + i)) as never),
  });
  await store.commit({ appends: Array.from({ length: 300 }, (_, turn) => part(turn * 10, 10, turn)) });
  await store.commit({ appends: [part(3_000, 200, 0)] });
  await store.compact();
  return store;
}

test.skipIf(!existsSync(OPEN_FILES))(
  "a scan of very many segments opens no more than its bound, and tells a replaced one from a damaged one",
  async () => {
    const store = await alternating();
    const open = () => readdirSync(OPEN_FILES).length;
    const before = open();
    const sequences: number[] = [];
    let most = 0;
    for await (const part of store.scan(STREAM)) {
      sequences.push(...part.sequences);
      most = Math.max(most, open());
    }
    expect(sequences.sort((a, b) => a - b)).toEqual(Array.from({ length: 3_200 }, (_, i) => i));
    expect(most - before).toBeGreaterThanOrEqual(250);
    expect(most - before).toBeLessThan(290);
    expect(open()).toBeLessThan(before + 20);
    // The largest is not open yet: what replaced it has its rows, and commits that came meanwhile are no part of it.
    const late: number[] = [];
    for await (const part of store.scan(STREAM)) {
      if (late.length === 0) {
        await store.commit({ appends: [{ stream: STREAM, batch: batchOf(timedContract, [row(3_200)] as never) }] });
        (await replacementOf(store, (info) => info.rows === 200))();
        await store.compact();
      }
      late.push(...part.sequences);
    }
    expect(late.toSorted((a, b) => a - b)).toEqual(Array.from({ length: 3_200 }, (_, i) => i));
  },
);

test("a scan that is overtaken in the middle gives each row once, whatever the new segments span", () => {
  const range = fc.tuple(fc.nat(60), fc.integer({ min: 1, max: 25 }));
  fc.assert(
    fc.property(fc.array(range, { maxLength: 12 }), range, (added, [firstSequence, rows]) => {
      const given = givenRows();
      const known = new Set<number>();
      for (const [first, count] of added) {
        given.add({ firstSequence: first, rows: count });
        for (let i = 0; i < count; i++) known.add(first + i);
      }
      const asked = Array.from({ length: rows }, (_, i) => firstSequence + i);
      const left = asked.filter((sequence) => !known.has(sequence));
      expect(given.all({ firstSequence, rows })).toBe(left.length === 0);
      expect(given.some({ firstSequence, rows })).toBe(left.length < rows);
      const parts = given.rest({
        stream: STREAM,
        batch: batchOf(timedContract, asked.map(row) as never),
        sequences: Float64Array.from(asked),
        commitNos: new Float64Array(rows),
        knownTimes: new Float64Array(rows),
        tombstones: new Uint8Array(rows),
      });
      expect([...(parts?.sequences ?? [])]).toEqual(left);
      expect(parts?.batch.length ?? 0).toBe(left.length);
      expect(given.count()).toBe(added.length);
    }),
  );
});

test("an audit begins again where a file that it does not hold was replaced", async () => {
  const { store, replace } = await stored();
  const audited = (replacing: () => void) => {
    let opened = 0;
    const keyring = {
      ...store.sealer.keyring,
      chunks(keyId: number, nonce: Uint8Array) {
        if (opened++ === 1) replacing(); // in the middle: between the first file and the others
        return store.sealer.keyring.chunks(keyId, nonce);
      },
    };
    const report = verifyAudit({ ...store, sealer: { ...store.sealer, keyring } }, { filesHeld: 0 });
    return { report, opened };
  };
  const before = audited(() => {});
  const { report, opened } = audited(replace);
  expect(report).toMatchObject({ verified: true, problems: [], size: 4, rows: 35, root: before.report.root });
  expect(opened).toBeGreaterThan(before.opened);
});

test("a process that may open no more files says so, and calls nothing damaged", async () => {
  const { directory } = await alternating();
  const source = (path: string) => JSON.stringify(join(import.meta.dir, "../../src", path));
  const script = `
    const { openStore } = await import(${source("store/store.ts")});
    const { systemClock: clock } = await import(${source("base/clock.ts")});
    const { systemRandom: random } = await import(${source("base/random.ts")});
    const keys = { provider: "file", path: ${JSON.stringify(join(directory, "../key"))} };
    const store = await openStore({ directory: ${JSON.stringify(directory)}, keys, clock, random, mode: "read" });
    const read = async () => { for await (const part of store.scan("${STREAM}", { leftOut: () => {} })); };
    console.log(await read().catch((error) => error.code));
    process.exit(0);`;
  const limited = ["sh", "-c", 'ulimit -n 200 && exec "$@"', "sh", process.execPath, "-e", script];
  const child = Bun.spawn(limited, { stdout: "pipe", stderr: "pipe" });
  try {
    expect(await child.stdout.text(), await child.stderr.text()).toBe("store.too_many_files\n");
  } finally {
    child.kill("SIGKILL");
  }
});

test("another process reads every row once, whatever is replaced beside it", async () => {
  let now = 1_700_000_000_000_000;
  const leaping = () => {
    now += 20_000_000; // no replaced file stays until the next compaction
    return now;
  };
  const home = storeHome({ clock: { now: leaping } });
  cleanups.push(home.remove);
  const store = await openStore(home.options);
  cleanups.push(() => store.close());
  await append(store, 0, 10);
  const script = join(import.meta.dir, "../support/reading_process.ts");
  const child = Bun.spawn([process.execPath, script, home.home, STREAM], {
    stdin: "pipe",
    stdout: "pipe",
    stderr: "pipe",
  });
  try {
    const lines = child.stdout.getReader();
    expect(new TextDecoder().decode((await lines.read()).value)).toBe("ready\n");
    for (let turn = 1; turn < 60; turn++) {
      await append(store, turn * 10, 10);
      await store.compact();
    }
    child.stdin.end();
    const told = new TextDecoder().decode((await lines.read()).value);
    expect(await child.exited, await child.stderr.text()).toBe(0);
    expect(JSON.parse(told)).toEqual({ rows: 600, problems: [] });
  } finally {
    child.kill("SIGKILL");
  }
}, 60_000);

test("files that fall due while it is asked which are due are not lost", async () => {
  const { options, remove } = storeHome();
  cleanups.push(remove);
  let now = 1_700_000_000_000_000;
  let step = 0;
  const clock = { now: () => (now += step) };
  const writer = await openWriter(options.directory, options.keys, clock, options.random);
  cleanups.push(() => writer.close());
  writer.log.replaced(["a"]);
  step = 2_600_000; // 10 s are over at the fourth look
  const taken = [1, 2, 3, 4].flatMap(() => writer.log.takeReplaced());
  step = 0;
  expect(taken).toEqual(["a"]);
});
