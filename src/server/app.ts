import { type Context, Hono, type MiddlewareHandler } from "hono";
import { nearest } from "../base/nearest.ts";
import { exactJsonText } from "../contract/json.ts";
import type { RowsFormat, Services, StreamedBody } from "../runtime/faces.ts";
import { proofOf, sameSecret } from "../runtime/running.ts";
import { answerFor, serverErrors } from "./errors.ts";
import { patiently } from "./patient.ts";

const SERVER_NAME = "mlpe";

/**
 * The HTTP faces: Open Inference Protocol at /v2, the rest at /v1, health and metrics beside them. The token proves whose
 * server this is, and who has it may deploy.
 */
export function createApp(services: Services, token: string): Hono {
  const app = new Hono({ strict: false });
  const fail = failure(services);
  app.get("/healthz", (context) => context.json({ live: true }));
  app.get("/readyz", (context) => {
    const [ready, unloaded, space] = [isReady(services), services.unloaded(), services.space()];
    const degraded = services.degraded();
    const rest = {
      ...(unloaded.length === 0 ? {} : { unloaded }),
      ...(degraded.length === 0 ? {} : { degraded }),
      ...(space ? { space } : {}),
    };
    return context.json({ ready, ...rest }, ready ? 200 : 503);
  });
  app.get("/metrics", (context) => {
    return context.text(services.metrics(), 200, { "content-type": "text/plain; version=0.0.4; charset=utf-8" });
  });
  app.route("/v2", inferenceProtocol(services));
  app.route("/v1", api(services, token));
  app.notFound((context) => {
    const { method, path } = context.req;
    const allowed = METHODS.filter((other) => app.router.match(other, withoutSlash(path))[0].length > 0);
    if (allowed.length === 0) return fail(context, serverErrors.error("not_found", `there is nothing at ${path}`));
    context.header("allow", allowed.join(", "));
    return fail(
      context,
      serverErrors.error("wrong_method", `${path} does not take ${method}`, { fix: `Use ${allowed.join(" or ")}.` }),
    );
  });
  app.onError((error, context) => fail(context, error));
  return app;
}

/** Started, and every live package is loaded. */
const isReady = (services: Services): boolean =>
  services.ready() &&
  services.unloaded().length === 0 &&
  !services.degraded().some(({ refuses }) => refuses) &&
  services.space()?.scores !== "refused";

/** Those that any address takes; HEAD goes wherever GET does. */
const METHODS = ["GET", "POST"] as const;
const withoutSlash = (path: string): string => (path.length > 1 && path.endsWith("/") ? path.slice(0, -1) : path);

/** JSON text as the answer. */
const json = (context: Context, text: string): Response =>
  context.body(text, 200, { "content-type": "application/json" });
/** An object as the answer: whole numbers beyond 2^53 keep their digits. */
const exact = (context: Context, answer: object): Response => json(context, exactJsonText(answer));

/** Failures under /v2 carry the error as text, as the protocol says; elsewhere as an object with code and fix. */
export const failure =
  (services: Services) =>
  (context: Context, error: unknown): Response => {
    const { status, error: body } = answerFor(error);
    services.failed(body.code);
    if (status === 429 || status === 503) context.header("retry-after", body.code === "store.full" ? "10" : "1");
    if (context.req.path.startsWith("/v2")) {
      const place = body.place === undefined ? "" : `${body.place}: `;
      return context.json({ error: `${body.code}: ${place}${body.message}. ${body.fix}` }, status);
    }
    return context.json({ error: body }, status);
  };

function inferenceProtocol(services: Services): Hono {
  const v2 = new Hono({ strict: false });
  v2.get("/", (context) => context.json({ name: SERVER_NAME, version: services.version, extensions: [] }));
  v2.get("/health/live", (context) => context.json({ live: true }));
  v2.get("/health/ready", (context) => {
    const ready = isReady(services);
    return context.json({ ready, live: true }, ready ? 200 : 503);
  });
  for (const base of ["/models/:model", "/models/:model/versions/:version"] as const) {
    v2.get(base, (context) => context.json(services.modelMetadata(model(context), version(context))));
    v2.get(`${base}/ready`, (context) => {
      const ready = services.modelReady(model(context), version(context));
      return context.json({ name: model(context), ready }, ready ? 200 : 503);
    });
    v2.post(`${base}/infer`, async (context) => {
      if (context.req.header("inference-header-content-length") !== undefined) throw binaryTensors();
      return json(context, services.infer(model(context), version(context), await context.req.text()));
    });
  }
  return v2;
}

const model = (context: Context): string => context.req.param("model") ?? "";
const version = (context: Context): string | undefined => context.req.param("version");

function binaryTensors(): Error {
  return serverErrors.error("bad_body", "binary tensor data is not supported", {
    fix: "Send the tensors as JSON: leave out the Inference-Header-Content-Length header.",
  });
}

function api(services: Services, token: string): Hono {
  const v1 = new Hono({ strict: false });
  const none = takes();
  const body = (context: Context) => context.req.text();
  v1.post("/score/:model", none, async (context) => {
    const answer = await services.score(model(context), await body(context));
    if ("durable" in answer) context.header("mlpe-durable", "false"); // also for a client that reads the scores alone
    return exact(context, answer);
  });
  v1.get("/scores/:id", none, async (context) => exact(context, await services.findScore(context.req.param("id"))));
  v1.post("/labels/:model", none, async (context) =>
    exact(context, await services.label(model(context), await body(context))),
  );
  v1.post("/sources/:source/rows", ignoresForeign, async (context) => {
    const key = context.req.header(IDEMPOTENCY_KEY);
    return exact(context, await services.push(context.req.param("source"), await body(context), key));
  });
  v1.get("/models", none, async (context) => exact(context, await services.models()));
  v1.get("/models/:model/performance", none, async (context) =>
    exact(context, await services.performance(model(context))),
  );
  v1.get("/verdicts", none, (context) => exact(context, services.verdicts()));
  v1.get("/site", takes("challenge"), (context) => {
    const challenge = (context.req.query("challenge") ?? "").slice(0, CHALLENGE_MAX);
    return context.json({ site: services.site, proof: proofOf(token, challenge) });
  });
  const authorized = (context: Context) => checkToken(context, token);
  v1.post("/commits", none, async (context) => {
    authorized(context);
    return exact(context, await services.commit(await body(context)));
  });
  upkeep(v1, services, authorized);
  v1.post("/models/:model/promote", none, async (context) => {
    authorized(context);
    return exact(context, await services.promote(model(context), await body(context)));
  });
  v1.post("/models/:model/rollback", none, async (context) => {
    authorized(context);
    return exact(context, await services.rollback(model(context)));
  });
  v1.post("/models/:model/rollforward", none, async (context) => {
    authorized(context);
    return exact(context, await services.rollforward(model(context)));
  });
  v1.get("/streams", none, async (context) => exact(context, await services.streams()));
  const rows = async (context: Context, stream: string) => {
    const { after, limit, format } = context.req.query();
    const form = rowsFormat(format, context.req.header("accept"));
    const { type, body: made, next } = await services.rows(stream, { after, limit, format: form });
    const headers = { "content-type": type, vary: "Accept", ...(next === undefined ? {} : { "mlpe-next": next }) };
    if (made instanceof Uint8Array) return context.body(new Uint8Array(made), 200, headers);
    if (context.req.method === "HEAD") {
      await made.return(); // nobody would take it
      return context.body(null, 200, headers);
    }
    return context.body(streamed(made), 200, headers);
  };
  v1.get("/streams/:name/rows", takes(...ROWS), (context) => rows(context, context.req.param("name")));
  v1.get("/streams/:kind/:name/rows", takes(...ROWS), (context) =>
    rows(context, `${context.req.param("kind")}/${context.req.param("name")}`),
  );
  return v1;
}

/** What an operator does beside the server. It may take minutes. */
function upkeep(v1: Hono, services: Services, authorized: (context: Context) => void): void {
  const fail = failure(services);
  const acts = {
    "/erasures": services.erase,
    "/retention": services.retain,
    "/keys/rotate": services.rotateKeys,
    "/keys/rewrap": services.rewrapKeys,
  } as const;
  for (const [path, act] of Object.entries(acts)) {
    v1.post(path, takes(), async (context) => {
      authorized(context);
      const asked = await context.req.text();
      return patiently(context, () => act(asked), fail);
    });
  }
}

const MEDIA_TYPES: Readonly<Record<string, RowsFormat>> = {
  "application/vnd.apache.arrow.stream": "arrow",
  "text/csv": "csv",
  "application/x-ndjson": "json",
  "application/jsonl": "json",
  "application/json": "json",
  "*/*": "json",
};

/** What is asked for by name, else the best of the Accept header that there is (RFC 9110, 12.5.1); JSON lines by default. */
function rowsFormat(named: string | undefined, accept = "*/*"): RowsFormat {
  if (named !== undefined) {
    const format = Object.values(MEDIA_TYPES).find((known) => known === named);
    if (format !== undefined) return format;
    throw serverErrors.error("not_acceptable", `the format ${JSON.stringify(named.slice(0, 40))} is not offered`, {
      place: "format",
    });
  }
  const wanted = accept.split(",").flatMap((range) => {
    const [type = "", ...parameters] = range.split(";").map((text) => text.trim().toLowerCase());
    const format = MEDIA_TYPES[type === "application/*" ? "application/json" : type === "text/*" ? "text/csv" : type];
    const quality = Number(parameters.find((text) => text.startsWith("q="))?.slice(2) ?? 1);
    return format !== undefined && quality > 0 ? [{ format, quality }] : [];
  });
  const [best] = wanted.sort((a, b) => b.quality - a.quality);
  if (best !== undefined) return best.format;
  throw serverErrors.error("not_acceptable", `no rows can be had as ${accept.slice(0, 80)}`, { place: "Accept" });
}

/** Parts are made as the reader takes them; one that goes away ends the making. */
function streamed(parts: StreamedBody): ReadableStream<Uint8Array> {
  return new ReadableStream({
    async pull(controller) {
      const { value, done } = await parts.next();
      if (done) controller.close();
      else controller.enqueue(value);
    },
    async cancel() {
      await parts.return();
    },
  });
}

/** What the addresses of rows take. */
const ROWS = ["after", "limit", "format"] as const;

/** Refuses parameters that the address does not know: one that is misspelt would silently count for nothing. */
function takes(...known: readonly string[]): MiddlewareHandler {
  return async ({ req }, next) => {
    for (const [name, values] of Object.entries(req.queries())) {
      if (known.includes(name) && values.length === 1) continue;
      const shown = JSON.stringify(name.slice(0, 40));
      const message = known.includes(name)
        ? `${shown} is given ${values.length} times`
        : `there is no parameter ${shown}`;
      const near = nearest(name, known);
      const list = known.length === 0 ? `${req.path} takes none.` : `${req.path} takes ${known.join(", ")}, each once.`;
      const fix = near === undefined || near === name ? list : `Did you mean ${near}? ${list}`;
      throw serverErrors.error("bad_parameter", message, { place: name.slice(0, 40), fix });
    }
    await next();
  };
}

const IDEMPOTENCY_KEY = "idempotency-key";

/**
 * Who sends webhooks puts parameters of their own behind an address, which mean nothing here and are kept nowhere. What
 * means the header would silently count for nothing: that is refused.
 */
const ignoresForeign: MiddlewareHandler = async ({ req }, next) => {
  const meant = Object.keys(req.queries()).find((name) => nearest(name, [IDEMPOTENCY_KEY]) !== undefined);
  if (meant !== undefined) {
    const fix = `Send the key as the header Idempotency-Key. ${req.path} takes no parameters, and ignores those of others.`;
    const message = `${JSON.stringify(meant.slice(0, 40))} is no parameter but a header`;
    throw serverErrors.error("bad_parameter", message, { place: meant.slice(0, 40), fix });
  }
  await next();
};

/** Characters of a challenge that are answered. */
const CHALLENGE_MAX = 128;

function checkToken(context: Context, token: string): void {
  const given = /^Bearer +(\S+)$/i.exec(context.req.header("authorization") ?? "")?.[1];
  if (given !== undefined && sameSecret(given, token)) return;
  const message = given === undefined ? "the request has no token" : "the token is not the one of this server";
  throw serverErrors.error("token_needed", message, { place: "Authorization" });
}
