import type { World } from "../base/world.ts";
import { isFull } from "../store/full.ts";
import { openedBy, rewrapStore } from "../store/rewrap.ts";
import type { Progress, Rotation } from "../store/rotate.ts";
import { rotateKeys } from "../store/rotate_keys.ts";
import { type Engine, withEngine } from "./engine.ts";
import { runtimeErrors } from "./errors.ts";
import { onceThereIsRoom } from "./full_disk.ts";
import { openProject, type ProjectLocation } from "./project.ts";
import { parseObject, requestErrors } from "./requests.ts";
import { askServer, runningServer } from "./running.ts";

/** Where a running server rotates, and has another key wrap its keys. */
const ROTATE_PATH = "/v1/keys/rotate";
const REWRAP_PATH = "/v1/keys/rewrap";

/** What a rotation did, as it is told. */
export interface ShownRotation {
  readonly key_id: number;
  readonly retired: readonly number[];
  readonly resumed: boolean;
  readonly segments: number;
  readonly bytes: number;
}

const shownRotation = ({ keyId, retired, resumed, segments, bytes }: Rotation): ShownRotation => ({
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

/** Rotates in the server. What a full disk cut off goes on by itself once there is room. */
export async function rotateAsked(engine: Engine, log: Log): Promise<ShownRotation> {
  try {
    return shownRotation(await engine.store.rotate());
  } catch (cause) {
    if (isFull(cause) && engine.store.pending.isRotating()) takeUpRotation(engine, log, "full");
    throw cause;
  }
}

type Log = (message: string, facts: object) => void;

/** Goes on with a rotation that a stop, a crash or a full disk left, beside everything else; the log says when it is done. */
export function takeUpRotation({ store }: Engine, log: Log, full?: "full"): void {
  if (!store.pending.isRotating()) return;
  const act = () => {
    log("a rotation of keys is taken up again", {});
    return store.rotate();
  };
  const later = () => onceThereIsRoom(act, () => false); // a closed store ends it
  const done = full ? later() : act().catch((cause) => (isFull(cause) ? later() : Promise.reject(cause)));
  done.then(
    (rotation) => log("the rotation of keys is done", shownRotation(rotation)),
    ({ code, message }: { code?: string; message: string }) =>
      log("the rotation of keys is not done", { code, message }),
  );
}

/** What a re-wrapping did, as it is told. */
interface ShownRewrapping {
  /** The numbers of the store keys. */
  readonly store_keys: readonly number[];
}

/**
 * Has the key file at `path` wrap the store keys: the server that has the store open does it, and reads or makes the file, or
 * this process where none runs. Throws as rewrapStore. Where the server goes away meanwhile, the error says which key opens
 * the store now.
 */
export async function rewrapProject(world: World, location: ProjectLocation, path: string): Promise<ShownRewrapping> {
  const { dataDirectory: directory, config } = await openProject(world, location);
  const to = { ...config.keys, path };
  const server = await runningServer(world, { dataDirectory: directory });
  if (server === undefined) return { store_keys: await rewrapStore(directory, config.keys, to, world.random) };
  const opening = () => openedBy(directory, [config.keys, to], world.random);
  if ((await opening()).length === 0) await withEngine(world, location, "read", async ({ store }) => store.head());
  try {
    return (await askServer(server, REWRAP_PATH, { path })) as ShownRewrapping;
  } catch (cause) {
    const { code, message } = cause as { code?: string; message: string };
    if (code !== `${runtimeErrors.prefix}.server_gone`) throw cause;
    const [left] = await opening().catch(() => []);
    const now = left ? `; ${directory} opens with the key in ${left.path}` : "";
    throw runtimeErrors.error("server_gone", `${message}${now}`, { place: directory, cause });
  }
}

/** The same in the server. `body` names the file by an absolute path of this host. */
export async function rewrapAsked({ project, store }: Engine, body: string): Promise<ShownRewrapping> {
  const { path, ...rest } = parseObject(body);
  const [other] = Object.keys(rest);
  if (other === undefined && typeof path === "string" && path.startsWith("/")) {
    return { store_keys: await store.rewrap({ ...project.config.keys, path }) };
  }
  throw requestErrors.error("bad_request", "this names no key file", {
    place: other ?? "path",
    fix: 'Send { "path": "/path/of/the/key" }, a file of the host that serves; it is made where it is not there.',
  });
}
