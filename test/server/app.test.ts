/**
 * The HTTP faces over real services: a small project in this process, with a live model and its scores. Each line of the
 * table is one request and what it is answered; what a client must be able to rely on is written out.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import type { Hono } from "hono";
import { type Engine, openEngine } from "../../src/runtime/engine.ts";
import { runtimeErrors } from "../../src/runtime/errors.ts";
import type { Services } from "../../src/runtime/faces.ts";
import { servicesOf } from "../../src/runtime/services.ts";
import { createServing, type Serving } from "../../src/runtime/serving.ts";
import { createApp } from "../../src/server/app.ts";
import { listen } from "../../src/server/listen.ts";
import { createDelivered } from "../bad_input/project.ts";
import type { Desk } from "../support/world.ts";

const TOKEN = "0".repeat(64);
let desk: Desk;
let engine: Engine;
let serving: Serving;
let services: Services;
let app: Hono;

beforeAll(async () => {
  desk = await createDelivered();
  engine = await openEngine(desk.world, { config: desk.path("mlpe.yaml") }, "write");
  serving = createServing(engine, () => {});
  const push = async (source: string, body: string, key: string | undefined) => ({ source, body, key: key ?? null });
  services = servicesOf(serving, push);
  await serving.start();
  app = createApp(services, TOKEN);
}, 30_000);

afterAll(async () => {
  await serving.close();
  await engine.close();
  desk.remove();
});

interface Scenario {
  readonly ask: string;
  readonly body?: unknown;
  readonly headers?: Readonly<Record<string, string>>;
  readonly status: number;
  /** Part of the body; a text is a part of its text. */
  readonly answer?: object | string;
  readonly answerHeaders?: Readonly<Record<string, string>>;
}

const TENSOR = { name: "x", datatype: "FP32", shape: [2, 3], data: [1, 2, 3, 4, 5, 6] };
const SUM = { name: "sum", datatype: "FP32", shape: [2, 1], data: [321, 654] };
const METADATA = {
  name: "load",
  versions: ["1.0.0"],
  platform: expect.any(String),
  inputs: [{ name: "x", datatype: "FP32", shape: [-1, 3] }],
  outputs: [{ name: "sum", datatype: "FP32", shape: [-1, 1] }],
};
const ROW = { sensor: "s9", place: "north", at: "2024-01-01T10:45:00Z", temperature: 4.5 };
const code = (name: string, more: object = {}) => ({
  error: { code: name, message: expect.any(String), fix: expect.any(String), ...more },
});
const inText = (name: string) => ({
  error: expect.stringMatching(new RegExp(`^${name.replace(".", "\\.")}: .+\\. .+`)),
});

const scenarios: readonly Scenario[] = [
  { ask: "GET /healthz", status: 200, answer: { live: true } },
  { ask: "GET /healthz/", status: 200, answer: { live: true } },
  { ask: "HEAD /healthz", status: 200 },
  { ask: "GET /readyz", status: 200, answer: { ready: true } },
  {
    ask: "GET /metrics",
    status: 200,
    answer: "mlpe_ready 1\n",
    answerHeaders: { "content-type": "text/plain; version=0.0.4; charset=utf-8" },
  },
  { ask: "GET /metrics", status: 200, answer: 'mlpe_scores_total{model="load"} ' },

  {
    ask: "GET /v2",
    status: 200,
    answer: { name: "mlpe", version: expect.stringMatching(/^\d+\.\d+\.\d+/), extensions: [] },
  },
  { ask: "GET /v2/", status: 200, answer: { name: "mlpe" } },
  { ask: "GET /v2/health/live", status: 200, answer: { live: true } },
  { ask: "GET /v2/health/ready", status: 200, answer: { ready: true } },
  { ask: "GET /v2/models/load", status: 200, answer: METADATA },
  { ask: "GET /v2/models/load/", status: 200, answer: METADATA },
  { ask: "GET /v2/models/load/versions/1.0.0", status: 200, answer: METADATA },
  { ask: "GET /v2/models/load/versions/2.0.0", status: 404, answer: inText("scoring.unknown_version") },
  { ask: "GET /v2/models/none", status: 404, answer: inText("runtime.unknown_model") },
  { ask: "GET /v2/models/load/ready", status: 200, answer: { name: "load", ready: true } },
  { ask: "GET /v2/models/load/versions/1.0.0/ready/", status: 200, answer: { name: "load", ready: true } },
  { ask: "GET /v2/models/none/ready", status: 404, answer: inText("runtime.unknown_model") },
  {
    ask: "POST /v2/models/load/infer",
    body: { id: "a", inputs: [TENSOR] },
    status: 200,
    answer: { model_name: "load", model_version: "1.0.0", id: "a", outputs: [SUM] },
    answerHeaders: { "content-type": "application/json" },
  },
  { ask: "POST /v2/models/load/infer/", body: { inputs: [TENSOR] }, status: 200, answer: { outputs: [SUM] } },
  {
    ask: "POST /v2/models/load/versions/1.0.0/infer",
    body: { inputs: [TENSOR], outputs: [{ name: "sum" }] },
    status: 200,
    answer: { outputs: [SUM] },
  },
  {
    ask: "POST /v2/models/load/versions/9/infer",
    body: { inputs: [TENSOR] },
    status: 404,
    answer: inText("scoring.unknown_version"),
  },
  {
    ask: "POST /v2/models/load/infer",
    body: { inputs: [{ ...TENSOR, datatype: "INT8" }] },
    status: 400,
    answer: inText("scoring.request_invalid"),
  },
  { ask: "POST /v2/models/load/infer", body: "{", status: 400, answer: { error: expect.any(String) } },
  {
    ask: "POST /v2/models/load/infer",
    body: { inputs: [TENSOR] },
    headers: { "inference-header-content-length": "20" },
    status: 400,
    answer: inText("server.bad_body"),
  },
  {
    ask: "GET /v2/models/load/infer",
    status: 405,
    answer: inText("server.wrong_method"),
    answerHeaders: { allow: "POST" },
  },
  { ask: "POST /v2/models/load", status: 405, answer: inText("server.wrong_method"), answerHeaders: { allow: "GET" } },
  { ask: "GET /v2/repository", status: 404, answer: inText("server.not_found") },

  {
    ask: "POST /v1/score/load",
    body: { entities: [{ sensor: "s1" }] },
    status: 200,
    answer: {
      model: "load",
      version: "1.0.0",
      repeated: false,
      results: [{ score: null, blocked: true, flags: [expect.stringContaining("scoring.feature_missing")] }],
    },
  },
  {
    ask: "POST /v1/score/load",
    body: { rows: [ROW], at: "2024-01-01T10:45:00Z" },
    status: 200,
    answer: { results: [{ score: 4.5 + 10 * 10 + 100 * 2, hindsight: true, features: { a: 4.5, b: 10, c: 2 } }] },
  },
  { ask: "POST /v1/score/load/", body: { rows: [ROW] }, status: 200, answer: { results: [{ hindsight: false }] } },
  {
    ask: "POST /v1/score/load",
    body: { entities: [{ sensor: "nobody" }] },
    status: 404,
    answer: code("request.unknown_entity", { place: "entities[0]" }),
  },
  { ask: "POST /v1/score/none", body: { rows: [ROW] }, status: 404, answer: code("runtime.unknown_model") },
  { ask: "POST /v1/score/load", body: "{", status: 400, answer: code("request.not_json", { place: "body" }) },
  {
    ask: "POST /v1/score/load",
    body: { rows: [] },
    status: 400,
    answer: code("request.bad_request", { place: "rows" }),
  },
  { ask: "GET /v1/score/load", status: 405, answer: code("server.wrong_method"), answerHeaders: { allow: "POST" } },
  { ask: "PUT /v1/score/load/", status: 405, answer: code("server.wrong_method", { fix: "Use POST." }) },
  { ask: "GET /v1/scores/no-such-score", status: 404, answer: code("runtime.unknown_score", { place: "score id" }) },
  {
    ask: "DELETE /v1/scores/no-such-score",
    status: 405,
    answer: code("server.wrong_method"),
    answerHeaders: { allow: "GET" },
  },
  {
    ask: "POST /v1/labels/load",
    body: [{ keys: { sensor: "s1", at: "2024-01-01T10:00:00Z" }, label: 1.5 }],
    status: 200,
    answer: { accepted: 1, problems: [] },
  },
  {
    ask: "POST /v1/labels/load",
    body: { labels: [{ label: 1 }] },
    status: 200,
    answer: { accepted: 0, problems: [{ code: "feedback.bad_label", place: "labels[0]" }] },
  },
  { ask: "POST /v1/labels/load", body: "[{", status: 400, answer: code("request.not_json", { place: "body" }) },
  { ask: "POST /v1/labels/none", body: [], status: 404, answer: code("runtime.unknown_model") },
  {
    ask: "POST /v1/sources/events/rows",
    body: [{ id: "e1" }],
    headers: { "Idempotency-Key": "k" },
    status: 200,
    answer: { source: "events", body: '[{"id":"e1"}]', key: "k" },
  },
  { ask: "POST /v1/sources/events/rows/", body: [], status: 200, answer: { key: null } },
  { ask: "GET /v1/sources/events/rows", status: 405, answer: code("server.wrong_method") },
  {
    ask: "GET /v1/models",
    status: 200,
    answer: [{ name: "load", live: { version: "1.0.0" }, rollback: null, rollforward: null }],
  },
  {
    ask: "GET /v1/models/load/performance",
    status: 200,
    answer: { overall: { n: expect.any(Number), labelled: expect.any(Number) }, days: expect.any(Array) },
  },
  { ask: "GET /v1/models/none/performance", status: 404, answer: code("runtime.unknown_model") },
  {
    ask: "GET /v1/verdicts",
    status: 200,
    answer: expect.arrayContaining([expect.objectContaining({ kind: "promotion", subject: "load" })]),
  },
  {
    ask: "POST /v1/models/load/promote",
    body: { directory: "package" },
    status: 400,
    answer: code("request.bad_request", { place: "directory" }),
  },
  { ask: "POST /v1/models/load/rollback", status: 409, answer: code("delivery.nothing_to_roll_back") },
  { ask: "POST /v1/models/load/rollforward/", status: 409, answer: code("delivery.nothing_to_roll_forward") },
  ...["curated/readings", "ledger"].map((stream) => ({
    ask: `GET /v1/streams/${stream}/rows?afer=1`,
    status: 400,
    answer: code("server.bad_parameter", {
      place: "afer",
      message: 'there is no parameter "afer"',
      fix: `Did you mean after? /v1/streams/${stream}/rows takes after, limit, format, each once.`,
    }),
  })),
  {
    ask: "GET /v1/streams/ledger/rows?after=1&after=2",
    status: 400,
    answer: code("server.bad_parameter", { message: '"after" is given 2 times' }),
  },
  ...[
    "GET /v1/models/load/performance?since=2024-01-01",
    "GET /v1/verdicts?x",
    "GET /v1/scores/no-such-score?at=1",
    "POST /v1/score/load?at=2024-01-01",
    "POST /v1/models/load/rollback?to=1",
    "GET /v1/site?challange=1",
  ].map((ask) => ({ ask, status: 400, answer: code("server.bad_parameter", { place: expect.any(String) }) })),
  {
    ask: "POST /v1/sources/none/rows?utm_source=shop&api-version=2&token=t&token=u", // others' parameters are passed over
    body: [],
    status: 200,
    answer: { source: "none", body: "[]", key: null },
  },
  ...["idempotency_key", "IdempotencyKey", "idempotncy-key"].map((name) => ({
    ask: `POST /v1/sources/none/rows?v=1&${name}=7`,
    body: [],
    status: 400,
    answer: code("server.bad_parameter", { place: name, fix: expect.stringContaining("header Idempotency-Key") }),
  })),
  { ask: "GET /v1/nowhere?x=1", status: 404, answer: code("server.not_found") },
  { ask: "GET /v1", status: 404, answer: code("server.not_found") },
  { ask: "GET /v1/score/load/extra", status: 404, answer: code("server.not_found") },
  { ask: "GET /", status: 404, answer: code("server.not_found") },
];

async function send(
  to: Hono,
  { ask, body, headers = {} }: Pick<Scenario, "ask" | "body" | "headers">,
): Promise<Response> {
  const [method, path] = ask.split(" ") as [string, string];
  const sent = body === undefined ? {} : { body: typeof body === "string" ? body : JSON.stringify(body) };
  return to.fetch(
    new Request(`http://127.0.0.1${path}`, {
      method,
      headers: { authorization: `Bearer ${TOKEN}`, ...headers },
      ...sent,
    }),
  );
}

scenarios.forEach((scenario, index) => {
  const sent = scenario.body === undefined ? "" : ` ${JSON.stringify(scenario.body).slice(0, 60)}`;
  test(`${index + 1}: ${scenario.ask}${sent} -> ${scenario.status}`, async () => {
    const response = await send(app, scenario);
    const text = await response.text();
    expect({ status: response.status, text }).toMatchObject({ status: scenario.status });
    for (const [name, value] of Object.entries(scenario.answerHeaders ?? {}))
      expect(response.headers.get(name)).toBe(value);
    if (typeof scenario.answer === "string") expect(text).toContain(scenario.answer);
    else if (scenario.answer !== undefined) expect(JSON.parse(text)).toMatchObject(scenario.answer);
    if (response.status >= 400) expect(response.headers.get("content-type")).toContain("application/json");
  });
});

test("a score is found by its id as it was answered, and a repeated request gives it again", async () => {
  const ask = "POST /v1/score/load";
  const body = { id: "again", rows: [ROW] };
  const first = (await (await send(app, { ask, body })).json()) as { results: [{ score_id: string }] };
  const found = await send(app, { ask: `GET /v1/scores/${first.results[0].score_id}` });
  expect(await found.json()).toEqual(first.results[0]);
  const repeated = await (await send(app, { ask, body })).json();
  expect(repeated).toEqual({ ...first, repeated: true });
  const other = await send(app, { ask, body: { ...body, rows: [ROW, ROW] } });
  expect({ status: other.status, body: await other.json() }).toMatchObject({
    status: 409,
    body: code("scoring.request_conflict"),
  });
});

test("a failure says how long to wait, and a defect says nothing of the inside", async () => {
  const failing = (error: unknown): Hono =>
    createApp(
      {
        ...services,
        ready: () => false,
        models: () => Promise.reject(error),
        modelMetadata: () => {
          throw error;
        },
      },
      TOKEN,
    );
  const shed = failing(runtimeErrors.error("busy", "256 pushes wait"));
  const tired = await send(shed, { ask: "GET /v1/models" });
  expect(tired.status).toBe(429);
  expect(Number(tired.headers.get("retry-after"))).toBeGreaterThanOrEqual(1);
  expect(await tired.json()).toMatchObject(code("runtime.busy", { message: "256 pushes wait" }));
  expect((await send(shed, { ask: "GET /readyz" })).status).toBe(503);
  expect((await send(shed, { ask: "GET /v2/health/ready" })).status).toBe(503);
  const broken = failing(new TypeError("undefined is no password"));
  const told = await send(broken, { ask: "GET /v1/models" });
  expect(told.status).toBe(500);
  expect(await told.text()).not.toContain("password");
  const protocol = await send(broken, { ask: "GET /v2/models/load" });
  expect({ status: protocol.status, body: await protocol.json() }).toMatchObject({
    status: 500,
    body: inText("internal"),
  });
});

test("every failure is counted by its code", async () => {
  const counted = async () => {
    const line = (await (await send(app, { ask: "GET /metrics" })).text()).match(
      /mlpe_request_errors_total\{code="server\.not_found"\} (\d+)/,
    );
    return Number(line?.[1] ?? 0);
  };
  const before = await counted();
  await send(app, { ask: "GET /nowhere" });
  await send(app, { ask: "GET /v2/nowhere" });
  expect(await counted()).toBe(before + 2);
});

test("a port is not shared, and a server stops although a client keeps its connection", async () => {
  const options = { host: "127.0.0.1", port: 0, maxBody: 1 << 20, token: TOKEN };
  const server = listen(services, options);
  expect(() => listen(services, { ...options, port: server.port })).toThrow(`127.0.0.1:${server.port} `);
  const kept = await fetch(`${server.url}/healthz`, { keepalive: true });
  expect(await kept.json()).toEqual({ live: true });
  await server.stop();
  await expect(fetch(`${server.url}/healthz`)).rejects.toThrow();
});

test("a large request lets others have turns while it is fused and scored, and is one commit", async () => {
  let [turns, running] = [0, true];
  const count = () => {
    turns++;
    if (running) setImmediate(count);
  };
  const before = serving.position();
  const body = { at: "2024-01-01T12:00:00Z", rows: Array.from({ length: 1000 }, () => ROW) };
  const asked = send(app, { ask: "POST /v1/score/load", body });
  setImmediate(count);
  const { results } = (await (await asked).json()) as { results: { score: number; position: number }[] };
  running = false;
  expect(results.length).toBe(1000);
  expect(new Set(results.map(({ score }) => score)).size).toBe(1);
  expect(results.every(({ position }) => position >= before)).toBe(true);
  expect(turns).toBeGreaterThan(20); // 16 slices to fuse and 16 to score
});
