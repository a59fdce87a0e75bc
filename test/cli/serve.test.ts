/** A project whose key file is named only by `set`: both threads that open it must hear of it. */
import { expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { serve } from "../../src/cli/commands/run.ts";
import { createDesk } from "../support/world.ts";

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
