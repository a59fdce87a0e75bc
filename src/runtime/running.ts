import { MlpeError } from "../base/errors.ts";
import type { World } from "../base/world.ts";
import type { Project } from "./project.ts";

/** Where a running server says how to reach it. Not a secret: it listens on loopback. */
export const addressFile = (dataDirectory: string): string => `${dataDirectory}/server.url`;

/** The address of the server that has this data directory open, if one answers. */
export async function runningServer(world: World, project: Project): Promise<string | undefined> {
  const path = addressFile(project.dataDirectory);
  if (!(await world.files.exists(path))) return undefined;
  const url = new TextDecoder().decode(await world.files.read(path)).trim();
  const alive = await fetch(`${url}/healthz`, { signal: AbortSignal.timeout(2000) }).then(
    (response) => response.ok,
    () => false,
  );
  return alive ? url : undefined;
}

/** Posts JSON to a running server and gives its answer; its error comes back as the same error. */
export async function askServer(url: string, path: string, body?: unknown): Promise<unknown> {
  const response = await fetch(`${url}${path}`, {
    method: body === undefined ? "GET" : "POST",
    headers: { "content-type": "application/json" },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  const answer = (await response.json()) as { error?: { code: string; message: string; place?: string; fix: string } };
  if (response.ok || !answer.error) return answer;
  const { code, message, place, fix } = answer.error;
  throw new MlpeError(code, { kind: "refused", meaning: message, fix }, message, { place });
}

/** What a server says of itself at a URL. */
export interface Readiness {
  /** Null where nothing answered. */
  readonly status: number | null;
  /** Why it is not ready; empty where it is. */
  readonly reason: string;
}

/** Asks once. Whatever goes wrong is an answer: the server is not ready. */
export async function askReady(url: string, timeoutMs: number): Promise<Readiness> {
  try {
    const response = await fetch(url, { signal: AbortSignal.timeout(timeoutMs), redirect: "manual" });
    const body = (await response.text()).slice(0, 500).trim();
    return { status: response.status, reason: response.status === 200 ? "" : `HTTP ${response.status} ${body}`.trim() };
  } catch (error) {
    return { status: null, reason: (error as Error).message };
  }
}
