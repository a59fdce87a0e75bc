/** The demo, run once for all tests, under a tracer where there is one. */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { strace } from "./plaintext.ts";
import { install, type Placed, type Program, type Ran, ROOT, scratch } from "./program.ts";

export interface DemoReport {
  readonly ingested: Readonly<Record<string, number>>;
  readonly auc: number;
  readonly baseline_auc: number;
  readonly refused: readonly { readonly version: string; readonly code: string; readonly reason: string }[];
  readonly audit: { readonly size: number; readonly verified: boolean };
  readonly [key: string]: unknown;
}

export interface DemoRun {
  readonly ran: Ran;
  readonly report: DemoReport;
  /** Its data, to be copied and never changed. */
  readonly placed: Placed;
  /** What the tracer wrote; undefined where there is no strace. */
  readonly trace: string | undefined;
  /** Where the demo was told to put everything. */
  readonly directory: string;
  /** Milliseconds since 1970. */
  readonly finishedAt: number;
}

export interface House {
  readonly program: Program;
  demo(): Promise<DemoRun>;
  /** A directory of its own for a test. */
  room(name: string): string;
  remove(): void;
}

/** The executable in an empty directory, and the demo's data when a test first asks for it. */
export function openHouse(): House {
  const place = scratch();
  const program = install(place.make("empty"));
  let running: Promise<DemoRun> | undefined;
  return {
    program,
    demo: () => {
      running ??= runDemo(program, place.make("demo"), place.make("trace"));
      return running;
    },
    room: (name) => place.make(name),
    remove() {
      program.end();
      place.remove();
    },
  };
}

async function runDemo(program: Program, directory: string, traces: string): Promise<DemoRun> {
  const trace = join(traces, "trace");
  const project = join(ROOT, "examples/nycflights");
  const words = ["demo", "--project", project, "--packages", join(ROOT, "models"), "--directory", directory, "--json"];
  const under = Bun.which("strace") === null ? [] : [Bun.which("strace")!, ...strace(trace).slice(1)];
  const ran = await program.run(words, { under });
  if (ran.code !== 0) throw new Error(`the demo exited with ${ran.code}: ${ran.errors.slice(-3_000)}`);
  const placed = { config: join(project, "mlpe.yaml"), data: join(directory, "data"), key: join(directory, "key") };
  const text = existsSync(trace) ? readFileSync(trace, "latin1") : undefined;
  return { ran, report: ran.json<DemoReport>(), placed, trace: text, directory, finishedAt: Date.now() };
}
