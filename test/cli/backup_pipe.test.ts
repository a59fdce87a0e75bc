/** Backup and restore through real pipes: what comes out goes in, and what breaks on the way is an exit code and no directory. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { cpSync, existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { othersTurn } from "../../src/base/turn.ts";
import { batchOf } from "../../src/contract/batch.ts";
import { openEngine } from "../../src/runtime/engine.ts";
import { plainContract } from "../support/rows.ts";
import { createDesk, type Desk } from "../support/world.ts";

const MAIN = join(import.meta.dir, "../../src/main.ts");
let desk: Desk;

beforeAll(async () => {
  desk = createDesk();
  desk.write("mlpe.yaml", "site: here\nkeys: { path: key }\ndata: data\n");
  const engine = await openEngine(desk.world, { config: desk.path("mlpe.yaml") }, "write");
  for (let c = 0; c < 40; c++) {
    // Random bytes: the archive is larger than any pipe holds.
    const rows = [{ kind: "k", body: desk.world.random.bytes(20_000), at: c }];
    await engine.store.commit({ appends: [{ stream: "landing/plain", batch: batchOf(plainContract, rows) }] });
    if (c === 30) await engine.store.compact();
  }
  await engine.close();
}, 30_000);
afterAll(() => desk.remove());

async function piped(script: string) {
  const child = Bun.spawn(
    ["bash", "-c", `set -o pipefail; mlpe() { "${process.execPath}" "${MAIN}" "$@"; }; ${script}`],
    {
      cwd: desk.home,
      stdout: "pipe",
      stderr: "pipe",
      timeout: 60_000,
    },
  );
  const [output, errors, code] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
  return { output, errors, code };
}

/** Of what was there before any backup. */
const digest = async (data: string) => {
  const { output } = await desk.run("streams", "--digest", "--data", data, "--json");
  return (JSON.parse(output) as { stream: string; content: unknown }[])
    .filter(({ stream }) => stream !== "backups")
    .map(({ content }) => content);
};

test("a backup through a pipe is restored from it, and the store has nothing left over", async () => {
  const ran = await piped("mlpe backup - | gzip -1 | gunzip | mlpe restore - --data copy --json");
  const [, upTo] = /standard output: everything up to commit (\d+)/.exec(ran.errors)!;
  expect([ran.code, JSON.parse(ran.output)]).toEqual([0, expect.objectContaining({ commit_no: Number(upTo) })]);
  expect(await digest("copy")).toEqual(await digest("data"));
  expect((await digest("copy")).length).toBe(1);
  expect(readdirSync(desk.path("data")).filter((name) => name.includes("tmp"))).toEqual([]);
  const twice = await piped(
    "mlpe backup --output - > one && mlpe backup two > said && tar tf one > list && tar tf two | cmp - list && head -1 list",
  );
  expect([twice.code, twice.output.split("\n").at(-2)]).toEqual([0, "manifest.json"]);
}, 60_000);

test("a pipe that breaks is a failure, and what came short or changed is restored nowhere", async () => {
  const broken = await piped("mlpe backup - | head -c 4096 > /dev/null");
  expect([broken.code, broken.errors]).toEqual([69, expect.stringContaining("error cli.not_written")]);
  const short = await piped("mlpe backup - 2> /dev/null | head -c 400000 | mlpe restore - --data other");
  expect(short.code).not.toBe(0);
  expect(short.errors).toContain("error store.bad_backup: standard input is damaged: it ends too early");
  const changed = await piped(
    "mlpe backup - 2> /dev/null > whole; { head -c 300000 whole; printf x; tail -c +300002 whole; } | mlpe restore - --data other",
  );
  expect([changed.code, changed.errors]).toEqual([74, expect.stringContaining("has another digest")]);
  const none = await piped("mlpe restore - --data other < /dev/null");
  expect(none.errors).toContain("it ends too early");
  expect(readdirSync(desk.home).filter((name) => name.startsWith("other"))).toEqual([]);
  expect(existsSync(desk.path("other"))).toBe(false);
}, 60_000);

test("a backup of a damaged directory is made, says which rows it can't give back, and exits with 1", async () => {
  cpSync(desk.path("data"), desk.path("hurt"), { recursive: true });
  const [file] = readdirSync(desk.path("hurt/segments")).map((name) => desk.path(`hurt/segments/${name}`));
  const bytes = readFileSync(file!);
  bytes[bytes.length >> 1]! ^= 1;
  writeFileSync(file!, bytes);
  const said = [expect.stringMatching(/^segment [0-9a-f]+, stream \S+, sequences 0 to \d+: /)];
  const ran = await desk.run("backup", "hurt.backup", "--data", "hurt", "--json");
  expect([ran.exit, JSON.parse(ran.output)]).toEqual([1, expect.objectContaining({ damaged: said })]);
  const { output } = await desk.run("backup", "hurt2.backup", "--data", "hurt");
  expect(output).toContain("THE DATA DIRECTORY IS DAMAGED, AND SO IS THIS BACKUP");
  const pipe = await piped("mlpe backup - --data hurt --json > hurt3.backup");
  expect([pipe.code, JSON.parse(pipe.errors)]).toEqual([1, expect.objectContaining({ damaged: said })]);
  for (const name of ["hurt.backup", "hurt3.backup"]) {
    const { exit, errors } = await desk.run("restore", name, "--data", "nowhere");
    expect([exit, errors]).toEqual([74, expect.stringContaining("restore an earlier backup")]);
  }
  expect(existsSync(desk.path("nowhere"))).toBe(false);
  const whole = JSON.parse((await desk.run("backup", "whole.backup", "--json")).output);
  expect(Object.keys(whole)).not.toContain("damaged");
}, 60_000);

test("the archive is named once", async () => {
  expect((await desk.run("backup")).errors).toContain("the archive is missing");
  expect((await desk.run("backup", "-", "--out", "x")).errors).toContain("named twice");
  expect((await desk.run("restore", "nosuch", "--data", "other")).errors).toContain("store.bad_backup");
});

test.each([
  ["SIGINT", 130],
  ["SIGTERM", 143],
] as const)(
  "%s ends a restore in the middle of its input, and leaves nothing of it",
  async (signal, code) => {
    const archive = `half-${signal}`;
    expect((await piped(`mlpe backup ${archive} > said`)).code).toBe(0);
    const restore = ["restore", "-", "--data", "half", "--config", desk.path("mlpe.yaml")];
    const child = Bun.spawn([process.execPath, MAIN, ...restore], {
      cwd: desk.home,
      stdin: "pipe",
      stdout: "ignore",
      stderr: "pipe",
    });
    try {
      child.stdin.write(readFileSync(desk.path(archive)).subarray(0, 400_000)); // and then nothing, for ever
      await child.stdin.flush();
      const begun = desk.path("half.restoring/data/log.db");
      while (!existsSync(begun) && child.exitCode === null) await othersTurn();
      child.kill(signal);
      expect([await child.exited, await child.stderr.text()]).toEqual([code, ""]);
    } finally {
      child.kill("SIGKILL");
    }
    expect(readdirSync(desk.home).filter((name) => name.startsWith("half") && name !== archive)).toEqual([]);
    rmSync(desk.path(archive));
    expect(await digest("data")).toHaveLength(1);
  },
  60_000,
);
