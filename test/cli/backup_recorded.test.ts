/**
 * A backup has the log say so: before it copies anything, so that the copy says it too, and once it was made. What can't be
 * recorded is made all the same, and told.
 */
import { afterEach, beforeEach, expect, test } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import { sha256Hex } from "../../src/base/digest.ts";
import { openEngine } from "../../src/runtime/engine.ts";
import { createSmallDesk, type Desk } from "../support/world.ts";

let desk: Desk;
beforeEach(async () => {
  desk = createSmallDesk();
  expect((await desk.run("ingest")).exit).toBe(0);
});
afterEach(() => desk.remove());

interface Act {
  readonly what: string;
  readonly number: number;
  readonly backup: string;
  readonly to: string;
  readonly begunCommit: number;
  readonly commitNo?: number;
  readonly bytes?: number;
  readonly manifest?: string;
}

async function backups(...flags: readonly string[]): Promise<Act[]> {
  const { output } = await desk.run("streams", "--upkeep", "--json", ...flags);
  return (JSON.parse(output) as Act[]).filter(({ what }) => what === "backup");
}

async function json(...words: readonly string[]) {
  const { exit, output, errors } = await desk.run(...words, "--json");
  expect([exit, errors]).toEqual([0, ""]);
  return JSON.parse(output);
}

/** The manifest is the first entry of the archive: a header of 512 bytes with the size in octal at 124, then its bytes. */
function manifestOf(archive: string): Uint8Array {
  const bytes = readFileSync(desk.path(archive));
  return bytes.subarray(512, 512 + Number.parseInt(bytes.subarray(124, 135).toString(), 8));
}

test("the log says which backups there are; a restored copy says of itself that it was begun", async () => {
  const made = [await json("backup", "one.backup"), await json("backup", "two.backup")];
  const [two, one, ...others] = await backups();
  expect(others).toEqual([]);
  expect([one, two].map((act) => [act!.number, act!.backup, act!.to, act!.commitNo, act!.bytes])).toEqual(
    made.map(({ backup, commit_no, bytes }, i) => [i + 1, backup, "file", commit_no, bytes]),
  );
  expect([one!.manifest, two!.manifest]).toEqual(["one.backup", "two.backup"].map((x) => sha256Hex(manifestOf(x))));
  // Nobody else writes here: the last commit in it is the record of its begin.
  expect([one!.begunCommit, two!.begunCommit]).toEqual(made.map(({ commit_no }) => commit_no));
  expect(JSON.stringify([one, two])).not.toContain(desk.home);
  expect(JSON.stringify((await json("query", "select * from backups")).rows)).not.toContain("two.backup");

  await json("restore", "two.backup", "--data", "copy");
  const inCopy = await backups("--data", "copy");
  expect(inCopy.map(({ number, backup, commitNo }) => [number, backup, commitNo ?? null])).toEqual([
    [2, made[1].backup, null],
    [1, made[0].backup, made[0].commit_no],
  ]);
});

test("a backup that fails stays as one that was begun", async () => {
  expect((await desk.run("backup", "nowhere/one.backup")).exit).not.toBe(0);
  expect((await backups()).map(({ number, commitNo }) => [number, commitNo])).toEqual([[1, undefined]]);
});

test("where the log can't be written the backup is made and says what is missing", async () => {
  const engine = await openEngine(desk.world, { config: desk.path("mlpe.yaml") }, "write");
  try {
    const { backup, unrecorded } = await json("backup", "one.backup");
    expect([backup, unrecorded.code]).toEqual([null, "store.locked"]);
    const { exit, output } = await desk.run("backup", "two.backup");
    expect([exit, output.includes("could not record this backup (")]).toEqual([0, true]);
  } finally {
    await engine.close();
  }
  expect(await backups()).toEqual([]);
  await json("restore", "one.backup", "--data", "copy");
});

test("nothing is written into the data directory, however it is named", async () => {
  const files = () =>
    (readdirSync(desk.path("data"), { recursive: true }) as string[]).filter((name) => !/^log\.db-/.test(name));
  const before = files().sort();
  for (const words of [
    ["backup", "data/backup"],
    ["backup", "--out", `${desk.path("other")}/../data/segments/backup`],
    ["export", "curated/readings", "--out", "./data/../data/x.parquet"],
    ["query", "select 1", "--output", "data/log.db-wal"],
    ["audit", "checkpoint", "--out", "data/note"],
  ]) {
    const { exit, errors } = await desk.run(...words);
    expect([words, exit, errors]).toEqual([words, 77, expect.stringContaining("cli.output_in_data")]);
  }
  expect(files().sort()).toEqual(before);
  expect((await desk.run("backup", "database.backup")).exit).toBe(0); // a name that begins as the directory's
});
