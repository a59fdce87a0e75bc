import { askReady } from "../../runtime/running.ts";
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
    const answer = await askReady(url, input.number("timeout")!);
    const ready = answer.status === 200;
    return {
      json: { url, ready, ...answer },
      text: ready ? "ready" : `not ready: ${url}: ${answer.reason}`,
      exit: ready ? 0 : EXIT_NO,
    };
  },
};
