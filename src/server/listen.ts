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
  /** Closes at once, whatever is running or read slowly. */
  end(): void;
}

export interface ListenOptions {
  readonly host: string;
  readonly port: number;
  readonly maxBody: number;
  /** What deploys must be asked with. */
  readonly token: string;
}

/** Serves the faces on a loopback address. Port 0 picks a free one. */
export function listen(services: Services, options: ListenOptions): Listening {
  const app = limited(createApp(services, options.token), services, options);
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
    const url = server.url.href.replace(/\/$/, "");
    return { url, port: server.port!, stop: () => server.stop(), end: () => void server.stop(true) };
  } catch (cause) {
    const address = `${options.host}:${options.port}`;
    if ((cause as { code?: unknown }).code === "EADDRINUSE") {
      throw serverErrors.error("port_in_use", `${address} is taken`, { place: "listen.port", cause });
    }
    const said = cause instanceof Error ? cause.message : String(cause);
    throw serverErrors.error("cannot_listen", `${address} can't be listened on: ${said}`, { place: "listen", cause });
  }
}

/** The app behind a limit on bodies and a look at who asks. Around it rather than in it, so that the app's routes are its addresses alone. */
function limited(app: Hono, services: Services, { host, maxBody: maxSize }: ListenOptions): Hono {
  const around = new Hono();
  const fail = failure(services);
  const onError = (context: Context) => {
    const message = `the body has more than ${maxSize} bytes`;
    return fail(context, serverErrors.error("body_too_large", message, { place: "listen.max_body" }));
  };
  around.use((context, next) => {
    const foreign = foreignTo(host, context);
    return foreign === undefined ? next() : Promise.resolve(fail(context, foreign));
  });
  around.use(bodyLimit({ maxSize, onError }));
  around.all("*", (context) => app.fetch(context.req.raw));
  return around;
}

/**
 * A browser lets any page send requests here, and a page whose name was made to resolve to this machine may read the
 * answers too. Such requests carry the page's name as Host, or its address as Origin. A program sends no Origin, and a Host
 * of loopback; its port may be a tunnel's.
 */
function foreignTo(host: string, context: Context): Error | undefined {
  const [named, origin] = [context.req.header("host"), context.req.header("origin")];
  if (named !== undefined && !isLoopback(named, host)) {
    const message = `the Host ${JSON.stringify(named.slice(0, 80))} is not this server's address`;
    return serverErrors.error("foreign_host", message, { place: "Host" });
  }
  if (origin === undefined || (named !== undefined && origin === `http://${named}`)) return undefined;
  const message = `the Origin ${JSON.stringify(origin.slice(0, 80))} is not this server`;
  return serverErrors.error("foreign_origin", message, { place: "Origin" });
}

function isLoopback(named: string, host: string): boolean {
  const name = /^(.*?)(?::\d{1,5})?$/.exec(named)![1]!.toLowerCase();
  return ["localhost", "127.0.0.1", "[::1]", host.toLowerCase(), `[${host.toLowerCase()}]`].includes(name);
}
