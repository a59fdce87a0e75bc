import { expect, test } from "bun:test";
import { completeEvent, lineageAppend, startEvent } from "../../src/lineage/events.ts";
import { POST_READER, type PostState, type PostStep, stepPost } from "../../src/lineage/post.ts";
import { httpPost } from "../../src/lineage/post_http.ts";
import { MemoryStore } from "../support/memory_store.ts";

const SECOND = 1_000_000;

async function storeWith(runs: number) {
  const clock = { time: 0, now: () => clock.time };
  const store = new MemoryStore(clock);
  const ids: string[] = [];
  for (let i = 0; i < runs; i++) {
    const run = `00000000-0000-7000-8000-${String(i).padStart(12, "0")}`;
    const facts = {
      run,
      job: { namespace: "s", name: "j" },
      at: i,
      jobType: "INGEST",
      engine: { name: "mlpe", version: "0" },
    };
    await store.commit({ appends: [lineageAppend([startEvent(facts), completeEvent(facts)], i)] });
    ids.push(`${run} START`, `${run} COMPLETE`);
  }
  return { store, ids };
}

const idOf = (body: string) => {
  const event = JSON.parse(body);
  return `${event.run.runId} ${event.eventType}`;
};

test("after an hour without the server, everything arrives in order, once in effect, over real HTTP", async () => {
  const { store, ids } = await storeWith(40);
  const received: string[] = [];
  let down = true;
  let requests = 0;
  const server = Bun.serve({
    port: 0,
    hostname: "127.0.0.1",
    fetch: async (request) => {
      requests++;
      if (down || requests % 7 === 0) return new Response("away", { status: 503 });
      if (new URL(request.url).pathname !== "/api/v1/lineage") return new Response(null, { status: 404 });
      received.push(idOf(await request.text()));
      return new Response(null, { status: 201 });
    },
  });
  const post = httpPost({ url: `http://127.0.0.1:${server.port}/` });
  let state: PostState | undefined;
  let now = 0;
  let step: PostStep;
  for (; now < 3600 * SECOND; now += 10 * SECOND) {
    step = await stepPost({ store, post, now, state, maxEvents: 16 });
    state = step.state;
    expect(step.posted).toBe(0);
  }
  // Backed off: far fewer tries than steps.
  expect(requests).toBeLessThan(30);
  expect(await store.position(POST_READER)).toBe(0);
  down = false;
  for (let i = 0; i < 1000; i++) {
    now += 300 * SECOND;
    // Each third step forgets its state, as a restart does.
    step = await stepPost({ store, post, now, state: i % 3 === 2 ? undefined : state, maxEvents: 16 });
    state = step.state;
    if (step.atEnd) break;
  }
  await server.stop(true);
  expect([...new Set(received)]).toEqual(ids);
  expect(received.length).toBeLessThan(ids.length + 30);
});

test("an idle poster commits nothing", async () => {
  const { store } = await storeWith(2);
  const post = async () => ({ status: 200 });
  let state = (await stepPost({ store, post, now: 0 })).state;
  const head = (await store.head()).commitNo;
  for (let i = 0; i < 10; i++) state = (await stepPost({ store, post, now: i, state })).state;
  expect((await store.head()).commitNo).toBe(head);
});

test("an event that the server calls invalid is skipped and named; a refused token is retried", async () => {
  const { store, ids } = await storeWith(2);
  const received: string[] = [];
  const post = async (body: string) => {
    if (idOf(body) === ids[1]) return { status: 422 };
    received.push(idOf(body));
    return { status: 201 };
  };
  const step = await stepPost({ store, post, now: 0 });
  expect(received).toEqual([ids[0]!, ids[2]!, ids[3]!]);
  expect(step.rejected.map(({ event, status }) => [idOf(event), status])).toEqual([[ids[1]!, 422]]);
  const other = await storeWith(1);
  const refused = await stepPost({ store: other.store, post: async () => ({ status: 401 }), now: 5 });
  expect(refused.failure).toContain("401");
  expect(refused.state.notBefore).toBe(5 + SECOND);
  expect(await other.store.position(POST_READER)).toBe(0);
});

test("an address that is no URL is refused at once", () => {
  expect(() => httpPost({ url: "localhost:5000" })).toThrow("no http or https URL");
});
