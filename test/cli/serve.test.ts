/** A project whose key file is named only by `set`: both threads that open it must hear of it. */
import { expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { serve } from "../../src/cli/commands/run.ts";
import { createDesk } from "../support/world.ts";

test("no server says that it is ready before it hears a signal", async () => {
  const desk = createDesk();
  desk.write("mlpe.yaml", "site: s\nlisten: { port: 0 }\nkeys: { path: store.key }\n");
  const stopping = Promise.withResolvers<"SIGTERM">();
  const listening = Promise.withResolvers<string>();
  const state = { hears: false };
  const world = {
    ...desk.world,
    stopRequested() {
      state.hears = true;
      return stopping.promise;
    },
    warn(line: string) {
      const { msg, url } = JSON.parse(line) as { msg: string; url: string };
      if (msg === "listening") listening.resolve(url);
    },
  };
  const served = serve(world, { config: desk.path("mlpe.yaml") });
  served.catch(listening.reject);
  try {
    const url = await listening.promise;
    let heard: boolean;
    let ready: boolean;
    do {
      const { status } = await fetch(`${url}/readyz`);
      [ready, heard] = [status === 200, state.hears];
    } while (!ready);
    expect(heard).toBe(true);
  } finally {
    stopping.resolve("SIGTERM");
    await served.catch(() => {});
    desk.remove();
  }
}, 20_000);

test("a server is ready with a key that only `set` names", async () => {
  const desk = createDesk();
  desk.write(
    "mlpe.yaml",
    'site: s\nlisten: { port: 0 }\nkeys: { path: "${MLPE_NO_KEY_FILE:-/proc/no/such.key}" }\nsources:\n  p: { connector: http_push, dataset: d }\ndatasets:\n  d: { contract: d.avsc, static: true }\n',
  );
  const fields = [{ name: "id", type: "string" }];
  desk.write("d.avsc", JSON.stringify({ type: "record", name: "d", recordId: ["id"], fields }));
  const stopping = Promise.withResolvers<"SIGTERM">();
  const ready = Promise.withResolvers<void>();
  const lines: string[] = [];
  const world = {
    ...desk.world,
    stopRequested: () => stopping.promise,
    warn(line: string) {
      lines.push(line);
      if (line.includes('"msg":"ready"')) ready.resolve();
    },
  };
  const served = serve(world, { config: desk.path("mlpe.yaml"), set: [`keys.path=${desk.path("store.key")}`] });
  try {
    await Promise.race([ready.promise, served]);
    const { url } = JSON.parse(lines.find((line) => line.includes('"url"')) ?? "{}") as { url: string };
    expect((await fetch(`${url}/readyz`)).status).toBe(200);
    expect(existsSync(desk.path("store.key"))).toBe(true);
  } finally {
    stopping.resolve("SIGTERM");
    await served.catch(() => {});
    desk.remove();
  }
}, 20_000);
