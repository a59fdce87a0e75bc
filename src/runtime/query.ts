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
  const { residentBytes, workers } = world;
  const opened = openProject(world, location);
  const message = opened.then((project) => ({
    ...asked,
    directory: project.dataDirectory,
    keys: project.config.keys,
    cacheBytes: cacheOf(project),
  }));
  const answer = queryInThread(message, { timeoutMs, residentBytes, workerUrl: workers.query });
  answer.catch(() => {}); // it fails with the project
  return ofDirectory((await opened).dataDirectory, answer);
}
