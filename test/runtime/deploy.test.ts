/** Deployments through a running server and beside none: what can't be loaded is never made live, and harms no other. */
import { afterEach, expect, test } from "bun:test";
import { existsSync, statSync, symlinkSync } from "node:fs";
import { newToken, proofOf } from "../../src/runtime/running.ts";
import { createDelivered, edited, must, writePackage } from "../bad_input/project.ts";
import { type Served, serveDesk } from "../bad_input/server.ts";
import type { Desk } from "../support/world.ts";

let desk: Desk | undefined;
let served: Served | undefined;
afterEach(async () => {
  await served?.stop();
  desk?.remove();
  served = undefined;
});

const get = async (path: string) => {
  const response = await fetch(`${served!.url}${path}`);
  return { status: response.status, body: await response.json() };
};
const score = async () => {
  const body = JSON.stringify({ entities: [{ sensor: "s1" }] });
  const response = await fetch(`${served!.url}/v1/score/load`, { method: "POST", body });
  return { status: response.status, body: await response.json() };
};

test("a live package of another view leaves the server up, a promotion cures it, and no rollback goes back to it", async () => {
  desk = await createDelivered();
  desk.write("mlpe.yaml", edited("window: 1h", "window: 2h"));
  served = await serveDesk(desk);
  const sick = await get("/readyz");
  const named = { model: "load", version: "1.0.0", code: "scoring.view_mismatch" };
  expect(sick).toMatchObject({ status: 503, body: { ready: false, unloaded: [named] } });
  expect(served.log()).toContain("mlpe rollback load");
  expect(await score()).toMatchObject({ status: 503, body: { error: { code: "runtime.not_loaded" } } });

  await writePackage(desk, "second", { version: "2.0.0" });
  await must(desk, "model", "sign", "second", "--key", "private.pem");
  await must(desk, "promote", "load", "second", "--accept-inconclusive");
  expect(await get("/readyz")).toEqual({ status: 200, body: { ready: true } });
  expect(await get("/v1/models/load/performance")).toMatchObject({ body: { overall: { n: 0 } } }); // 1.0.0 has scores
  expect(await score()).toMatchObject({ status: 200, body: { version: "2.0.0" } });

  const back = await desk.run("rollback", "load");
  expect(back.exit).not.toBe(0);
  expect(back.errors).toContain("runtime.not_loadable");
  expect(back.errors).toContain("Stay on 2.0.0");
  expect(await get("/v1/models")).toMatchObject({ body: [{ live: { version: "2.0.0" } }] });
  expect(await score()).toMatchObject({ status: 200, body: { version: "2.0.0" } });

  await served.stop();
  served = undefined;
  expect(existsSync(desk.path("data/server.url"))).toBe(false);
  expect((await desk.run("rollback", "load")).errors).toContain("runtime.not_loadable");
  expect((await desk.run("model", "list")).output).toContain("2.0.0");
  desk.write("mlpe.yaml", edited("window: 1h", "window: 1h")); // back to the view: the same rollback goes
  await must(desk, "rollback", "load");
}, 30_000);

test("the address of a server that is another site's now is not asked", async () => {
  desk = await createDelivered();
  served = await serveDesk(desk);
  expect(statSync(desk.path("data/server.url")).mode & 0o777).toBe(0o600);
  const challenge = "abc";
  const site = await get(`/v1/site?challenge=${challenge}`);
  expect(site.body).toEqual({ site: "test", proof: proofOf(served.token, challenge) });
  const other = await createDelivered();
  try {
    const stale = { url: served.url, token: newToken(other.world.random) };
    other.write("data/server.url", JSON.stringify(stale), 0o600);
    await writePackage(other, "second", { version: "2.0.0" });
    await must(other, "model", "sign", "second", "--key", "private.pem");
    await must(other, "promote", "load", "second", "--accept-inconclusive");
    expect((await other.run("model", "list")).output).toContain("2.0.0");
    expect(await get("/v1/models")).toMatchObject({ body: [{ live: { version: "1.0.0" } }] });
  } finally {
    other.remove();
  }
}, 30_000);

test("a package directory is looked at before it is read", async () => {
  desk = await createDelivered();
  symlinkSync("/etc/passwd", desk.path("package/card.md"));
  expect((await desk.run("model", "verify", "package")).errors).toContain("runtime.package_entry");
  await writePackage(desk, "crowded");
  for (let i = 0; i < 70; i++) desk.write(`crowded/more/${i}.txt`, "x");
  expect((await desk.run("model", "verify", "crowded")).errors).toContain("scoring.model_too_large");
  desk.write("deep/model.json/inside", "x");
  desk.write("none/a.txt", "x");
  expect((await desk.run("model", "verify", "none")).errors).toContain("runtime.no_package");
}, 30_000);
