import { join } from "node:path";
import type { World } from "../../src/base/world.ts";
import { dispatch } from "../../src/cli/dispatch.ts";
import { systemWorld } from "../../src/system.ts";

export interface Ran {
  readonly code: number;
  readonly output: string;
  readonly errors: string;
}

const MAIN = join(import.meta.dir, "../../src/main.ts");

/** The commands of this program with the real world, but for what they print and where they start. */
export function commandsIn(directory: string) {
  const run = async (args: readonly string[], input = ""): Promise<Ran> => {
    const [output, errors]: string[][] = [[], []];
    const world: World = {
      ...systemWorld,
      environment: { HOME: directory },
      workingDirectory: directory,
      terminal: false,
      print: (text) => void output!.push(text),
      printed: async (text) => void output!.push(text),
      warn: (text) => void errors!.push(text),
      progress: () => {},
      stopRequested: () => new Promise(() => {}),
      input: async () => input,
      again: (words, options) => spawned(directory, words, options?.input),
    };
    const code = await dispatch(world, args);
    return { code, output: output!.join("\n"), errors: errors!.join("\n") };
  };
  /** The JSON answer of a command that must succeed, or with that exit code. */
  const json = async <Answer = Record<string, unknown>>(args: readonly string[], code = 0): Promise<Answer> => {
    const ran = await run([...args, "--json"]);
    if (ran.code !== code) throw new Error(`mlpe ${args.join(" ")} exits with ${ran.code}: ${ran.errors}${ran.output}`);
    return JSON.parse(ran.output) as Answer;
  };
  /** The error of a command that must fail. */
  const failure = async (
    args: readonly string[],
  ): Promise<{ code: string; message: string; fix: string; place?: string }> => {
    const ran = await run([...args, "--json"]);
    if (ran.errors === "") throw new Error(`mlpe ${args.join(" ")} does not fail: ${ran.output}`);
    return (JSON.parse(ran.errors) as { error: { code: string; message: string; fix: string } }).error;
  };
  return { run, json, failure };
}

/** A really new process of this program. */
async function spawned(cwd: string, args: readonly string[], input = ""): Promise<Ran> {
  const child = Bun.spawn([process.execPath, MAIN, ...args], {
    cwd,
    env: { HOME: cwd },
    stdin: new TextEncoder().encode(input),
    stdout: "pipe",
    stderr: "pipe",
  });
  const [output, errors, code] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
  return { code, output, errors };
}
