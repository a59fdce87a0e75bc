import { MlpeError } from "../base/errors.ts";
import { readDeployments } from "../delivery/promote.ts";
import { createModelTable, type Lease, type ModelTable } from "../scoring/model_table.ts";
import type { Engine as Ort } from "../scoring/tensor.ts";
import { promotePackage } from "./delivery.ts";
import type { Engine } from "./engine.ts";
import { runtimeErrors } from "./errors.ts";
import { loadStored, type ModelContext, modelContext } from "./models.ts";
import { packageFiles } from "./package_files.ts";

/** A live package that can't be loaded: its model scores nothing until another one is live. */
export interface Unloaded {
  readonly model: string;
  readonly version: string;
  readonly digest: string;
  readonly code: string;
  readonly reason: string;
}

/** The models of the serving thread: a fold of the control stream, with the live and the previous session kept warm. */
export interface LiveModels {
  readonly table: ModelTable;
  readonly contexts: ReadonlyMap<string, ModelContext>;
  /** The models whose live package can't be loaded. */
  unloaded(): readonly Unloaded[];
  /** A lease on the live session, or that of a version kept warm; `runtime.not_loaded` where the live one can't be loaded. */
  acquire(model: string, version?: string): Lease;
  /** Looks at what is deployed and makes it live here. Called at start and after every deployment. */
  follow(): Promise<void>;
  close(): void;
}

export function liveModels(engine: Engine, ort: Ort, log: (message: string, facts: object) => void): LiveModels {
  const table = createModelTable();
  const contexts = new Map(Object.keys(engine.project.config.models).map((name) => [name, modelContext(engine, name)]));
  const unloaded = new Map<string, Unloaded>();
  let running: Promise<void> = Promise.resolve();
  const followOnce = async () => {
    const deployments = await readDeployments(engine.store);
    for (const [name, context] of contexts) {
      const live = deployments.get(name)?.live;
      if (!live || unloaded.get(name)?.digest === live.digest) continue;
      unloaded.delete(name);
      if (table.activate(name, live.digest)) continue;
      try {
        table.install(await loadStored(engine, context, ort, live.digest));
        log("model live", { model: name, version: live.version, digest: live.digest });
      } catch (error) {
        // The other models are served, and a deployment that cures this one can still be asked for.
        const { code, message: reason } = error instanceof MlpeError ? error : internal;
        unloaded.set(name, { model: name, ...live, code, reason });
        const cures = [`mlpe rollback ${name}`, `mlpe rollforward ${name}`, `mlpe promote ${name} <package directory>`];
        log("the live package can't be loaded", { ...unloaded.get(name), cures });
      }
    }
  };
  return {
    table,
    contexts,
    unloaded: () => [...unloaded.values()],
    acquire(name, version) {
      const failed = unloaded.get(name);
      if (!failed) return table.acquire(name, version);
      const message = `${name} ${failed.version} is live and can't be loaded: ${failed.reason}`;
      throw runtimeErrors.error("not_loaded", message, { place: `models.${name}` });
    },
    // One after another: two flips at once must not install in the wrong order.
    follow: () => {
      running = running.then(followOnce, followOnce);
      return running;
    },
    close: () => table.close(),
  };
}

const internal = { code: "internal", message: "a defect of MLPE; please report it" };

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
