import type { Services } from "../runtime/faces.ts";
import { createApp } from "./app.ts";
import { serverErrors } from "./errors.ts";

export interface Listening {
  readonly url: string;
  readonly port: number;
  /** Stops accepting, waits for running requests, closes. */
  stop(): Promise<void>;
}

/** Serves the faces on a loopback address. Port 0 picks a free one. */
export function listen(services: Services, options: { host: string; port: number; maxBody: number }): Listening {
  const app = createApp(services);
  try {
    const server = Bun.serve({
      hostname: options.host,
      port: options.port,
      maxRequestBodySize: options.maxBody,
      idleTimeout: 60,
      development: false,
      fetch: (request) => app.fetch(request),
    });
    return { url: server.url.href.replace(/\/$/, ""), port: server.port!, stop: () => server.stop() };
  } catch (cause) {
    throw serverErrors.error("port_in_use", `${options.host}:${options.port} can't be listened on`, { cause });
  }
}
