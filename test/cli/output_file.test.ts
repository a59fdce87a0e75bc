/** A file that a command writes: what a signal leaves of it. A process writes the first part and waits for its end. */
import { expect, test } from "bun:test";
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemWorld } from "../../src/system.ts";

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

async function deadProcess(): Promise<number> {
  const child = Bun.spawn(["true"]);
  await child.exited;
  return child.pid;
}

test("what a killed process left is removed by the next that writes the same name; nothing else is", async () => {
  const directory = mkdtempSync(join(tmpdir(), "mlpe-output-"));
  const at = (name: string) => join(directory, name);
  const module = join(import.meta.dir, "../../src/system.ts");
  const child = Bun.spawn([process.execPath, "-e", WRITING, module, directory], { stdout: "pipe" });
  try {
    let said = "";
    for await (const chunk of child.stdout) {
      said += new TextDecoder().decode(chunk);
      if (said === "begun\nbegun\n") break;
    }
    const [a, b] = [`a.${child.pid}.tmp`, `b.${child.pid}.tmp`];
    const long = (name: string) => utimesSync(at(name), new Date(0), new Date(0));
    for (const name of [a, b]) long(name);
    await systemWorld.files.write(at("a"), "whole"); // the child lives
    expect(readdirSync(directory).sort()).toEqual(["a", a, b]);
    child.kill("SIGKILL");
    await child.exited;

    const gone = await Promise.all([0, 1, 2].map(deadProcess));
    const others = [`a.${child.pid}.tmp2`, "a.0.tmp", "a.x.tmp", "aa.1.tmp", `a.${process.ppid}.tmp`];
    for (const name of others) writeFileSync(at(name), "another's");
    mkdirSync(at(`a.${gone[0]}.tmp`)); // a directory with what no backup has
    writeFileSync(at(`a.${gone[0]}.tmp/mine`), "");
    mkdirSync(at(`a.${gone[1]}.tmp`)); // and a backup's
    writeFileSync(at(`a.${gone[1]}.tmp/log.db`), "");
    symlinkSync(at("a"), at(`a.${gone[2]}.tmp`));
    const kept = [...others, `a.${gone[0]}.tmp`, `a.${gone[2]}.tmp`];
    for (const name of [...others, `a.${gone[0]}.tmp`, `a.${gone[1]}.tmp/log.db`]) long(name);
    writeFileSync(at(a), "now"); // written by a process of this number that is not seen from here
    await systemWorld.files.write(at("a"), "again");
    expect(readdirSync(directory).sort()).toEqual(["a", a, b, `a.${gone[1]}.tmp`, ...kept].sort());
    for (const name of [a, `a.${gone[1]}.tmp`]) long(name);
    await systemWorld.files.write(at("a"), "at last");
    expect(readdirSync(directory).sort()).toEqual(["a", b, ...kept].sort());
    expect(readFileSync(at("a"), "utf8")).toBe("at last");
  } finally {
    child.kill("SIGKILL");
    rmSync(directory, { recursive: true });
  }
});
