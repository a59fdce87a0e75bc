import { type Command, requireText } from "../command.ts";
import { EXIT_NO } from "../errors.ts";

const DEFAULT_TIMEOUT_MS = 5_000;

export const health: Command = {
  name: "health",
  summary: "ask a running server whether it is ready: exit code 0 if it is, 1 if not",
  flags: {
    url: { kind: "text", describe: "the server's address", default: "http://127.0.0.1:8080" },
    timeout: { kind: "number", describe: "milliseconds to wait", default: DEFAULT_TIMEOUT_MS },
  },
  async run(_world, input) {
    const url = `${requireText(health, input, "url").replace(/\/+$/, "")}/readyz`;
    const answer = await ask(url, input.number("timeout")!);
    const ready = answer.status === 200;
    return {
      json: { url, ready, ...answer },
      text: ready ? "ready" : `not ready: ${url}: ${answer.reason}`,
      exit: ready ? 0 : EXIT_NO,
    };
  },
};

interface Answer {
  /** Null where nothing answered. */
  readonly status: number | null;
  readonly reason: string;
}

/** Whatever goes wrong is an answer: the server is not ready. */
async function ask(url: string, timeoutMs: number): Promise<Answer> {
  try {
    const response = await fetch(url, { signal: AbortSignal.timeout(timeoutMs), redirect: "manual" });
    const body = (await response.text()).slice(0, 500).trim();
    return { status: response.status, reason: response.status === 200 ? "" : `HTTP ${response.status} ${body}`.trim() };
  } catch (error) {
    return { status: null, reason: (error as Error).message };
  }
}
