import type { World } from "../../src/base/world.ts";
import { serve } from "../../src/cli/commands/run.ts";
import type { Desk } from "../support/world.ts";

export interface Served {
  readonly url: string;
  /** What it wrote to standard error. */
  log(): string;
  stop(): Promise<void>;
}

/** The whole server over a project, in this process with its real threads, once it is ready. */
export async function serveDesk(desk: Desk): Promise<Served> {
  const stopping = Promise.withResolvers<void>();
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
  return {
    url,
    log: () => lines.join("\n"),
    stop: async () => {
      stopping.resolve();
      await running;
    },
  };
}
