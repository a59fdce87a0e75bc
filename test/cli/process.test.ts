/** What only a process of its own shows: output that can't be written, and signals. */
import { expect, test } from "bun:test";
import { closeSync, openSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { ingest } from "../../src/cli/commands/ingest.ts";
import { dispatch } from "../../src/cli/dispatch.ts";
import { stoppedBy } from "../../src/cli/project.ts";
import { createDesk } from "../support/world.ts";

const MAIN = join(import.meta.dir, "../../src/main.ts");

test("output that can't be written is one line and exit code 74", async () => {
  const full = openSync("/dev/full", "w");
  const child = Bun.spawn([process.execPath, MAIN, "errors"], { stdout: full, stderr: "pipe" });
  const [errors, code] = await Promise.all([child.stderr.text(), child.exited]);
  expect(code).toBe(74);
  expect(errors).toBe("error cli.not_written: standard output can't be written: the disk is full\n");
  const mute = Bun.spawn([process.execPath, MAIN, "nosuch"], { stdout: "ignore", stderr: full, timeout: 10_000 });
  expect(await mute.exited).toBe(74);
  closeSync(full);
}, 20_000);

test("a reader that went away is no failure", async () => {
  const command = '"$0" "$1" errors | head -1';
  const child = Bun.spawn(["sh", "-c", command, process.execPath, MAIN], { stdout: "pipe", stderr: "pipe" });
  expect(await child.stdout.text()).toBe("# Error codes\n");
  expect(await child.stderr.text()).toBe("");
}, 20_000);

test("a signal ends the records of the power-loss test", async () => {
  const desk = createDesk();
  desk.write("mlpe.yaml", "site: s\nkeys: { path: store.key }\ndata: .\n");
  desk.write("d/here", "");
  const words = ["doctor", "--power-loss", "write", "--config", desk.path("mlpe.yaml"), "--data", desk.path("d")];
  const child = Bun.spawn([process.execPath, MAIN, ...words], { stdout: "pipe", stderr: "pipe" });
  try {
    const reader = child.stdout.getReader();
    expect((await reader.read()).value?.length).toBeGreaterThan(0);
    child.kill("SIGTERM");
    let taken = 0;
    for (let read = await reader.read(); !read.done && taken < 1 << 17; read = await reader.read())
      taken += read.value.length;
    expect(taken).toBeLessThan(1 << 17); // or it goes on
  } finally {
    child.kill("SIGKILL");
    await child.exited;
    desk.remove();
  }
}, 60_000);

test.each([
  ["SIGINT", 130],
  ["SIGTERM", 143],
] as const)("ingest that is asked to stop by %s says so and exits with %d", async (signal, exit) => {
  const desk = createDesk();
  desk.write(
    "mlpe.yaml",
    "site: s\nkeys: { path: store.key }\nsources:\n  p: { connector: http_push, dataset: d }\ndatasets:\n  d: { contract: d.avsc, static: true }\n",
  );
  const fields = [{ name: "id", type: "string" }];
  desk.write("d.avsc", JSON.stringify({ type: "record", name: "d", recordId: ["id"], fields }));
  const said: string[] = [];
  const world = {
    ...desk.world,
    stopRequested: async () => signal,
    print: (text: string) => void said.push(text),
  };
  expect(await dispatch(world, [ingest.name, "--config", desk.path("mlpe.yaml")])).toBe(exit);
  expect(said).toEqual([stoppedBy(signal).text]);
  desk.remove();
});

// The engine reads it at the start of a process, so it must be in the environment that the running process began with.
test.skipIf(process.platform !== "linux").each([
  [{}, "268435456"],
  [{ BUN_JSC_forceRAMSize: "536870912" }, "536870912"],
] as const)("a server has small heaps unless its environment says otherwise: %j", async (environment, expected) => {
  const desk = createDesk();
  desk.write("mlpe.yaml", "site: s\nkeys: { path: store.key }\n");
  const child = Bun.spawn([process.execPath, MAIN, "run", "--config", desk.path("mlpe.yaml"), "--port", "0"], {
    cwd: desk.path("."),
    env: environment,
    stdout: "ignore",
    stderr: "pipe",
  });
  try {
    let said = "";
    for await (const text of child.stderr.pipeThrough(new TextDecoderStream())) {
      said += text;
      if (said.includes('"msg":"listening"')) break;
    }
    expect(said).toContain('"msg":"listening"'); // what began again is the same process: its words come here
    const began = readFileSync(`/proc/${child.pid}/environ`, "utf8").split("\0");
    expect(began).toContain(`BUN_JSC_forceRAMSize=${expected}`);
  } finally {
    child.kill("SIGKILL");
    await child.exited;
    desk.remove();
  }
});
