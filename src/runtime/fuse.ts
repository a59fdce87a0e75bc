import { isFiniteSource } from "../connectors/registry.ts";
import { curatedStream, featuresStream } from "../contract/streams.ts";
import { type Fuser, isSettled } from "../fusion/increment.ts";
import { type FuseOptions, type FuseResult, resumeFuser, stepFuse } from "../fusion/step.ts";
import type { ViewPlan } from "../fusion/types.ts";
import { feedsOf } from "../fusion/watermark.ts";
import type { Engine } from "./engine.ts";
import { featureLineage, lineageOf } from "./lineage.ts";
import type { Step } from "./loop.ts";

/** curated -> features: joins, windows and expressions of one view over what became known. */
export function fuseStep(
  engine: Engine,
  plan: ViewPlan,
  limits: Pick<FuseOptions, "rowsPerCommit" | "rowsPerPage"> = {},
): Step {
  const { world, store, project } = engine;
  const feeds = feedsOf(project.config.sources, isFiniteSource);
  let fuser: Fuser | undefined;
  return {
    name: `fuse.${plan.name}`,
    reads: [...plan.needs.keys()].map(curatedStream),
    writes: [featuresStream(plan.name)],
    forget() {
      fuser = undefined;
    },
    async turn() {
      const startedAt = world.clock.now();
      if (fuser?.outdated && isSettled(fuser)) fuser = undefined;
      fuser ??= await resumeFuser(store, plan, feeds);
      const extra = (result: FuseResult) => [fuseLineage(engine, result, startedAt)];
      try {
        return await stepFuse({ ...limits, store, fuser, clock: world.clock, extra });
      } catch (error) {
        fuser = undefined; // it is ahead of the store now: fold it again
        throw error;
      }
    },
  };
}

function fuseLineage({ world, project }: Engine, { plan, batch, position }: FuseResult, startedAt: number) {
  return lineageOf(world, project, {
    job: `fuse.${plan.name}`,
    jobType: "FUSE",
    startedAt,
    inputs: [...plan.needs.keys()].map((dataset) => {
      const contract = project.contracts.get(dataset)!;
      return { name: curatedStream(dataset), contract, version: String(position) };
    }),
    outputs: [
      {
        name: featuresStream(plan.name),
        contract: plan.contract,
        version: plan.digest,
        written: { rows: batch.length },
        columns: featureLineage(project, plan),
      },
    ],
  });
}
