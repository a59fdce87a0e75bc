import { curatedStream } from "../contract/streams.ts";
import type { ViewPlan } from "../fusion/types.ts";
import { type ExportOptions, exportTrainingSet, type TrainingSet } from "../views/export.ts";
import type { Engine } from "./engine.ts";
import { featureLineage, lineageOf } from "./lineage.ts";
import { toldLabels } from "./told_labels.ts";

/** Where a training set goes. */
export interface Keeper {
  /** Makes the set durable. */
  keep(set: TrainingSet): Promise<void>;
  /** Takes away what `keep` made, where it failed or the record of it could not be committed. */
  drop(): Promise<void>;
}

/**
 * Exports a training set, and then records that it was: the lineage names the set by the digest of its file. No record
 * names a file that was not written, and no file stays whose record is not committed.
 */
export async function exportView(
  engine: Engine,
  plan: ViewPlan,
  options: ExportOptions,
  keeper: Keeper,
): Promise<TrainingSet> {
  const { world, project, store } = engine;
  const startedAt = world.clock.now();
  const told = (upTo: number) => toldLabels(engine, plan.name, plan.shape, upTo);
  const set = await exportTrainingSet(store, plan, { ...options, told });
  const version = String(set.manifest.cutoff.commit_no);
  const act = lineageOf(world, project, {
    job: `export.${plan.name}`,
    jobType: "EXPORT",
    startedAt,
    inputs: [...plan.needs.keys()].map((dataset) => ({
      name: curatedStream(dataset),
      contract: project.contracts.get(dataset)!,
      version,
    })),
    outputs: [
      {
        name: `training/${plan.name}`,
        contract: plan.contract,
        version: `sha256:${set.manifest.sha256}`,
        written: { rows: set.manifest.rows, bytes: set.parquet.length },
        columns: featureLineage(project, plan),
      },
    ],
  });
  try {
    await keeper.keep(set);
    await store.commit({ appends: [act] });
  } catch (error) {
    await keeper.drop();
    throw error;
  }
  return set;
}
