import { timingSafeEqual } from "node:crypto";
import { hmac } from "../base/digest.ts";
import { MlpeError } from "../base/errors.ts";
import type { Random } from "../base/random.ts";
import type { World } from "../base/world.ts";
import { runtimeErrors } from "./errors.ts";
import type { Project } from "./project.ts";

/** Where a running server answers, and what it takes as proof that the caller may read its data directory. */
export interface ServerAddress {
  readonly url: string;
  /** A secret of this run of the server. */
  readonly token: string;
}

/** Where a running server writes its address, readable by its own user alone. */
export const addressFile = (dataDirectory: string): string => `${dataDirectory}/server.url`;

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");

export const newToken = (random: Random): string => hex(random.bytes(32));

/** What only the server with that token can answer to a challenge; the token itself is not told. */
export const proofOf = (token: string, challenge: string): string => hex(hmac(Buffer.from(token), "site\n", challenge));

/** Whether two secrets are the same, in a time that does not say where they differ. */
export function sameSecret(one: string, other: string): boolean {
  const key = Buffer.from("compare"); // digests have one length, as the comparison needs
  return timingSafeEqual(hmac(key, one), hmac(key, other));
}

/**
 * The server that has this data directory open, if one answers and proves it: after a crash the file stays, and the port
 * may be another site's by now.
 */
export async function runningServer(
  world: World,
  project: Pick<Project, "dataDirectory">,
): Promise<ServerAddress | undefined> {
  const path = addressFile(project.dataDirectory);
  if (!(await world.files.exists(path))) return undefined;
  const address = parseAddress(await world.files.read(path));
  if (address === undefined) return undefined;
  const challenge = newToken(world.random);
  try {
    const signal = AbortSignal.timeout(2000);
    const response = await fetch(`${address.url}/v1/site?challenge=${challenge}`, { signal, redirect: "manual" });
    const { proof } = (await response.json()) as { proof?: unknown };
    return typeof proof === "string" && sameSecret(proof, proofOf(address.token, challenge)) ? address : undefined;
  } catch {
    return undefined;
  }
}

/** The metrics of the server that has this data directory open, as Prometheus text; undefined where none answers. */
export async function runningMetrics(world: World, dataDirectory: string): Promise<string | undefined> {
  const address = await runningServer(world, { dataDirectory });
  if (!address) return undefined;
  try {
    const response = await fetch(`${address.url}/metrics`, { signal: AbortSignal.timeout(2000), redirect: "manual" });
    return response.ok ? await response.text() : undefined;
  } catch {
    return undefined;
  }
}

function parseAddress(bytes: Uint8Array): ServerAddress | undefined {
  try {
    const { url, token } = JSON.parse(new TextDecoder().decode(bytes)) as { url?: unknown; token?: unknown };
    return typeof url === "string" && typeof token === "string" ? { url, token } : undefined;
  } catch {
    return undefined;
  }
}

/** Posts JSON to a running server and gives its answer; its error comes back as the same error. */
export async function askServer({ url, token }: ServerAddress, path: string, body: unknown): Promise<unknown> {
  const gone = (cause: unknown) => {
    const why = (cause as Error).message;
    throw runtimeErrors.error("server_gone", `the server at ${url} did not answer: ${why}`, { cause });
  };
  const response = await fetch(`${url}${path}`, {
    method: "POST",
    headers: { "content-type": "application/json", authorization: `Bearer ${token}` },
    body: JSON.stringify(body),
    redirect: "manual",
  }).catch(gone);
  // It may go away in the middle of a long answer.
  type Answer = { error?: { code: string; message: string; place?: string; fix: string } };
  const answer = (await response.json().catch(gone)) as Answer;
  if (!answer.error) return answer;
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
