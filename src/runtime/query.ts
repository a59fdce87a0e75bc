import type { World } from "../base/world.ts";
import { queryInThread, type ThreadAnswer } from "../store/query_thread.ts";
import type { QueryMessage } from "../store/query_worker.ts";
import { cacheOf, ofDirectory } from "./engine.ts";
import { openProject, type ProjectLocation } from "./project.ts";

/**
 * Answers a query over a project's store, beside a server or without one, in a thread that takes no more memory than the
 * query's limit and no longer than `timeoutMs`. Throws as `queryInThread` does: the process must end then.
 */
export async function queryProject(
  world: World,
  location: ProjectLocation,
  asked: Pick<QueryMessage, "sql" | "limits" | "skipDamaged">,
  timeoutMs: number | undefined,
): Promise<ThreadAnswer> {
  const project = await openProject(world, location);
  const { dataDirectory: directory, config } = project;
  const message = { ...asked, directory, keys: config.keys, cacheBytes: cacheOf(project) };
  const { residentBytes, workers } = world;
  return ofDirectory(directory, queryInThread(message, { timeoutMs, residentBytes, workerUrl: workers.query }));
}
