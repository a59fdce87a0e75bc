import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { systemClock } from "../../src/base/clock.ts";
import { systemRandom } from "../../src/base/random.ts";
import type { World } from "../../src/base/world.ts";
import { dispatch } from "../../src/cli/dispatch.ts";
import { systemWorld } from "../../src/system.ts";

/** What one command line did, as the person who typed it sees it. */
export interface Ran {
  readonly exit: number;
  readonly output: string;
  readonly errors: string;
}

/** A directory of its own with a user standing in it. */
export interface Desk {
  readonly home: string;
  readonly world: World;
  /** Absolute. */
  path(relative: string): string;
  write(relative: string, content: string | Uint8Array, mode?: number): void;
  /** Runs a command line in this process. */
  run(...args: readonly string[]): Promise<Ran>;
  remove(): void;
}

/** The real clock, files and threads; output is kept, the environment is only what is given, and no process is started. */
export function createDesk(environment: Readonly<Record<string, string>> = {}): Desk {
  const home = mkdtempSync(join(tmpdir(), "mlpe-desk-"));
  let output: string[] = [];
  let errors: string[] = [];
  const world: World = {
    ...systemWorld,
    clock: systemClock,
    random: systemRandom,
    environment: { HOME: home, ...environment },
    workingDirectory: home,
    terminal: false,
    print: (text) => void output.push(text),
    printed: async (text) => void output.push(text),
    warn: (text) => void errors.push(text),
    progress: () => {},
    stopRequested: () => new Promise(() => {}),
    again: () => Promise.reject(new Error("a test starts no process through the world")),
    input: () => Promise.resolve(""),
  };
  const path = (relative: string) => join(home, relative);
  return {
    home,
    world,
    path,
    write(relative, content, mode = 0o644) {
      mkdirSync(dirname(path(relative)), { recursive: true });
      writeFileSync(path(relative), content, { mode });
      chmodSync(path(relative), mode); // whatever the umask is
    },
    async run(...args) {
      [output, errors] = [[], []];
      const exit = await dispatch(world, args);
      return { exit, output: output.join("\n"), errors: errors.join("\n") };
    },
    remove: () => rmSync(home, { recursive: true, force: true }),
  };
}

/** A desk with a project of one file source and two rows, not ingested yet. */
export function createSmallDesk(): Desk {
  const desk = createDesk();
  desk.write(
    "mlpe.yaml",
    "site: here\nkeys: { path: keys/store.key }\ndata: data\nsources: { s: { connector: file, path: a.csv, dataset: d } }\ndatasets: { d: { contract: d.avsc, static: true } }\n",
  );
  desk.write(
    "d.avsc",
    '{"type":"record","name":"d","recordId":["id"],"entity":["id"],"fields":[{"name":"id","type":"long"}]}',
  );
  desk.write("a.csv", "id\n1\n2\n");
  return desk;
}
