import type { ConnectorContext } from "../connectors/connector.ts";
import { createConnector } from "../connectors/registry.ts";
import type { Connector } from "../contract/page.ts";
import type { Engine } from "./engine.ts";
import { fuseStep } from "./fuse.ts";
import { ingestStep } from "./ingest.ts";
import { labelStep } from "./labels.ts";
import type { Step } from "./loop.ts";
import { modelContext } from "./models.ts";

export interface Pipeline {
  /** The path of a record, in the order data flows: the output of one step is the input of the next. */
  readonly steps: readonly Step[];
  /** By source. */
  readonly connectors: ReadonlyMap<string, Connector>;
  close(): Promise<void>;
}

/** Smaller bounds than the steps' own, for simulations: what is written in the end does not depend on them. */
export interface StepLimits {
  readonly pageBytes?: number;
  readonly rowsPerCommit?: number;
  readonly rowsPerPage?: number;
}

/**
 * source -> landing + curated (ingest) -> features (fuse) -> labels: every step that needs no live model. `tell` hears what
 * sources say that is no failure.
 */
export function pipelineOf(engine: Engine, limits: StepLimits = {}, tell?: ConnectorContext["tell"]): Pipeline {
  const { project, world } = engine;
  const folder = project.configPath.slice(0, project.configPath.lastIndexOf("/") + 1);
  const context = {
    clock: world.clock,
    resolve: (path: string) => path,
    shown: (path: string) => (path.startsWith(folder) ? path.slice(folder.length) : path),
    ...(tell === undefined ? {} : { tell }),
  };
  const connectors = new Map<string, Connector>();
  for (const [name, plan] of project.sources) {
    const expectations = plan.routes.map(({ dataset }) => ({
      contract: dataset.contract,
      rename: dataset.config.rename ?? {},
      computed: dataset.contract.fields.filter((_, i) => dataset.computed[i]).map((field) => field.name),
    }));
    connectors.set(name, createConnector(name, plan.config, { ...context, expectations }));
  }
  const ingest = [...project.sources].map(([name, plan]) => ingestStep(engine, plan, connectors.get(name)!, limits));
  const fuse = [...project.views.values()].map((plan) => fuseStep(engine, plan, limits));
  const labels = Object.keys(project.config.models).flatMap(
    (name) => labelStep(engine, modelContext(engine, name)) ?? [],
  );
  return {
    steps: [...ingest, ...fuse, ...labels],
    connectors,
    close: async () => {
      for (const connector of connectors.values()) await connector.close();
    },
  };
}
