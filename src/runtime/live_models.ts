import { readDeployments } from "../delivery/promote.ts";
import type { LoadedModel } from "../scoring/loaded.ts";
import { createModelTable, type ModelTable } from "../scoring/model_table.ts";
import type { Engine as Ort } from "../scoring/tensor.ts";
import { packageFiles, promotePackage } from "./delivery.ts";
import type { Engine } from "./engine.ts";
import { loadStored, type ModelContext, modelContext } from "./models.ts";

/** The models of the serving thread: a fold of the control stream, with the live and the previous session kept warm. */
export interface LiveModels {
  readonly table: ModelTable;
  readonly contexts: ReadonlyMap<string, ModelContext>;
  /** Looks at what is deployed and makes it live here. Called at start and after every deployment. */
  follow(): Promise<void>;
  close(): void;
}

export function liveModels(engine: Engine, ort: Ort, log: (message: string, facts: object) => void): LiveModels {
  const table = createModelTable();
  const contexts = new Map(Object.keys(engine.project.config.models).map((name) => [name, modelContext(engine, name)]));
  let running: Promise<void> = Promise.resolve();
  const followOnce = async () => {
    const deployments = await readDeployments(engine.store);
    for (const [name, context] of contexts) {
      const live = deployments.get(name)?.live;
      if (!live || table.activate(name, live.digest)) continue;
      const model: LoadedModel = await loadStored(engine, context, ort, live.digest);
      table.install(model);
      log("model live", { model: name, version: live.version, digest: live.digest });
    }
  };
  return {
    table,
    contexts,
    // One after another: two flips at once must not install in the wrong order.
    follow: () => {
      running = running.then(followOnce, followOnce);
      return running;
    },
    close: () => table.close(),
  };
}

/** Promotes the configured package of every model that nothing was ever deployed for: the first start of an edge host. */
export async function deployConfigured(
  engine: Engine,
  ort: Ort,
  contexts: ReadonlyMap<string, ModelContext>,
  log: (message: string, facts: object) => void,
): Promise<void> {
  const deployments = await readDeployments(engine.store);
  for (const [name, context] of contexts) {
    if (deployments.get(name)?.live) continue;
    const { artifact } = engine.project.config.models[name]!;
    if (!(await engine.world.files.exists(`${artifact}/model.json`))) {
      log("no package to deploy", { model: name, artifact });
      continue;
    }
    const promotion = await promotePackage(engine, context, ort, await packageFiles(engine, artifact));
    if (promotion.refused) log("package refused", { model: name, ...promotion.refused });
  }
}
