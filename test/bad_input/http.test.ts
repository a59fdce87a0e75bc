import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import type { Desk } from "../support/world.ts";
import { type HttpCase, inferCases } from "./http_cases.ts";
import { otherCases, scoreCases } from "./http_more_cases.ts";
import { expectNothingInside } from "./inside.ts";
import { createDelivered, createProject, edited, READINGS_CSV } from "./project.ts";
import { type Served, serveDesk } from "./server.ts";

/** One real server, with all its threads; every request is wrong in one way, and after all of them it still answers. */
let desk: Desk;
let served: Served;
beforeAll(async () => {
  desk = await createDelivered();
  served = await serveDesk(desk);
});
afterAll(async () => {
  await served.stop();
  desk.remove();
});

interface Told {
  readonly status: number;
  readonly text: string;
  readonly code: string;
  readonly fix: string;
}

async function ask({ ask, body, headers = {} }: Pick<HttpCase, "ask" | "body" | "headers">): Promise<Told> {
  const [method, path] = ask.split(" ") as [string, string];
  const sent = body === undefined || typeof body === "string" ? body : JSON.stringify(body);
  const response = await fetch(`${served.url}${path}`, {
    method,
    headers: { authorization: `Bearer ${served.token}`, ...headers },
    ...(sent === undefined ? {} : { body: sent }),
  });
  const text = await response.text();
  const { error } = JSON.parse(text) as { error?: string | { code: string; fix: string } };
  // Under /v2 an error is one text, as the protocol says: `code: place: message. fix`.
  if (typeof error === "string") {
    const [, code = "", fix = ""] = /^([\w.]+): .*\. (.+)$/.exec(error) ?? [];
    return { status: response.status, text: error, code, fix };
  }
  return { status: response.status, text, code: error?.code ?? "", fix: error?.fix ?? "" };
}

const cases = [inferCases, scoreCases, otherCases].flat();

describe("requests", () => {
  for (const one of cases) {
    test(one.name, async () => {
      const told = await ask(one);
      expect({ status: told.status, code: told.code }).toEqual({ status: one.status, code: one.code });
      expect(told.fix.length).toBeGreaterThan(8);
      // In JSON quotes are escaped: what is looked for is looked for as it is written there.
      for (const piece of one.says) expect(told.text.replaceAll('\\"', '"')).toContain(piece);
      expectNothingInside(told.text);
    });
  }
});

test("the table has enough cases, each of its own name", () => {
  expect(cases.length).toBeGreaterThanOrEqual(80);
  expect(new Set(cases.map(({ name }) => name)).size).toBe(cases.length);
});

test("a body without a length is bounded too", async () => {
  let left = 100;
  const stream = new ReadableStream<Uint8Array>({
    pull(controller) {
      if (left-- > 0) controller.enqueue(new Uint8Array(10_000).fill(0x20));
      else controller.close();
    },
  });
  const response = await fetch(`${served.url}/v1/score/load`, { method: "POST", body: stream });
  expect(response.status).toBe(413);
  expect(await response.json()).toMatchObject({ error: { code: "server.body_too_large" } });
});

test("one key with two bodies is a conflict, with the same body it is the same answer", async () => {
  const push = (rows: unknown) =>
    ask({ ask: "POST /v1/sources/events/rows", body: rows, headers: { "idempotency-key": "k1" } });
  const event = { id: "e1", at: "2024-01-01T10:00:00Z", size: 1 };
  expect(await push([event])).toMatchObject({ status: 200 });
  expect(await push([event])).toMatchObject({ status: 200 });
  const told = await push([{ ...event, size: 2 }]);
  expect(told).toMatchObject({ status: 409, code: "connectors.key_conflict" });
  expect(told.text).toContain("sources.events");
});

test("good rows of a push go on beside bad ones, which are counted", async () => {
  const rows = [
    { id: "g1", at: "2024-01-01T10:00:00Z", size: 1 },
    { id: "b1", at: "2024-01-01T10:00:00", size: 1 },
    { id: "b2", at: "2024-01-01T10:00:00Z", size: 2 ** 40 },
    { at: "2024-01-01T10:00:00Z", size: 1 },
    7,
    null,
  ];
  const told = await ask({ ask: "POST /v1/sources/events/rows", body: rows });
  expect(told.status).toBe(200);
  expect(JSON.parse(told.text)).toMatchObject({ counts: { events: { received: 6, curated: 1, quarantined: 5 } } });
});

test("one request id with two bodies is a conflict", async () => {
  const score = (sensor: string) => ask({ ask: "POST /v1/score/load", body: { id: "r1", entities: [{ sensor }] } });
  const first = await score("s2");
  expect(first.status).toBe(200);
  expect(JSON.parse((await score("s2")).text)).toMatchObject({ repeated: true });
  expect(await score("s1")).toMatchObject({ status: 409, code: "scoring.request_conflict" });
});

test("an unknown entity beside a known one is told in its place", async () => {
  const told = await ask({ ask: "POST /v1/score/load", body: { entities: [{ sensor: "s9" }, { sensor: "s2" }] } });
  expect(told.status).toBe(200);
  const { results } = JSON.parse(told.text) as { results: Record<string, unknown>[] };
  expect(results[0]).toMatchObject({ error: { code: "request.unknown_entity" } });
  expect(results[1]).toMatchObject({ keys: { sensor: "s2" } });
});

test("bad labels are told one by one, and the good ones taken", async () => {
  const labels = [
    { score_id: "00000000-0000-7000-8000-000000000000", label: true }, // of no score: it may come later
    { label: true },
    { score_id: "x", keys: {}, label: 1 },
    { score_id: "x", label: "yes" },
    { score_id: "x" },
    { score_id: "x", label: 1, time: "then" },
    { keys: { sensr: "s1" }, label: 1 },
    { keys: { sensor: "s1" }, label: 1 },
    { score_id: 7, label: 1 },
    { score_id: "x", label: 1, colour: "blue" },
    "label",
  ];
  const told = await ask({ ask: "POST /v1/labels/load", body: { labels } });
  expect(told.status).toBe(200);
  const { accepted, problems } = JSON.parse(told.text) as {
    accepted: number;
    problems: { code: string; place: string }[];
  };
  expect(accepted).toBe(1);
  expect(problems.map(({ place }) => place)).toEqual(labels.slice(1).map((_, i) => `labels[${i + 1}]`));
  expect(new Set(problems.map(({ code }) => code))).toEqual(new Set(["feedback.bad_label"]));
  const big = await ask({ ask: "POST /v1/labels/load", body: '[{"score_id": "x", "label": 12345678901234567890}]' });
  expect(JSON.parse(big.text)).toMatchObject({ accepted: 0, problems: [{ code: "feedback.bad_label" }] });
});

test("the server still answers, and told nothing of the inside in its log", async () => {
  const told = await ask({ ask: "POST /v1/score/load", body: { entities: [{ sensor: "s2" }] } });
  expect(told.status).toBe(200);
  expectNothingInside(served.log());
});

test("a broken source stops no other, is counted, and is read once it is mended", async () => {
  const other = createProject();
  other.write("mlpe.yaml", edited("path: readings.csv", "path: late.csv"));
  const server = await serveDesk(other);
  try {
    const metrics = async () => (await fetch(`${server.url}/metrics`)).text();
    const metric = async (piece: string) => {
      for (let tries = 0; tries < 400; tries++) {
        if ((await metrics()).includes(piece)) return;
        await Bun.sleep(10); // a poll: the first retry is a second after the failure
      }
      throw new Error(`/metrics never showed ${piece}:\n${await metrics()}`);
    };
    await metric('mlpe_step_failures_total{step="ingest.readings"}');
    await metric('mlpe_ingested_rows_total{source="places",dataset="places",outcome="curated"} 2');
    other.write("late.csv", READINGS_CSV);
    await metric('mlpe_ingested_rows_total{source="readings",dataset="readings",outcome="curated"} 3');
    expect(server.log()).toContain('"code":"connectors.file_missing"');
    expectNothingInside(server.log());
  } finally {
    await server.stop();
    other.remove();
  }
}, 15_000);
