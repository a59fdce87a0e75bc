/** New keys in a running server, asked for by the command, while requests are scored and another process reads. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { systemRandom } from "../../src/base/random.ts";
import { type NewcomerServer, serveNewcomer } from "./newcomer_server.ts";

let desk: NewcomerServer;
beforeAll(async () => {
  desk = await serveNewcomer();
}, 60_000);
afterAll(() => desk.stop(), 30_000);

test("keys are rotated beside the server, which goes on scoring; a wrong key says so and changes nothing", async () => {
  const { directory, mlpe } = desk;
  const { url } = JSON.parse(readFileSync(join(directory, "data.mlpe/server.url"), "utf8")) as { url: string };
  const wrong = join(directory, "keys/wrong.key");
  writeFileSync(wrong, systemRandom.bytes(32), { mode: 0o600 });
  expect((await mlpe.failure(["keys", "rotate", "--set", `keys.path=${wrong}`])).code).toBe("keys.wrong_key");
  type List = { store_keys: { key_id: number }[]; stream_keys: { stream: string }[]; retired: { segments: number } };
  const list = () => mlpe.json<List>(["keys", "list"]);
  expect((await list()).store_keys.map(({ key_id }) => key_id)).toEqual([1]);
  let stop = false;
  const scored: number[] = [];
  const asking = (async () => {
    for (let i = 0; !stop; i++) {
      const body = JSON.stringify({ id: `rotate ${i}`, entities: [{ Pump_No: "0017" }] });
      scored.push((await fetch(`${url}/v1/score/pump_failure`, { method: "POST", body })).status);
      expect((await fetch(`${url}/metrics`)).status).toBe(200);
    }
  })();
  const rotated = await mlpe.json(["keys", "rotate"]);
  expect(rotated).toMatchObject({ key_id: 2, retired: [1], resumed: false });
  expect(await mlpe.json(["keys", "rotate"])).toMatchObject({ key_id: 3, retired: [2] });
  stop = true;
  await asking;
  expect([scored.length > 0, scored.filter((status) => status !== 200)]).toEqual([true, []]);
  const { store_keys, stream_keys, retired } = await list();
  expect([store_keys.map(({ key_id }) => key_id), retired.segments]).toEqual([[3], 0]);
  expect(stream_keys.map(({ stream }) => stream)).toContain("scores/pump_failure");
  expect(await mlpe.json(["audit", "verify"])).toMatchObject({ verified: true, problems: [] });
  expect(await mlpe.json(["ledger", "verify"])).toMatchObject({ ok: true });
  const bare = await fetch(`${url}/v1/keys/rotate`, { method: "POST", body: "{}" });
  expect(bare.status).toBe(403);
});
