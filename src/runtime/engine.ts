import type { World } from "../base/world.ts";
import { createIngestState, type IngestState } from "../ingestion/state.ts";
import type { LogStore } from "../store/store.ts";
import { openStore } from "../store/store.ts";
import { openProject, type Project, type ProjectLocation } from "./project.ts";

/** A project with its store open: what every command and thread works on. */
export interface Engine {
  readonly world: World;
  readonly project: Project;
  readonly store: LogStore;
  /** Dedupe state and places in the sources, folded when first needed. */
  readonly ingestState: IngestState;
  close(): Promise<void>;
}

/** Opens a project and its store. `read` is allowed beside a running server, `write` is not. */
export async function openEngine(world: World, location: ProjectLocation, mode: "read" | "write"): Promise<Engine> {
  const project = await openProject(world, location);
  const store = await openStore({
    directory: project.dataDirectory,
    keys: project.config.keys,
    clock: world.clock,
    random: world.random,
    mode,
  });
  return engineOver(world, project, store);
}

/** The engine over a store that is open already. */
export function engineOver(world: World, project: Project, store: LogStore): Engine {
  return { world, project, store, ingestState: createIngestState(), close: () => store.close() };
}

/** Opens, works, and closes whatever happens. */
export async function withEngine<Result>(
  world: World,
  location: ProjectLocation,
  mode: "read" | "write",
  work: (engine: Engine) => Promise<Result>,
): Promise<Result> {
  const engine = await openEngine(world, location, mode);
  try {
    return await work(engine);
  } finally {
    await engine.close();
  }
}
