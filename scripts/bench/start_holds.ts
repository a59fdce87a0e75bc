import { dlopen, ptr } from "bun:ffi";
import { openSync, readSync, writeSync } from "node:fs";
import { join } from "node:path";
import { systemClock } from "../../src/base/clock.ts";
import { systemRandom } from "../../src/base/random.ts";
import { applyRows, buildIndex, createIndex } from "../../src/fusion/index.ts";
import { type Following, followPage, followState } from "../../src/runtime/follow.ts";
import { serverMetrics } from "../../src/runtime/metrics.ts";
import { openProject, type Project } from "../../src/runtime/project.ts";
import { indexSaver, openIndex } from "../../src/runtime/saved_index.ts";
import { type LogStore, openStore } from "../../src/store/store.ts";
import { SMALL_HEAPS, systemWorld } from "../../src/system.ts";
import { less, type Result } from "./bench.ts";

/** What a fold may hold the serving thread for. */
const HOLD_MS = 5;
const FLOOR = "the bar";

/** One turn of a thread that folds, in milliseconds. */
interface Hold {
  /** By the clock on the wall. */
  readonly wall: number;
  /** Of the processor, spent by the thread. */
  readonly processor: number;
  /** Ready to run, and not running. */
  readonly waited: number;
  /** Stopped by the garbage collector, as its log has it: by the clock on the wall, waits for its helpers included. */
  collected: number;
}

/** Processor time that no pause of the collector explains: too little where a pause had to wait for a core itself. */
const own = ({ processor, collected }: Hold) => Math.max(0, processor - collected);

/**
 * How long each way of folding holds the thread that does it: processor time, and of it what the garbage collector took
 * and what is left; and how long the thread waited for a core meanwhile, which is the machine's doing. Measured in a
 * process of its own, because the collector's log is written to its standard error.
 */
export async function holds(
  directory: string,
  config: string,
  data: string,
  tell: (line: string) => void,
): Promise<Result[]> {
  tell("holds while following, restoring, saving and making anew");
  const log = Bun.file(join(directory, "holds.log"));
  const child = Bun.spawn([process.execPath, import.meta.path, config, data], {
    env: { ...process.env, ...SMALL_HEAPS, BUN_JSC_logGC: "1" }, // as `mlpe run` has its heaps
    stdout: "ignore",
    stderr: log,
  });
  try {
    if ((await child.exited) !== 0) throw new Error(`measuring holds failed: ${(await log.text()).slice(-2_000)}`);
  } finally {
    child.kill();
  }
  return [...holdsIn(await log.text())].flatMap(([name, found]) => {
    for (const hold of [...found].sort((a, b) => b.processor - a.processor).slice(0, 3)) tell(`${name}: ${said(hold)}`);
    return figures(name, found);
  });
}

const said = ({ wall, processor, collected, waited }: Hold) =>
  `${processor.toFixed(1)} ms of the processor in ${wall.toFixed(1)} ms; stopped by the garbage collector for ` +
  `${collected.toFixed(1)}, waiting for a core for ${waited.toFixed(1)}`;

function figures(name: string, found: readonly Hold[]): Result[] {
  const figure = (what: string, part: number, of: (hold: Hold) => number) => {
    const sorted = found.map(of).sort((a, b) => a - b);
    const at = sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))]!;
    return less(`hold of the thread while ${name}, ${what}`, "ms", at, HOLD_MS, FLOOR);
  };
  return [
    figure("longest", 1, ({ processor }) => processor),
    figure("99th percentile", 0.99, ({ processor }) => processor),
    figure("longest of own work", 1, own),
    figure("longest of garbage collection", 1, ({ processor, collected }) => Math.min(processor, collected)),
    figure("longest wait for a core", 1, ({ waited }) => waited),
  ];
}

/**
 * The turns of each kind of work, from the lines that `watched` and the collector wrote, in their order. Other threads have
 * heaps of their own, whose collections don't stop this one: the first in the log is this thread's, which asks for it.
 */
function holdsIn(text: string): Map<string, Hold[]> {
  const heap = /^\[GC<\w+>/m.exec(text)?.[0] ?? "";
  const found = new Map<string, Hold[]>();
  let current: Hold[] = [];
  let collected = 0;
  for (const line of text.split("\n")) {
    const [word, ...rest] = line.split("\t");
    if (word === "begin") {
      current = [];
      found.set(rest[0]!, current);
      collected = 0;
    } else if (word === "turn") {
      const [wall, processor, waited] = rest.map(Number);
      current.push({ wall: wall!, processor: processor!, waited: waited!, collected });
      collected = 0;
    } else if (line.startsWith(heap))
      for (const [, pause] of line.matchAll(/\b(?:p=|epilogue )([\d.]+)ms/g)) collected += Number(pause);
  }
  return found;
}

export const opened = (directory: string, keys: { provider: string; path: string }): Promise<LogStore> =>
  openStore({ directory, keys, clock: systemClock, random: systemRandom, thread: true });

async function measure(config: string, data: string): Promise<void> {
  Bun.gc(true);
  const project = await openProject(systemWorld, { config, data });
  const store = await opened(data, project.config.keys as { provider: string; path: string });
  const engine = { store, project, world: systemWorld };
  const { commitNo } = await store.head();
  try {
    await watched("following a backlog", () => followAll(project, store, commitNo));
    const restored = await watched("restoring", () => openIndex(engine, commitNo, () => {}));
    const saver = indexSaver(engine, { ...restored, saved: 0 }, serverMetrics(), () => {});
    await watched("saving", () => saver.stop(commitNo));
    await watched("making it anew", () => buildIndex(store, [...project.views.values()], commitNo));
  } finally {
    await store.close();
  }
}

async function followAll(project: Project, store: LogStore, commitNo: number): Promise<void> {
  const index = createIndex([...project.views.values()]);
  const state = followState(0);
  const following: Following = {
    store,
    streams: index.streams,
    indexed: () => true,
    apply: (stored, from, to) => applyRows(index, stored, from, to),
    folded: () => {},
    deploys: () => false,
    deploy: async () => {},
  };
  while (state.position < commitNo) await followPage(following, state);
}

/** Writes a line after every turn of the thread while the work runs: how long it was, and by which clocks. */
async function watched<T>(name: string, work: () => Promise<T>): Promise<T> {
  const processor = threadClock();
  const waited = waitClock();
  writeSync(2, `\nbegin\t${name}\n`);
  let done = false;
  const looking = (async () => {
    let last = [performance.now(), processor(), waited()];
    while (!done) {
      await new Promise((resolve) => setImmediate(resolve));
      const now = [performance.now(), processor(), waited()];
      writeSync(2, `\nturn\t${now.map((at, i) => (at - last[i]!).toFixed(3)).join("\t")}\n`);
      last = [performance.now(), processor(), waited()];
    }
  })();
  const result = await work();
  done = true;
  await looking;
  return result;
}

const THREAD_CPU_CLOCK = 3; // CLOCK_THREAD_CPUTIME_ID of Linux

/** Milliseconds of processor time of this thread, where the system tells: what else the machine does doesn't count then. */
function threadClock(): () => number {
  if (process.platform !== "linux") return () => performance.now();
  const { symbols } = dlopen("libc.so.6", { clock_gettime: { args: ["int", "ptr"], returns: "int" } });
  const time = new BigInt64Array(2); // seconds, nanoseconds
  return () => {
    symbols.clock_gettime(THREAD_CPU_CLOCK, ptr(time));
    return Number(time[0]) * 1e3 + Number(time[1]) / 1e6;
  };
}

/** Milliseconds that this thread was ready to run and waited for a core, where the system tells; else 0. */
function waitClock(): () => number {
  if (process.platform !== "linux") return () => 0;
  const file = openSync("/proc/thread-self/schedstat", "r"); // nanoseconds run, nanoseconds waited, times run
  const text = Buffer.alloc(96);
  return () => {
    const length = readSync(file, text, 0, text.length, 0);
    return Number(text.toString("latin1", 0, length).split(" ")[1]) / 1e6;
  };
}

if (import.meta.main) {
  await measure(process.argv[2]!, process.argv[3]!);
  process.exit(0);
}
