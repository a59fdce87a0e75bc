/** A file that a command writes: what a signal leaves of it. A process writes the first part and waits for its end. */
import { expect, test } from "bun:test";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const WRITING = `
const { systemWorld } = await import(process.argv[1]);
const parts = async function* () {
  yield new Uint8Array(100);
  console.log("begun");
  await new Promise((resolve) => setTimeout(resolve, 1_000_000));
};
await Promise.all(["a", "b"].map((name) => systemWorld.files.writeParts(process.argv[2] + "/" + name, parts())));`;

test.each([
  ["SIGINT", 130],
  ["SIGTERM", 143],
] as const)("%s leaves nothing of a file that is being written", async (signal, code) => {
  const directory = mkdtempSync(join(tmpdir(), "mlpe-output-"));
  const module = join(import.meta.dir, "../../src/system.ts");
  const child = Bun.spawn([process.execPath, "-e", WRITING, module, directory], { stdout: "pipe" });
  let said = "";
  for await (const chunk of child.stdout) {
    said += new TextDecoder().decode(chunk);
    if (said !== "begun\nbegun\n") continue;
    expect(readdirSync(directory).sort()).toEqual([`a.${child.pid}.tmp`, `b.${child.pid}.tmp`]);
    child.kill(signal);
  }
  expect(await child.exited).toBe(code);
  expect(readdirSync(directory)).toEqual([]);
  rmSync(directory, { recursive: true });
});
