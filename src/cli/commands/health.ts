import { MICROS_PER_SECOND } from "../../base/time.ts";
import { askReady } from "../../runtime/running.ts";
import { type Command, requireText } from "../command.ts";
import { EXIT_NO } from "../errors.ts";

const DEFAULT_TIMEOUT_MS = 5_000;
const ASK_AGAIN_MS = 200;

export const health: Command = {
  name: "health",
  summary: "ask a running server whether it is ready: exit code 0 if it is, 1 if not",
  flags: {
    url: { kind: "text", describe: "the server's address", default: "http://127.0.0.1:8080" },
    wait: { kind: "number", describe: "seconds to go on asking until it is ready", default: 0 },
    timeout: { kind: "number", describe: "milliseconds to wait for one answer", default: DEFAULT_TIMEOUT_MS },
  },
  async run(world, input) {
    const url = `${requireText(health, input, "url").replace(/\/+$/, "")}/readyz`;
    const until = world.clock.now() + input.number("wait")! * MICROS_PER_SECOND;
    let answer = await askReady(url, input.number("timeout")!);
    while (answer.status !== 200 && world.clock.now() < until) {
      await Bun.sleep(ASK_AGAIN_MS);
      answer = await askReady(url, input.number("timeout")!);
    }
    const reason = answer.reason.replace(" Is the computer able to access the url?", "");
    const ready = answer.status === 200;
    return {
      json: { url, ready, ...answer, reason },
      text: ready ? "ready" : `not ready: ${url}: ${reason}`,
      exit: ready ? 0 : EXIT_NO,
    };
  },
};
