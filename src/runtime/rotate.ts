import type { World } from "../base/world.ts";
import type { Progress, Rotation } from "../store/rotate.ts";
import { rotateKeys } from "../store/rotate_keys.ts";
import { withEngine } from "./engine.ts";
import { openProject, type ProjectLocation } from "./project.ts";
import { askServer, runningServer } from "./running.ts";

/** Where a running server rotates. */
const ROTATE_PATH = "/v1/keys/rotate";

/** What a rotation did, as it is told. */
export interface ShownRotation {
  readonly key_id: number;
  readonly retired: readonly number[];
  readonly resumed: boolean;
  readonly segments: number;
  readonly bytes: number;
}

export const shownRotation = ({ keyId, retired, resumed, segments, bytes }: Rotation): ShownRotation => ({
  key_id: keyId,
  retired,
  resumed,
  segments,
  bytes,
});

/**
 * Rotates the data keys: the server that has the store open does it, or this process where none runs. Beside a server too
 * the key of the config must open the store. `progress` hears of the work of this process alone.
 */
export async function rotateProject(
  world: World,
  location: ProjectLocation,
  progress: Progress,
): Promise<ShownRotation> {
  const { dataDirectory: directory, config } = await openProject(world, location);
  const server = await runningServer(world, { dataDirectory: directory });
  if (server !== undefined) {
    await withEngine(world, location, "read", async ({ store }) => store.head());
    return (await askServer(server, ROTATE_PATH, {})) as ShownRotation;
  }
  const { clock, random } = world;
  return shownRotation(await rotateKeys({ directory, keys: config.keys, clock, random, progress }));
}
