import { MICROS_PER_SECOND } from "../../base/time.ts";
import type { World } from "../../base/world.ts";
import { absolute, openConfig } from "../../runtime/project.ts";
import { askReady, runningServer } from "../../runtime/running.ts";
import { type Command, type Input, PROJECT_FLAGS } from "../command.ts";
import { EXIT_NO } from "../errors.ts";
import { locationOf } from "../project.ts";

const DEFAULT_TIMEOUT_MS = 5_000;
const ASK_AGAIN_MS = 200;

export const health: Command = {
  name: "health",
  summary: "ask a running server whether it is ready: exit code 0 if it is, 1 if not",
  flags: {
    ...PROJECT_FLAGS,
    url: {
      kind: "text",
      describe:
        "the server's address; default is where the project's own server says it answers, else --host and --port, else the config's `listen`",
    },
    host: { kind: "text", describe: "the address that `mlpe run` was given" },
    port: { kind: "number", describe: "the port that `mlpe run` was given" },
    wait: { kind: "number", describe: "seconds to go on asking until it is ready", default: 0 },
    timeout: { kind: "number", describe: "milliseconds to wait for one answer", default: DEFAULT_TIMEOUT_MS },
  },
  async run(world, input) {
    let url = await readyUrl(world, input);
    const until = world.clock.now() + input.number("wait")! * MICROS_PER_SECOND;
    let answer = await askReady(url, input.number("timeout")!);
    while (answer.status !== 200 && world.clock.now() < until) {
      await Bun.sleep(ASK_AGAIN_MS);
      url = await readyUrl(world, input); // a server that starts has yet to say where it answers
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

const DEFAULT_HOST = "127.0.0.1";
const DEFAULT_PORT = 8080;

async function readyUrl(world: World, input: Input): Promise<string> {
  const given = input.text("url");
  return `${(given ?? (await addressOf(world, input))).replace(/\/+$/, "")}/readyz`;
}

/** Outside a project there is only what the flags say. */
async function addressOf(world: World, input: Input): Promise<string> {
  const location = locationOf(input);
  const isProject = await world.files.exists(absolute(world, location.config));
  const project = isProject ? await openConfig(world, location) : undefined;
  // Another user's server does not show its address, but answers where the config says.
  const running = project && (await runningServer(world, project).catch(() => undefined));
  if (running) return running.url;
  const host = input.text("host") ?? project?.config.listen.host ?? DEFAULT_HOST;
  return `http://${host}:${input.number("port") ?? project?.config.listen.port ?? DEFAULT_PORT}`;
}
