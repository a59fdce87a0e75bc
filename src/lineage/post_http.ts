import { lineageErrors } from "./errors.ts";
import type { Post } from "./post.ts";

export interface HttpPostOptions {
  /** Base URL of the server; `/api/v1/lineage` is added unless the path says it already. */
  readonly url: string;
  readonly bearer?: string;
  /** Default 10 s. */
  readonly timeoutMs?: number;
}

/** Posts OpenLineage events over HTTP (`POST /api/v1/lineage`). A redirect counts as a failure: the token stays here. */
export function httpPost({ url, bearer, timeoutMs = 10_000 }: HttpPostOptions): Post {
  const target = lineageAddress(url);
  const headers: Record<string, string> = { "content-type": "application/json" };
  if (bearer !== undefined) headers.authorization = `Bearer ${bearer}`;
  return async (body) => {
    const signal = AbortSignal.timeout(timeoutMs);
    const response = await fetch(target, { method: "POST", headers, body, signal, redirect: "manual" });
    await response.body?.cancel();
    return { status: response.status };
  };
}

function lineageAddress(url: string): string {
  const parsed = URL.canParse(url) ? new URL(url) : undefined;
  if (!parsed || (parsed.protocol !== "http:" && parsed.protocol !== "https:")) {
    throw lineageErrors.error("bad_url", `"${url}" is no http or https URL`, { place: "lineage.openlineage" });
  }
  const path = parsed.pathname.replace(/\/+$/, "");
  parsed.pathname = path.endsWith("/lineage") ? path : `${path}/api/v1/lineage`;
  return parsed.toString();
}
