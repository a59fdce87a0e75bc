/** What a signal leaves of a backup: a process sends it to itself once it has made the folder, or the file, that it works in. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { batchOf } from "../../src/contract/batch.ts";
import { openEngine } from "../../src/runtime/engine.ts";
import { plainContract } from "../support/rows.ts";
import { createDesk, type Desk } from "../support/world.ts";

let desk: Desk;
beforeAll(async () => {
  desk = createDesk();
  desk.write("mlpe.yaml", "site: here\nkeys: { path: key }\ndata: data\n");
  const engine = await openEngine(desk.world, { config: desk.path("mlpe.yaml") }, "write");
  for (let at = 0; at < 8; at++) {
    // Random bytes: hashing and writing them takes many turns.
    const rows = [{ kind: "k", body: desk.world.random.bytes(2 << 20), at }];
    await engine.store.commit({ appends: [{ stream: "landing/plain", batch: batchOf(plainContract, rows) }] });
  }
  await engine.close();
}, 30_000);
afterAll(() => desk.remove());

const BACKUP = `
const [, source, signal, kind, ...words] = process.argv;
const { systemWorld } = await import(source + "/system.ts");
const { dispatch } = await import(source + "/cli/dispatch.ts");
const { lstatSync } = await import("node:fs");
const files = {
  ...systemWorld.files,
  removedWhenStopped(path) {
    const unwatch = systemWorld.files.removedWhenStopped(path);
    if (!path.endsWith(process.pid + ".tmp")) return unwatch;
    const look = () => {
      const made = lstatSync(path, { throwIfNoEntry: false });
      if (made && made.isDirectory() === (kind === "folder")) process.kill(process.pid, signal);
      else setImmediate(look);
    };
    look();
    return unwatch;
  },
};
process.exit(await dispatch({ ...systemWorld, files }, words));`;

test.each([
  ["SIGTERM", "folder", ["backup", "out"], 143],
  ["SIGINT", "file", ["backup", "out"], 130],
  ["SIGTERM", "folder", ["backup", "-"], 143],
] as const)("%s while there is a %s of %p leaves nothing", async (signal, kind, words, code) => {
  const source = join(import.meta.dir, "../../src");
  const child = Bun.spawn([process.execPath, "-e", BACKUP, source, signal, kind, ...words], {
    cwd: desk.home,
    stdout: "ignore",
    stderr: "pipe",
  });
  try {
    const [said, ended] = await Promise.all([child.stderr.text(), child.exited]);
    expect({ ended, said }).toMatchObject({ ended: code });
  } finally {
    child.kill("SIGKILL");
  }
  const left = [...readdirSync(desk.home), ...readdirSync(desk.path("data"))].filter((name) => name.includes(".tmp"));
  expect([left, existsSync(desk.path("out"))]).toEqual([[], false]);
});
