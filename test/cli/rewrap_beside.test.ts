/** Another key file for a running server's keys, asked for by the command; and a server that is killed meanwhile. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { systemRandom } from "../../src/base/random.ts";
import { proofOf } from "../../src/runtime/running.ts";
import { openedBy } from "../../src/store/rewrap.ts";
import { createSmallDesk, type Desk } from "../support/world.ts";
import { type NewcomerServer, serveNewcomer } from "./newcomer_server.ts";

let desk: NewcomerServer;
beforeAll(async () => {
  desk = await serveNewcomer();
}, 60_000);
afterAll(() => desk.stop(), 30_000);

test("another key takes over beside the server, which goes on scoring, and rotates with it", async () => {
  const { directory, mlpe } = desk;
  const at = (name: string) => join(directory, "keys", name);
  const set = (name: string) => ["--set", `keys.path=${at(name)}`];
  const { url, token } = JSON.parse(readFileSync(join(directory, "data.mlpe/server.url"), "utf8")) as {
    url: string;
    token: string;
  };
  type List = { store_keys: { key_id: number }[] };
  // What is refused changes nothing: a key of others, one that others may read, a place in the data, one that wraps already.
  writeFileSync(at("wrong.key"), systemRandom.bytes(32), { mode: 0o600 });
  expect((await mlpe.failure(["keys", "rewrap", "--to", at("b.key"), ...set("wrong.key")])).code).toBe(
    "keys.wrong_key",
  );
  writeFileSync(at("open.key"), systemRandom.bytes(32));
  chmodSync(at("open.key"), 0o644);
  mkdirSync(at("folder.key"));
  for (const [to, code] of [
    [at("open.key"), "keys.bad_key_file"],
    [at("folder.key"), "keys.bad_key_file"],
    [join(directory, "data.mlpe/key"), "keys.key_inside_data"],
    [at("store.key"), "keys.same_key"],
  ] as const) {
    expect((await mlpe.failure(["keys", "rewrap", "--to", to])).code).toBe(code);
  }
  expect([existsSync(at("b.key")), existsSync(join(directory, "data.mlpe/key"))]).toEqual([false, false]);
  expect((await mlpe.json<List>(["keys", "list"])).store_keys.map(({ key_id }) => key_id)).toEqual([1]);
  let stop = false;
  const scored: number[] = [];
  const asking = (async () => {
    for (let i = 0; !stop; i++) {
      const body = JSON.stringify({ id: `rewrap ${i}`, entities: [{ Pump_No: "0017" }] });
      scored.push((await fetch(`${url}/v1/score/pump_failure`, { method: "POST", body })).status);
    }
  })();
  expect(await mlpe.json(["keys", "rewrap", "--to", at("b.key")])).toMatchObject({ store_keys: [1], to: at("b.key") });
  // Only the new one opens the store; the server rotates with it, and wraps the key of that with a third.
  expect((await mlpe.failure(["keys", "list"])).code).toBe("keys.wrong_key");
  expect((await mlpe.failure(["keys", "rewrap", "--to", at("b.key")])).code).toBe("keys.same_key");
  expect(await mlpe.json(["keys", "rotate", ...set("b.key")])).toMatchObject({ key_id: 2, retired: [1] });
  const third = ["keys", "rewrap", "--to", at("c.key"), ...set("b.key")];
  expect(await mlpe.json(third)).toMatchObject({ store_keys: [2] });
  stop = true;
  await asking;
  expect([scored.length > 0, scored.filter((status) => status !== 200)]).toEqual([true, []]);
  expect((await mlpe.failure(["keys", "list", ...set("b.key")])).code).toBe("keys.wrong_key");
  expect((await mlpe.json<List>(["keys", "list", ...set("c.key")])).store_keys.map(({ key_id }) => key_id)).toEqual([
    2,
  ]);
  expect(await mlpe.json(["audit", "verify", ...set("c.key")])).toMatchObject({ verified: true, problems: [] });
  expect(await mlpe.json(["ledger", "verify", ...set("c.key")])).toMatchObject({ ok: true });
  const post = (body: string, headers = {}) => fetch(`${url}/v1/keys/rewrap`, { method: "POST", body, headers });
  expect((await post("{}")).status).toBe(403);
  const authorized = { authorization: `Bearer ${token}` };
  for (const body of ["{}", '{"path":"c.key"}', '{"path":"/x","provider":"file"}']) {
    expect((await post(body, authorized)).status).toBe(400);
  }
});

const MAIN = join(import.meta.dir, "../../src/main.ts");

/** A server in a process of its own; resolves once it is ready. */
async function spawned(desk: Desk, keyPath: string) {
  const config = ["--config", desk.path("mlpe.yaml"), "--port", "0", "--set", `keys.path=${keyPath}`];
  const child = Bun.spawn([process.execPath, MAIN, "run", ...config], {
    cwd: desk.home,
    env: { HOME: desk.home },
    stdin: "ignore",
    stdout: "ignore",
    stderr: "pipe",
  });
  let said = "";
  const ready = (async () => {
    for await (const part of child.stderr) {
      said += new TextDecoder().decode(part);
      if (said.includes('"msg":"ready"')) return;
    }
    throw new Error(`the server ended: ${said}`);
  })();
  return { child, ready, said: () => said };
}

test("a server that is killed while another key takes over leaves what exactly one of both opens, and the command says which", async () => {
  const desk = createSmallDesk();
  try {
    await desk.run("ingest");
    let key = desk.path("keys/store.key");
    for (const [turn, afterMs] of [0, 1, 4].entries()) {
      const to = desk.path(`keys/next-${turn}.key`);
      const server = await spawned(desk, key);
      try {
        await server.ready;
        const asked = desk.run("keys", "rewrap", "--to", to, "--set", `keys.path=${key}`);
        await Bun.sleep(afterMs);
        server.child.kill("SIGKILL");
        const { exit, errors } = await asked;
        const keys = [key, to].map((path) => ({ provider: "file", path }));
        const left = await openedBy(desk.path("data"), keys, systemRandom);
        expect(left).toHaveLength(1);
        const now = left[0]!.path;
        if (exit !== 0) expect(errors).toContain(now); // or the server was gone before it was asked
        key = now;
      } finally {
        server.child.kill("SIGKILL");
        await server.child.exited;
      }
    }
    const old = desk.path("keys/old.key");
    writeFileSync(old, readFileSync(key), { mode: 0o600 });
    expect(
      (await desk.run("keys", "rewrap", "--to", desk.path("keys/last.key"), "--set", `keys.path=${key}`)).exit,
    ).toBe(0);
    // The configuration from before has one clear error, the new one goes on.
    const refused = await spawned(desk, old);
    try {
      const failure = await refused.ready.catch((cause: Error) => cause.message);
      expect(failure).toContain("keys.wrong_key");
      expect(failure).toContain(old);
      expect(failure!.trim().split("\n").length).toBeLessThan(4);
      expect(await refused.child.exited).toBeGreaterThan(0);
    } finally {
      refused.child.kill("SIGKILL");
    }
    const served = await spawned(desk, desk.path("keys/last.key"));
    try {
      await served.ready;
    } finally {
      served.child.kill("SIGKILL");
      await served.child.exited;
    }
  } finally {
    desk.remove();
  }
}, 60_000);

test("where the server goes away while it is asked, the error says which key opens the store", async () => {
  const desk = createSmallDesk();
  await desk.run("ingest");
  const token = "1".repeat(64);
  const server = Bun.serve({
    port: 0,
    fetch(request) {
      const { pathname, searchParams } = new URL(request.url);
      if (pathname === "/v1/site") return Response.json({ proof: proofOf(token, searchParams.get("challenge")!) });
      void server.stop(true);
      return new Promise<Response>(() => {});
    },
  });
  try {
    desk.write("data/server.url", JSON.stringify({ url: `http://127.0.0.1:${server.port}`, token }));
    const { exit, errors } = await desk.run("keys", "rewrap", "--to", desk.path("keys/next.key"));
    expect([exit !== 0, errors]).toEqual([true, expect.stringContaining("runtime.server_gone")]);
    expect(errors).toContain(`opens with the key in ${desk.path("keys/store.key")}`);
  } finally {
    await server.stop(true);
    desk.remove();
  }
});
