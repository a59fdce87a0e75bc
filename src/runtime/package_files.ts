import type { World } from "../base/world.ts";
import { scoringErrors } from "../scoring/errors.ts";
import { MANIFEST_FILE, PACKAGE_LIMITS } from "../scoring/package.ts";
import { runtimeErrors } from "./errors.ts";

/** Folders inside folders of a package. */
const DEPTH_MAX = 8;

/**
 * The files of a package directory, by path. Names and sizes are looked at first, and nothing is read of a directory that
 * has no model.json or is over a limit. A directory that is not there and one without a package are the same error: what
 * lies elsewhere on the host is not told.
 */
export async function packageFiles(
  { world }: { readonly world: Pick<World, "files"> },
  directory: string,
): Promise<Map<string, Uint8Array>> {
  const root = await world.files.look(directory, PACKAGE_LIMITS.files + 1);
  if (!root?.some(({ name }) => name === MANIFEST_FILE) && !(await hasManifest(world, directory, root?.length ?? 0))) {
    throw runtimeErrors.error("no_package", `${directory} holds no model package`, { place: directory });
  }
  const files = new Map<string, Uint8Array>();
  for (const path of await findFiles(world, directory)) {
    files.set(path, await world.files.read(`${directory}/${path}`));
  }
  return files;
}

/** A crowded directory is looked at in part only: its manifest may be among the rest. */
const hasManifest = async (world: Pick<World, "files">, directory: string, seen: number): Promise<boolean> =>
  seen > PACKAGE_LIMITS.files && (await world.files.exists(`${directory}/${MANIFEST_FILE}`));

async function findFiles({ files }: Pick<World, "files">, directory: string): Promise<string[]> {
  const found: string[] = [];
  let [entries, bytes] = [0, 0];
  const walk = async (below: string, depth: number): Promise<void> => {
    const folder = below === "" ? directory : `${directory}/${below}`;
    for (const entry of (await files.look(folder, PACKAGE_LIMITS.files + 1)) ?? []) {
      const path = below === "" ? entry.name : `${below}/${entry.name}`;
      entries++;
      if (entry.kind === "file") bytes += entry.bytes;
      if (entries > PACKAGE_LIMITS.files) throw tooLarge(`more than ${PACKAGE_LIMITS.files} files`, directory);
      if (bytes > PACKAGE_LIMITS.bytes) throw tooLarge(`more than ${PACKAGE_LIMITS.bytes} bytes`, directory);
      if (entry.kind === "other") {
        const message = `${path} in the package is neither a file nor a folder`;
        throw runtimeErrors.error("package_entry", message, { place: path });
      }
      if (entry.kind === "file") found.push(path);
      else if (depth >= DEPTH_MAX) throw tooLarge(`more than ${DEPTH_MAX} folders inside each other`, directory);
      else await walk(path, depth + 1);
    }
  };
  await walk("", 0);
  return found;
}

const tooLarge = (what: string, place: string) =>
  scoringErrors.error("model_too_large", `the package has ${what}`, { place });
