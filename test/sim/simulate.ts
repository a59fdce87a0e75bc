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
import { type Run, runDisturbed, runUndisturbed, type SimClock, simClock, type Trace } from "./run.ts";

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

/**
 * One seed: its project once undisturbed in memory, and once with kills and faults on each kind of store asked for; every
 * log is then checked, the disturbed ones against the undisturbed one.
 */
export async function simulate(
  seed: number,
  kinds: readonly StoreKind[],
  options: { readonly ort?: Engine; readonly sabotage?: () => Sabotage } = {},
): Promise<SimReport[]> {
  const sim = simProject(seed);
  const folder = mkdtempSync(join(tmpdir(), "mlpe-sim-"));
  try {
    for (const [path, text] of sim.files) writeFileSync(join(folder, path), text);
    const { project, world } = await projectOf(sim, folder, simClock(sim.startsAt));
    const model = modelFor(project, options.ort ?? testEngine());
    const base = { sim, project, model };
    const plain = simClock(sim.startsAt);
    const calm: Run = { ...base, world: worldOn(world, plain, seed), clock: plain, home: memoryHome(plain) };
    await runUndisturbed(calm);
    const store = await calm.home.open();
    const expected = await contentsOf(store);
    const calmFindings = (await checkRun(store, project, expected)).map((finding) => `undisturbed: ${finding}`);
    const reports: SimReport[] = [];
    for (const kind of kinds) {
      const clock = simClock(sim.startsAt);
      const home = kind === "memory" ? memoryHome(clock) : sealedHome(clock, seededRandom(seed));
      const sabotage = options.sabotage?.();
      const run: Run = {
        ...base,
        world: worldOn(world, clock, seed + 1),
        clock,
        home,
        ...(sabotage ? { sabotage } : {}),
      };
      const { trace, findings } = await disturbed(run, expected, kind);
      reports.push({ seed, store: kind, findings: [...calmFindings, ...findings], trace, contents: expected });
    }
    model.session.dispose();
    return reports;
  } finally {
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
    const findings = await checkRun(store, run.project, expected);
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

const worldOn = (world: World, clock: SimClock, seed: number): World => ({
  ...world,
  clock,
  random: seededRandom(seed),
});

/** A tiny linear model over the features a, b and c, trained on this very view as far as its manifest says. */
function modelFor(project: Project, ort: Engine): LoadedModel {
  const { digest, name } = project.views.get(SIM_MODEL)!;
  const files = packageFiles("linear", (manifest) => {
    manifest.view = { name, digest: `sha256:${digest.replace(/^sha256:/, "")}` };
  });
  return loadModel(SIM_MODEL, readPackage(files), ort, simClock(0));
}
