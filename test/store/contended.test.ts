import { expect, test } from "bun:test";
import { othersTurn } from "../../src/base/turn.ts";
import { batchOf } from "../../src/contract/batch.ts";
import { namesOf } from "../../src/store/catalogue.ts";
import { handsOf } from "../../src/store/compact_work.ts";
import { databasePath, openReaderDatabase } from "../../src/store/database.ts";
import { openSealer } from "../../src/store/sealer.ts";
import { readSegmentInfos } from "../../src/store/segment_info.ts";
import { openStore } from "../../src/store/store.ts";
import { openWriter } from "../../src/store/writer.ts";
import { plainContract } from "../support/rows.ts";
import { storeHome } from "../support/store_home.ts";

/** Another connection, on a thread of its own, that may write for a moment: as one has that finds the log's index half written. */
const WRITER = `
import { Database } from "bun:sqlite";
self.onmessage = ({ data }) => {
  const database = new Database(data);
  database.run("BEGIN IMMEDIATE");
  self.postMessage("held");
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 300);
  database.run("COMMIT");
  database.close();
};`;

/** Another connection, on a thread of its own, that has the whole database for a moment: as one that recovers it has. */
const HOLDER = `
import { Database } from "bun:sqlite";
self.onmessage = ({ data }) => {
  const database = new Database(data);
  database.run("PRAGMA locking_mode = exclusive");
  database.run("BEGIN EXCLUSIVE");
  database.query("SELECT count(*) FROM commits").get();
  self.postMessage("held");
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 150);
  database.run("COMMIT");
  database.close();
};`;

test("compaction records what it packed and merged when another has let go of the right to write", async () => {
  const home = storeHome();
  const source = URL.createObjectURL(new Blob([WRITER], { type: "text/javascript" }));
  const { directory, keys, clock, random } = home.options;
  const store = await openStore(home.options);
  for (let turn = 0; turn < 16; turn++) {
    await store.commit({
      appends: [{ stream: "curated/a", batch: batchOf(plainContract, [{ kind: "k", body: null, at: turn }]) }],
    });
    if (turn < 15) await store.compact();
  }
  await store.close();
  const database = openReaderDatabase(directory);
  const sealer = (await openSealer(database, keys, directory, random))!;
  const names = namesOf(database, sealer);
  const hands = handsOf({ directory, database, names, sealer, random, pause: othersTurn });
  /** Does the work; before it is recorded, another has the right to write, for a moment. */
  const contended = async <Work>(work: Promise<Work>): Promise<Work> => {
    const done = await work;
    if (!done) return done;
    const holder = new Worker(source);
    const held = new Promise((resolve, reject) => {
      holder.onmessage = resolve;
      holder.onerror = reject;
    });
    holder.postMessage(databasePath(directory));
    await held;
    return done;
  };
  const makeHands = () => ({
    ...hands,
    packTail: (...given: Parameters<typeof hands.packTail>) => contended(hands.packTail(...given)),
    mergeNext: (...given: Parameters<typeof hands.mergeNext>) => contended(hands.mergeNext(...given)),
  });
  const writer = await openWriter(directory, keys, clock, random, { makeHands });
  try {
    await writer.compact();
    const rows = readSegmentInfos(database, sealer).filter(({ stream }) => stream === "curated/a");
    expect(rows.map((info) => info.rows)).toEqual([16]);
  } finally {
    await writer.close();
    database.close();
    URL.revokeObjectURL(source);
    home.remove();
  }
}, 60_000);

test.each(["write", "read"] as const)("to %s, a log is opened when another has let go of it", async (mode) => {
  const home = storeHome();
  const source = URL.createObjectURL(new Blob([HOLDER], { type: "text/javascript" }));
  const holder = new Worker(source);
  try {
    await (await openStore(home.options)).close();
    const held = new Promise((resolve) => {
      holder.onmessage = resolve;
    });
    holder.postMessage(databasePath(home.options.directory));
    await held;
    const store = await openStore({ ...home.options, mode });
    expect((await store.head()).commitNo).toBe(0);
    await store.close();
  } finally {
    holder.terminate();
    URL.revokeObjectURL(source);
    home.remove();
  }
});
