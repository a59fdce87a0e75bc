import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { verifyAudit } from "../../src/audit/verify.ts";
import { seededRandom } from "../../src/base/random.ts";
import type { World } from "../../src/base/world.ts";
import { openProject, type Project } from "../../src/runtime/project.ts";
import { type LoadedModel, loadModel } from "../../src/scoring/loaded.ts";
import { readPackage } from "../../src/scoring/package.ts";
import type { Engine } from "../../src/scoring/tensor.ts";
import { systemWorld } from "../../src/system.ts";
import { packageFiles, testEngine } from "../scoring/support.ts";
import { checkRun, contentsOf } from "./check.ts";
import type { Sabotage } from "./faults.ts";
import { memoryHome, sealedHome } from "./home.ts";
import { SIM_MODEL, type SimProject, simProject } from "./project.ts";
import { type Run, runDisturbed, runFailingAt, runUndisturbed, type SimClock, simClock, type Trace } from "./run.ts";

export type StoreKind = "memory" | "sealed";

export interface SimReport {
  readonly seed: number;
  readonly store: StoreKind;
  /** One sentence for each thing that does not hold. */
  readonly findings: readonly string[];
  readonly trace: Trace;
  /** Stream -> what it held. */
  readonly contents: ReadonlyMap<string, string>;
}

/** How to see a failure again. */
export const replayCommand = ({ seed, store }: Pick<SimReport, "seed" | "store">): string =>
  `bun scripts/sim.ts --seed ${seed} --store ${store}`;

export interface SimOptions {
  readonly ort?: Engine;
  /** Breaks a promise on purpose, in the disturbed runs only. */
  readonly sabotage?: () => Sabotage;
}

/**
 * One seed: its project once undisturbed in memory, and once with kills and faults on each kind of store asked for; every
 * log is then checked, the disturbed ones against the undisturbed one.
 */
export const simulate = (seed: number, kinds: readonly StoreKind[], options: SimOptions = {}): Promise<SimReport[]> =>
  withStage(seed, options, async (stage) => {
    const reports: SimReport[] = [];
    for (const store of kinds) {
      const { trace, findings } = await disturbed(stage.run(store), stage.expected, store);
      reports.push({ seed, store, findings: [...stage.findings, ...findings], trace, contents: stage.expected });
    }
    return reports;
  });

/**
 * One seed, once for every commit that its undisturbed run makes, and twice for each: killed just before that commit, and
 * just after it. In memory. Answers with how many runs there were.
 */
export const killEverywhere = (seed: number, options: SimOptions = {}): Promise<{ runs: number; findings: string[] }> =>
  withStage(seed, options, async (stage) => {
    const findings = [...stage.findings];
    let runs = 0;
    for (let commit = 0; ; commit++) {
      let struck = false;
      for (const when of ["before", "after"] as const) {
        const run = stage.run("memory");
        if (!(await runFailingAt(run, commit, when))) continue;
        struck = true;
        runs++;
        const found = await checkRun(await run.home.open(), run.project, stage.expected);
        findings.push(...found.map((finding) => `killed ${when} commit ${commit + 1}: ${finding}`));
      }
      if (!struck) return { runs, findings };
    }
  });

/** A seed's project, opened, and what its undisturbed run left behind. */
interface Stage {
  readonly expected: ReadonlyMap<string, string>;
  /** What does not hold even of the undisturbed run. */
  readonly findings: readonly string[];
  /** A run from the beginning, on an empty log. */
  run(store: StoreKind): Run;
}

async function withStage<Result>(
  seed: number,
  options: SimOptions,
  work: (stage: Stage) => Promise<Result>,
): Promise<Result> {
  const sim = simProject(seed);
  const folder = mkdtempSync(join(tmpdir(), "mlpe-sim-"));
  let model: LoadedModel | undefined;
  try {
    for (const [path, text] of sim.files) writeFileSync(join(folder, path), text);
    const { project, world } = await projectOf(sim, folder, simClock(sim.startsAt));
    const loaded = modelFor(project, options.ort ?? testEngine());
    model = loaded;
    const run = (store: StoreKind): Run => {
      const clock = simClock(sim.startsAt);
      const home = store === "memory" ? memoryHome(clock) : sealedHome(clock, seededRandom(seed));
      return { sim, project, model: loaded, world: { ...world, clock, random: seededRandom(seed) }, clock, home };
    };
    const calm = run("memory");
    await runUndisturbed(calm);
    const store = await calm.home.open();
    const expected = await contentsOf(store);
    const findings = (await checkRun(store, project, expected)).map((finding) => `undisturbed: ${finding}`);
    const sabotaged = (kind: StoreKind) => ({
      ...run(kind),
      ...(options.sabotage ? { sabotage: options.sabotage() } : {}),
    });
    return await work({ expected, findings, run: sabotaged });
  } finally {
    model?.session.dispose();
    rmSync(folder, { recursive: true, force: true });
  }
}

async function disturbed(
  run: Run,
  expected: ReadonlyMap<string, string>,
  kind: StoreKind,
): Promise<{ trace: Trace; findings: string[] }> {
  try {
    const trace = await runDisturbed(run);
    const store = await run.home.open();
    const findings = [...trace.complaints, ...(await checkRun(store, run.project, expected))];
    if (kind === "sealed") {
      const audit = verifyAudit(store);
      findings.push(...audit.problems.map(({ place, message }) => `audit: ${place}: ${message}`));
      const { commitNo } = await store.head();
      if (audit.size !== commitNo) findings.push(`audit: the tree has ${audit.size} commits, the log ${commitNo}`);
      await store.compact();
      findings.push(...(await checkRun(store, run.project, expected)).map((finding) => `compacted: ${finding}`));
      if (!verifyAudit(store).verified) findings.push("audit: the compacted log does not verify");
    }
    return { trace, findings };
  } finally {
    await run.home.remove();
  }
}

async function projectOf(
  sim: SimProject,
  folder: string,
  clock: SimClock,
): Promise<{ project: Project; world: World }> {
  const world: World = {
    ...systemWorld,
    clock,
    random: seededRandom(sim.seed),
    environment: {},
    workingDirectory: folder,
  };
  return { world, project: await openProject(world, { config: "mlpe.yaml" }) };
}

/** A tiny linear model over the features a, b and c, trained on this very view as far as its manifest says. */
function modelFor(project: Project, ort: Engine): LoadedModel {
  const { digest, name } = project.views.get(SIM_MODEL)!;
  const files = packageFiles("linear", (manifest) => {
    manifest.view = { name, digest: `sha256:${digest.replace(/^sha256:/, "")}` };
  });
  return loadModel(SIM_MODEL, readPackage(files), ort, simClock(0));
}
