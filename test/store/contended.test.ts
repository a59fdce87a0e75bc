import { expect, test } from "bun:test";
import { databasePath } from "../../src/store/database.ts";
import { openStore } from "../../src/store/store.ts";
import { storeHome } from "../support/store_home.ts";

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
