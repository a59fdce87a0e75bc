/** Damage to one part of the store: it is named, nothing is read as if it were whole, and everything else goes on. */

import { Database } from "bun:sqlite";
import { expect, test } from "bun:test";
import { readdirSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { verifyAudit } from "../../src/audit/verify.ts";
import { MlpeError } from "../../src/base/errors.ts";
import { batchOf } from "../../src/contract/batch.ts";
import type { CompactionFailure } from "../../src/store/compact.ts";
import { damagedRows, passingOver } from "../../src/store/damage.ts";
import type { ScanOptions } from "../../src/store/port.ts";
import { query } from "../../src/store/query.ts";
import { rotateKeys } from "../../src/store/rotate_keys.ts";
import { type LogStore, openStore } from "../../src/store/store.ts";
import { timedContract } from "../support/rows.ts";
import { storeHome } from "../support/store_home.ts";

const row = (id: string, at: number) => ({ id, place: id, at, amount: at, note: `note ${id}` });
const append = (stream: string, ids: readonly string[], at: number) => ({
  stream,
  batch: batchOf(timedContract, ids.map((id, i) => row(id, at + i)) as never),
});

/** Two segments of `curated/hurt` and one of `curated/well`, then a commit of both in the tail. */
async function stored() {
  const { options, remove } = storeHome();
  const store = await openStore(options);
  const ids = (from: number) => Array.from({ length: 10 }, (_, i) => `r${from + i}`);
  await store.commit({ appends: [append("curated/hurt", ids(0), 0)] });
  await store.compact();
  await store.commit({ appends: [append("curated/hurt", ids(10), 100), append("curated/well", ids(0), 0)] });
  await store.compact();
  const infos = store.reader.snapshot().segments.filter(({ stream }) => stream === "curated/hurt");
  await store.commit({ appends: [append("curated/hurt", ["tail"], 200), append("curated/well", ["tail"], 200)] });
  const path = join(options.directory, "segments", infos[0]!.file);
  return { options, store, info: infos[0]!, path, remove };
}

const DAMAGES: readonly [name: string, (path: string) => void][] = [
  ["a flipped bit", (path) => flip(path, 40)],
  ["a flipped bit of the footer", (path) => flip(path, statSync(path).size - 30)],
  ["a file cut short", (path) => truncateSync(path, statSync(path).size - 5)],
  ["an empty file", (path) => writeFileSync(path, "")],
  ["a missing file", (path) => rmSync(path)],
];

function flip(path: string, at: number): void {
  const bytes = readFileSync(path);
  bytes[at]! ^= 4;
  writeFileSync(path, bytes);
}

async function scanned(store: LogStore, stream: string, options: ScanOptions = {}): Promise<string[]> {
  const found: string[] = [];
  for await (const { batch } of store.scan(stream, options)) {
    const { codes, dictionary } = batch.columns[0] as { codes: Int32Array; dictionary: readonly string[] };
    for (let i = 0; i < batch.length; i++) found.push(dictionary[codes[i]!]!);
  }
  return found;
}

const caught = async (work: Promise<unknown>): Promise<MlpeError> => {
  const error = await work.then(
    () => undefined,
    (cause) => cause,
  );
  if (!(error instanceof MlpeError)) throw new Error(`no error of MLPE: ${error}`);
  return error;
};

test.each(DAMAGES)(
  "%s: named by stream and sequences, never read as less, and everything else goes on",
  async (_, damage) => {
    const { options, store, info, path, remove } = await stored();
    await store.close();
    damage(path);
    const again = await openStore(options); // it opens: the damaged file is not needed for that
    try {
      const error = await caught(scanned(again, "curated/hurt"));
      expect(error.code).toBe("store.damaged");
      const named = { stream: "curated/hurt", file: info.file, firstSequence: 0, lastSequence: 9 };
      expect(damagedRows(error)).toEqual(named);
      expect((await caught(again.tail(0, ["curated/hurt"]))).code).toBe("store.damaged");
      // Other streams, and what of this one lies elsewhere.
      expect((await scanned(again, "curated/well")).length).toBe(11);
      expect((await scanned(again, "curated/hurt", { after: 1 })).length).toBe(11);
      expect((await scanned(again, "curated/hurt", { from: 100 })).length).toBe(11);
      expect((await again.tail(1, ["curated/hurt"])).rows.length).toBeGreaterThan(0);
      // Asked to, a scan goes on and says what it left out.
      const left: MlpeError[] = [];
      expect((await scanned(again, "curated/hurt", { leftOut: (one) => left.push(one) })).length).toBe(11);
      expect(left.map(damagedRows)).toEqual([named]);
      const passing = passingOver(again);
      const counted = 'select count(*) as n from "curated/hurt"';
      expect((await caught(query(again, counted))).code).toBe("store.damaged");
      expect((await query(passing.store, counted)).rows).toEqual([[11]]);
      expect(passing.leftOut().map(damagedRows)).toContainEqual(named);
      // Commits and compaction go on.
      await again.commit({ appends: [append("curated/hurt", ["later"], 300)] });
      await again.compact();
      expect((await scanned(again, "curated/hurt", { after: 1 })).length).toBe(12);
    } finally {
      await again.close();
      remove();
    }
  },
);

/** Each row a commit, each commit a segment of its own, before anything is merged. */
async function oneByOne(count: number) {
  const { options, remove } = storeHome();
  const store = await openStore(options);
  for (let i = 0; i < count; i++) {
    await store.commit({ appends: [append("curated/hurt", [`r${i}`], i), append("curated/well", [`r${i}`], i)] });
    await store.compact();
  }
  const infos = store.reader.snapshot().segments.filter(({ stream }) => stream === "curated/hurt");
  await store.close();
  return { options, remove, infos };
}

test.each(DAMAGES)(
  "%s in the middle of a run: merging and key rotation leave out that segment alone",
  async (_, damage) => {
    const { options, remove, infos } = await oneByOne(12);
    const { file } = infos[5]!;
    damage(join(options.directory, "segments", file));
    const store = await openStore(options);
    const failures: CompactionFailure[] = [];
    store.onCompactionFailed((failure) => failures.push(failure));
    try {
      for (let i = 12; i < 40; i++) {
        await store.commit({ appends: [append("curated/hurt", [`r${i}`], i), append("curated/well", [`r${i}`], i)] });
        await store.compact();
      }
      const { tail, segments } = store.reader.snapshot();
      const levels = (stream: string) => segments.filter((info) => info.stream === stream).map(({ level }) => level);
      expect(tail.length).toBe(0);
      expect(levels("curated/well").length).toBe(2 + 8);
      expect(levels("curated/hurt").length).toBe(1 + 1 + 2 + 2); // before it, itself, two merged, two not yet
      expect(failures.map(({ cause, retryInMs }) => [damagedRows(cause)?.file, retryInMs])).toEqual([
        [file, undefined],
      ]);
      const left: MlpeError[] = [];
      expect((await scanned(store, "curated/hurt", { leftOut: (one) => left.push(one) })).length).toBe(39);
      expect(left.map((error) => damagedRows(error)?.file)).toEqual([file]);
      await store.close();
      const rotated = await caught(rotateKeys(options));
      expect({ code: rotated.code, file: damagedRows(rotated)?.file }).toEqual({ code: "store.damaged", file });
      expect(rotated.message).toContain("1 of ");
      const again = await openStore({ ...options, mode: "read" });
      expect((await scanned(again, "curated/well")).length).toBe(40);
      expect((await scanned(again, "curated/hurt", { leftOut: () => {} })).length).toBe(39);
      await again.close();
    } finally {
      remove();
    }
  },
);

const CATALOGUE: readonly [name: string, sql: string, place: RegExp][] = [
  [
    "a removed row of a segment",
    "DELETE FROM segments WHERE segment_id = (SELECT min(segment_id) FROM segments)",
    /row of segment/,
  ],
  [
    "an altered row of a segment",
    "UPDATE segments SET sealed = CAST(sealed || x'00' AS BLOB) WHERE segment_id = (SELECT min(segment_id) FROM segments)",
    /^segment /,
  ],
  ["an altered state", "UPDATE state SET sealed = zeroblob(length(sealed))", /^state /],
  ["an altered commit of the tail", "UPDATE commits SET record = zeroblob(length(record))", /^commit 3/],
  ["a removed commit of the tail", "UPDATE commits SET commit_no = commit_no + 1", /^commit 3/],
];

test.each(CATALOGUE)("%s: a clear error, and nothing is changed", async (_, sql, place) => {
  const { options, store, remove } = await stored();
  await store.close();
  const database = new Database(join(options.directory, "log.db"));
  database.run(sql);
  database.run("PRAGMA wal_checkpoint(TRUNCATE)");
  database.close();
  const files = () =>
    readdirSync(options.directory, { recursive: true, encoding: "utf8" })
      .filter((name) => /^segments\/./.test(name) || name === "log.db")
      .sort()
      .map((name) => [name, Bun.hash(readFileSync(join(options.directory, name)))]);
  const before = files();
  try {
    const error = await caught(openStore(options));
    expect({ code: error.code, place: error.place }).toEqual({
      code: "store.damaged",
      place: expect.stringMatching(place),
    });
    expect(files()).toEqual(before);
    const reading = await openStore({ ...options, mode: "read" });
    expect((await caught(scanned(reading, "curated/hurt"))).code).toBe("store.damaged");
    await reading.close();
  } finally {
    remove();
  }
});

test.each(DAMAGES)("%s: the audit says once where it is, and what it is", async (_, damage) => {
  const { options, store, info, path, remove } = await stored();
  try {
    await store.close();
    damage(path);
    const reading = await openStore({ ...options, mode: "read" });
    const { problems } = verifyAudit(reading);
    await reading.close();
    const own = problems.filter(({ place }) => place.startsWith(`segment ${info.file}`));
    expect(own.length).toBeGreaterThan(0);
    for (const { message } of own) {
      expect(message).not.toContain(info.file);
      expect(message).toMatch(/ is not what was written$|^the file /);
    }
  } finally {
    remove();
  }
});
