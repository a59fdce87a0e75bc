import { monitoringErrors } from "./errors.ts";
import type { Send } from "./webhook.ts";

/** Posts JSON to a webhook. The URL may hold a secret: it never appears in messages. `place` names it instead. */
export function httpSend(url: string, place: string, timeoutMs = 10_000): Send {
  const parsed = URL.canParse(url) ? new URL(url) : undefined;
  if (!parsed || (parsed.protocol !== "http:" && parsed.protocol !== "https:")) {
    throw monitoringErrors.error("bad_webhook", `the webhook at ${place} is no http or https URL`, { place });
  }
  return async (body) => {
    const response = await fetch(parsed, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body,
      signal: AbortSignal.timeout(timeoutMs),
      redirect: "manual",
    });
    await response.body?.cancel();
    return { status: response.status };
  };
}
