/**
 * Simulates from a seed: `bun scripts/sim.ts --seed N [--runs M] [--kind store|project|both] [--verbose]`.
 *
 * The project: the whole pipeline on random projects; `--store memory|sealed|both`. `--everywhere` kills each seed just
 * before and just after every commit it makes, one after another, in memory.
 * The store: one random life of each seed, one on a small disk that is full now and then, and power cuts in a recorded
 * one. `--crash-points P` makes power cuts only, so many for each seed; without `--runs` they are spread over as many
 * seeds as they need, and `--jobs J` processes share them.
 *
 * At the end it says how often the lives of stores met what they may meet, and what none of them met.
 * Exit 0 when everything held in every run; otherwise each failure is printed with the command that replays it.
 */
import { parseArgs } from "node:util";
import { testEngine } from "../test/scoring/support.ts";
import { killEverywhere, replayCommand, type StoreKind, simulate } from "../test/sim/simulate.ts";
import { cutPower, onSlowDisk, powerCommand } from "../test/sim/store/power.ts";
import {
  MET_ANYWHERE,
  MET_ON_A_SMALL_DISK,
  type StoreReport,
  simulateStore,
  storeCommand,
} from "../test/sim/store/simulate.ts";
import { canRecord, RECORDED_ACTS } from "../test/sim/store/trace.ts";
import { canMountSmallDisk, onSmallDisk } from "../test/support/small_disk.ts";

const { values } = parseArgs({
  options: {
    seed: { type: "string", default: "1" },
    runs: { type: "string" },
    kind: { type: "string", default: "both" },
    store: { type: "string", default: "both" },
    everywhere: { type: "boolean", default: false },
    "crash-points": { type: "string" },
    jobs: { type: "string", default: "2" },
    verbose: { type: "boolean", default: false },
  },
});
const first = Number(values.seed);
const runs = Number(values.runs ?? 1);
const say = (text: string) => console.log(text);
/** Crash points of one recorded life: more of them tell little more. */
const POINTS_A_LIFE = 500;

/** Kind of life -> how many there were, and how often they met what. */
const met = new Map<
  string,
  { lives: number; readonly kinds: readonly string[]; readonly counts: Map<string, number> }
>();

function meet(what: string, kinds: readonly string[], seen: Readonly<Record<string, number>>): void {
  const all = met.get(what) ?? { lives: 0, kinds, counts: new Map() };
  met.set(what, all);
  all.lives++;
  for (const [kind, times] of Object.entries(seen)) all.counts.set(kind, (all.counts.get(kind) ?? 0) + times);
}

function sayWhatWasMet(): void {
  for (const [what, { lives, kinds, counts }] of met) {
    const never = kinds.filter((kind) => !counts.get(kind));
    say(`${lives} ${what}: ${[...counts].map(([kind, times]) => `${kind} ${times}`).join(", ")}`);
    if (never.length > 0) say(`  never over these ${lives}: ${never.join(", ")}`);
  }
}

/** How many things did not hold. */
async function simulateProject(seed: number, ort: ReturnType<typeof testEngine>): Promise<number> {
  if (values.everywhere) {
    const { runs, findings } = await killEverywhere(seed, { ort });
    if (values.verbose) say(`seed ${seed}: ${runs} runs, each killed at one commit`);
    tell(findings, `bun scripts/sim.ts --kind project --seed ${seed} --everywhere`);
    return findings.length;
  }
  let failed = 0;
  const kinds: StoreKind[] = values.store === "both" ? ["memory", "sealed"] : [values.store as StoreKind];
  for (const report of await simulate(seed, kinds, { ort })) {
    const { trace, findings, store } = report;
    if (values.verbose) say(`seed ${seed}, ${store}: ${trace.acts} acts, ${trace.kills} kills, ${trace.faults} faults`);
    if (values.verbose) for (const [stream, content] of report.contents) say(`  ${stream}: ${content}`);
    tell(findings, replayCommand(report));
    failed += findings.length;
  }
  return failed;
}

const SMALL_DISK_MIB = 12;
/** Power cuts of a seed that was not asked for more. */
const POINTS_A_SEED = 100;

async function simulateStoreLives(seed: number): Promise<number> {
  const reports = [await simulateStore(seed)];
  meet("lives of a store", MET_ANYWHERE, reports[0]!.seen);
  if (canMountSmallDisk()) {
    const script = "test/sim/store/small_disk.ts";
    reports.push(...((await onSmallDisk(script, SMALL_DISK_MIB, String(seed), "1")) as StoreReport[]));
    for (const { seen } of reports.slice(1)) {
      meet("lives of a store on a small disk", [...MET_ANYWHERE, ...MET_ON_A_SMALL_DISK], seen);
    }
  } else say("no small disk can be mounted here, so that none was filled");
  let failed = 0;
  for (const { findings, seen, digest } of reports) {
    if (values.verbose) say(`seed ${seed}, store: ${JSON.stringify(seen)}, digest ${digest}`);
    tell(findings, storeCommand(seed));
    failed += findings.length;
  }
  if (canRecord()) return failed + (await simulatePower(seed, POINTS_A_SEED));
  say("strace is not installed (apt-get install strace), so that no power was cut");
  return failed;
}

const SLOW = "on a slow disk";

async function simulatePower(seed: number, points: number): Promise<number> {
  const [report] = await cutPower(seed, points);
  const { findings, seen, digest, acts } = report!;
  const cuts = { "power cuts": points, [SLOW]: onSlowDisk(seed) ? 1 : 0 };
  meet("recorded lives of a store", [...RECORDED_ACTS, SLOW, ...Object.keys(seen)], { ...cuts, ...acts, ...seen });
  if (values.verbose) {
    say(`seed ${seed}: ${points} power cuts: ${JSON.stringify(seen)}, ${findings.length} findings, digest ${digest}`);
  }
  tell(findings, powerCommand(seed, points));
  return findings.length;
}

function tell(findings: readonly string[], replay: string): void {
  if (findings.length === 0) return;
  say(`${findings.length} findings`);
  for (const finding of findings.slice(0, 10)) say(`  ${finding}`);
  say(`  replay: ${replay}`);
}

/** So many crash points over as many lives as they need, in some processes at once. */
async function manyCrashPoints(points: number, jobs: number): Promise<number> {
  const lives = Array.from({ length: Math.ceil(points / POINTS_A_LIFE) }, (_, i) => ({
    seed: first + i,
    points: Math.min(POINTS_A_LIFE, points - i * POINTS_A_LIFE),
  }));
  let failed = 0;
  let done = 0;
  const work = async () => {
    for (let life = lives.shift(); life; life = lives.shift()) {
      const words = [
        "--kind",
        "store",
        "--seed",
        String(life.seed),
        "--runs",
        "1",
        "--crash-points",
        String(life.points),
      ];
      const child = Bun.spawn([process.execPath, import.meta.path, ...words, ...(values.verbose ? ["--verbose"] : [])]);
      const [output, code] = await Promise.all([child.stdout.text(), child.exited]);
      if (code !== 0) failed++;
      done += life.points;
      if (code !== 0 || values.verbose) say(output.trimEnd());
    }
  };
  await Promise.all(Array.from({ length: jobs }, work));
  say(`${done} crash points over ${Math.ceil(points / POINTS_A_LIFE)} lives`);
  return failed;
}

async function everyRun(): Promise<number> {
  const points = values["crash-points"] === undefined ? undefined : Number(values["crash-points"]);
  if (points !== undefined && !canRecord()) {
    say("strace is not installed, and power cuts need it: apt-get install strace");
    return 1;
  }
  if (points !== undefined && values.runs === undefined) return manyCrashPoints(points, Number(values.jobs));
  const ort = values.kind === "store" ? undefined : testEngine();
  let failed = 0;
  for (let seed = first; seed < first + runs; seed++) {
    try {
      if (ort && points === undefined) failed += await simulateProject(seed, ort);
      if (values.kind === "project") continue;
      failed += await (points === undefined ? simulateStoreLives(seed) : simulatePower(seed, points));
    } catch (error) {
      failed++;
      say(`seed ${seed}: ${error instanceof Error ? error.stack : error}`);
      say(`  replay: bun scripts/sim.ts --kind ${values.kind} --seed ${seed}`);
    }
  }
  return failed;
}

const failed = await everyRun();
sayWhatWasMet();
say(failed === 0 ? `${runs} seeds from ${first}: everything holds` : `${failed} things do not hold`);
process.exit(failed === 0 ? 0 : 1);
