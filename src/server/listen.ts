import { type Context, Hono } from "hono";
import { bodyLimit } from "hono/body-limit";
import type { Services } from "../runtime/faces.ts";
import { createApp, failure } from "./app.ts";
import { serverErrors } from "./errors.ts";

export interface Listening {
  readonly url: string;
  readonly port: number;
  /** Stops accepting, waits for running requests, closes. */
  stop(): Promise<void>;
}

/** Serves the faces on a loopback address. Port 0 picks a free one. */
export function listen(services: Services, options: { host: string; port: number; maxBody: number }): Listening {
  const app = limited(createApp(services), services, options.maxBody);
  try {
    const server = Bun.serve({
      hostname: options.host,
      port: options.port,
      maxRequestBodySize: Number.MAX_SAFE_INTEGER, // `limited` has the limit, and answers in its own words
      idleTimeout: 60,
      development: false,
      // Bun shares the port outside development: a second server would take every other request, and nobody be told.
      reusePort: false,
      fetch: (request) => app.fetch(request),
    });
    return { url: server.url.href.replace(/\/$/, ""), port: server.port!, stop: () => server.stop() };
  } catch (cause) {
    const address = `${options.host}:${options.port}`;
    if ((cause as { code?: unknown }).code === "EADDRINUSE") {
      throw serverErrors.error("port_in_use", `${address} is taken`, { place: "listen.port", cause });
    }
    const said = cause instanceof Error ? cause.message : String(cause);
    throw serverErrors.error("cannot_listen", `${address} can't be listened on: ${said}`, { place: "listen", cause });
  }
}

/** The app behind a limit on bodies. Around it rather than in it, so that the app's routes are its addresses alone. */
function limited(app: Hono, services: Services, maxSize: number): Hono {
  const around = new Hono();
  const fail = failure(services);
  const onError = (context: Context) => {
    const message = `the body has more than ${maxSize} bytes`;
    return fail(context, serverErrors.error("body_too_large", message, { place: "listen.max_body" }));
  };
  around.use(bodyLimit({ maxSize, onError }));
  around.all("*", (context) => app.fetch(context.req.raw));
  return around;
}
