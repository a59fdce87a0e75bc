import { readFileSync } from "node:fs";
import type { World } from "../../src/base/world.ts";
import { serve } from "../../src/cli/commands/run.ts";
import type { Desk } from "../support/world.ts";

export interface Served {
  readonly url: string;
  /** What deploys are asked with. */
  readonly token: string;
  /** What it wrote to standard error. */
  log(): string;
  stop(): Promise<void>;
}

/** The whole server over a project, in this process with its real threads, once it is ready. */
export async function serveDesk(desk: Desk): Promise<Served> {
  const stopping = Promise.withResolvers<"SIGTERM">();
  const ready = Promise.withResolvers<void>();
  const lines: string[] = [];
  const world: World = {
    ...desk.world,
    stopRequested: () => stopping.promise,
    warn(line) {
      lines.push(line);
      if (line.includes('"ready"')) ready.resolve();
    },
  };
  const running = serve(world, { config: desk.path("mlpe.yaml") });
  running.catch(ready.reject);
  await ready.promise;
  const url = /"url":"([^"]+)"/.exec(lines.join("\n"))![1]!;
  const { token } = JSON.parse(readFileSync(desk.path("data/server.url"), "utf8")) as { token: string };
  return {
    url,
    token,
    log: () => lines.join("\n"),
    stop: async () => {
      stopping.resolve("SIGTERM");
      await running;
    },
  };
}
