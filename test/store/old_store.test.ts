/**
 * Commands that only read, on a store that an earlier version left: later migrations are not applied, and nothing changes.
 * (The kept stores hold made-up bytes where `lineage` and `ledger verify` look for JSON, so these two are not among them.)
 */
import { expect, test } from "bun:test";
import { chmodSync, cpSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { createDesk } from "../support/world.ts";

const GOLDEN = join(import.meta.dir, "../golden");

/** The last one with every migration. */
const NEWEST: readonly string[] = ["2", "3"];

const CONFIG = `site: here
keys: { path: test-only.key }
data: data
sources: { s: { connector: file, path: a.csv, dataset: d } }
datasets: { d: { contract: d.avsc, static: true } }
`;
const CONTRACT =
  '{"type":"record","name":"d","recordId":["id"],"entity":["id"],"fields":[{"name":"id","type":"long"}]}';

const COMMANDS: readonly (readonly string[])[] = [
  ["streams", "--digest"],
  ["keys", "list"],
  ["query", "select count(*) as n from reading", "--json"],
  ["export", "curated/reading", "--out", "readings.parquet"],
  ["tap", "curated/reading", "--limit", "3"],
  ["audit", "verify"],
  ["audit", "checkpoint"],
  ["audit", "prove", "3"],
  ["quarantine", "list"],
  ["model", "list"],
];

test("commands that only read work on a store whose migrations are not applied, and leave it as it was", async () => {
  for (const name of readdirSync(GOLDEN).filter((entry) => /^\d+$/.test(entry))) {
    const desk = createDesk();
    cpSync(join(GOLDEN, name), desk.home, { recursive: true });
    chmodSync(desk.path("test-only.key"), 0o600);
    desk.write("mlpe.yaml", CONFIG);
    desk.write("d.avsc", CONTRACT);
    const before = readFileSync(desk.path("data/log.db"));
    const failed: unknown[] = [];
    for (const words of COMMANDS) {
      const { exit, errors } = await desk.run(...words);
      if (exit !== 0) failed.push({ words, exit, errors });
    }
    expect(failed).toEqual([]);
    expect(readFileSync(desk.path("data/log.db")).equals(before)).toBe(true);
    // A store of the newest format records its backups; an earlier one is copied as it is.
    const { output } = await desk.run("backup", "--out", "old.backup", "--json");
    const { unrecorded } = JSON.parse(output);
    expect(unrecorded?.code).toBe(NEWEST.includes(name) ? undefined : "runtime.older_store");
    expect(readFileSync(desk.path("data/log.db")).equals(before)).toBe(!NEWEST.includes(name));
    desk.remove();
  }
});
