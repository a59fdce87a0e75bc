/** An erasure in a running server, asked for by the command: what answers, and what is stored, is as after a restart. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { sha256Hex } from "../../src/base/digest.ts";
import { type NewcomerServer, serveNewcomer } from "./newcomer_server.ts";

let desk: NewcomerServer;
beforeAll(async () => {
  desk = await serveNewcomer(["sources.pushed.connector=http_push", "sources.pushed.dataset=readings"]);
}, 60_000);
afterAll(() => desk.stop(), 30_000);

test("an entity is erased beside the server: out of rows, requests and what is sent again", async () => {
  const pump = "0016";
  const { url } = JSON.parse(readFileSync(join(desk.directory, "data.mlpe/server.url"), "utf8")) as { url: string };
  const score = async (id: string) => {
    const body = JSON.stringify({ id, entities: [{ Pump_No: pump }] });
    const response = await fetch(`${url}/v1/score/pump_failure`, { method: "POST", body });
    return [response.status, (await response.json()) as Record<string, unknown>] as const;
  };
  const rows = async (stream: string) => (await fetch(`${url}/v1/streams/${stream}/rows?limit=all`)).text();
  const mentions = async () => {
    const found: string[] = [];
    for (const stream of ["curated/readings", "features/pump_failure", "scores/pump_failure"]) {
      if ((await rows(stream)).includes(`"${pump}"`)) found.push(stream);
    }
    return found;
  };
  const values = { site: "Quarry", read_at: "2024-03-01T00:00:00Z", flow_l_s: 1, heat: 1, noise: 1, wear: 1 };
  const scoreRow = async () => {
    const body = JSON.stringify({ id: "a row", rows: [{ Pump_No: pump, ...values }] });
    const response = await fetch(`${url}/v1/score/pump_failure`, { method: "POST", body });
    return (await response.json()) as { repeated: boolean };
  };
  expect([(await scoreRow()).repeated, (await scoreRow()).repeated]).toEqual([false, true]);
  const [status] = await score("before");
  expect(status).toBe(200);
  // One request for two pumps, and one for the other alone.
  const two = [pump, "0018"].map((Pump_No) => ({ Pump_No }));
  const bodies = [
    { id: "both", entities: two },
    { id: "0018 alone", entities: [{ Pump_No: "0018" }] },
  ].map((one) => JSON.stringify(one));
  for (const body of bodies) {
    expect((await fetch(`${url}/v1/score/pump_failure`, { method: "POST", body })).status).toBe(200);
  }
  const digests = bodies.map((text) => sha256Hex(new TextEncoder().encode(text)));
  const digestsIn = async () => {
    const text = await rows("scores/pump_failure");
    return digests.map((digest) => text.includes(digest));
  };
  expect(await digestsIn()).toEqual([true, true]);
  expect(await mentions()).toEqual(["curated/readings", "features/pump_failure", "scores/pump_failure"]);
  // Requests and commits go on all the while.
  let stop = false;
  const scored: number[] = [];
  const asking = (async () => {
    for (let i = 0; !stop; i++) {
      const body = JSON.stringify({ id: `beside ${i}`, entities: [{ Pump_No: "0017" }] });
      scored.push((await fetch(`${url}/v1/score/pump_failure`, { method: "POST", body })).status);
    }
  })();
  // A pushed row of the pump: its digest would tell a right guess of it.
  const reading = { site: "Quarry", "read at": "2024-02-20T00:00:00Z", "flow (l/s)": 1, heat: 1, noise: 1, wear: 1 };
  const sending = (key: string, rows: object[]) => ({ key, text: JSON.stringify(rows) });
  const first = sending("key-1", [{ ...reading, "Pump No.": pump }]);
  const send = ({ key, text }: ReturnType<typeof sending>) =>
    fetch(`${url}/v1/sources/pushed/rows`, { method: "POST", body: text, headers: { "Idempotency-Key": key } }).then(
      (sent) => sent.json(),
    );
  expect(await send(first)).toMatchObject({ repeated: false, counts: { readings: { corrected: 1 } } });
  expect(await rows("landing/pushed")).toContain(sha256Hex(new TextEncoder().encode(first.text)));
  const receipt = await desk.mlpe.json<{ streams: object; commit_no: number; signature: string }>([
    "erase",
    "--entity",
    `Pump_No=${pump}`,
  ]);
  stop = true;
  await asking;
  expect([scored.length > 0, scored.filter((code) => code !== 200)]).toEqual([true, []]);
  expect(receipt.streams).toMatchObject({
    "curated/readings": { emptied: expect.any(Number), replaced: 0 },
    "landing/readings": { emptied: 0, replaced: 1 },
    "landing/pushed": { emptied: 0, replaced: 1 },
    "features/pump_failure": { emptied: expect.any(Number), replaced: 0 },
    "scores/pump_failure": { emptied: expect.any(Number), replaced: 1 },
  });
  expect(await mentions()).toEqual([]);
  expect(await digestsIn()).toEqual([false, true]); // of what is left of a request for it, too
  const [gone, answer] = await score("after");
  expect([gone, (answer.error as { code: string }).code]).toEqual([404, "request.unknown_entity"]);
  expect((await desk.mlpe.failure(["erase", "--entity", `Pump_No=${pump}`])).code).toBe("store.nothing_to_erase");
  // Sent again, with one that is not erased.
  const push = (rows: object[]) =>
    fetch(`${url}/v1/sources/pushed/rows`, { method: "POST", body: JSON.stringify(rows) }).then((sent) => sent.json());
  expect(await send(first)).toMatchObject({ repeated: true });
  const second = sending(`key ${pump}`.replace(" ", "-"), [{ ...reading, "Pump No.": pump, wear: 2 }]);
  expect(await send(second)).toMatchObject({ repeated: false, counts: { readings: { dropped: 1 } } });
  const pushed = await push([
    { ...reading, "Pump No.": pump },
    { ...reading, "Pump No.": "0018" },
  ]);
  expect(pushed).toMatchObject({ counts: { readings: { received: 2, corrected: 1, dropped: 1 } } });
  expect(await mentions()).toEqual([]);
  expect(await rows("landing/pushed")).not.toContain(pump);
  for (const { text } of [first, second]) {
    expect(await rows("landing/pushed")).not.toContain(sha256Hex(new TextEncoder().encode(text)));
  }
  expect((await desk.mlpe.failure(["erase", "--entity", "nothing=1"])).code).toBe("runtime.not_an_entity");
  expect(await desk.mlpe.json(["audit", "verify"])).toMatchObject({ verified: true, problems: [] });
  expect(await desk.mlpe.json(["ledger", "verify"])).toMatchObject({ ok: true });
  const bare = await fetch(`${url}/v1/erasures`, { method: "POST", body: "{}" });
  expect(bare.status).toBe(403);
  // The answer to that request is remembered no more, and what a request brings of the pump is stored no more.
  expect(await scoreRow()).toMatchObject({ error: { code: "request.erased_entity" } });
  const mixed = [pump, "0018"].map((Pump_No) => ({ Pump_No, ...values }));
  const answered = await fetch(`${url}/v1/score/pump_failure`, {
    method: "POST",
    body: JSON.stringify({ rows: mixed }),
  });
  expect(((await answered.json()) as { results: object[] }).results).toMatchObject([
    { error: { code: "request.erased_entity" } },
    { keys: { Pump_No: "0018" } },
  ]);
  const labels = [pump, "0018"].map((Pump_No) => ({ keys: { Pump_No }, label: true }));
  const labelled = await fetch(`${url}/v1/labels/pump_failure`, { method: "POST", body: JSON.stringify(labels) });
  expect(await labelled.json()).toMatchObject({ accepted: 1, problems: [{ place: "labels[0]" }] });
  expect(await rows("labels/pump_failure")).not.toContain(`"${pump}"`);
  expect(await mentions()).toEqual([]);
});
