/** `mlpe run` whose log thread dies: it says so and ends, rather than answering without being able to write. */
import { expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { dispatch } from "../../src/cli/dispatch.ts";
import { createDesk } from "../support/world.ts";

const real = new URL("../../src/store/log_worker.ts", import.meta.url).pathname;

test("a server whose log thread dies stops with an error", async () => {
  const desk = createDesk();
  desk.write(
    "mlpe.yaml",
    "site: s\nkeys: { path: store.key }\nsources:\n  p: { connector: http_push, dataset: d }\ndatasets:\n  d: { contract: d.avsc, static: true }\n",
  );
  const fields = [{ name: "id", type: "string" }];
  desk.write("d.avsc", JSON.stringify({ type: "record", name: "d", recordId: ["id"], fields }));
  desk.write(
    "worker.ts",
    `import ${JSON.stringify(real)};
    import { existsSync } from "node:fs";
    setInterval(() => { if (existsSync(${JSON.stringify(desk.path("die"))})) throw new Error("out of luck"); }, 10);`,
  );
  const lines: string[] = [];
  const ready = Promise.withResolvers<void>();
  const world = {
    ...desk.world,
    workers: { ...desk.world.workers, log: desk.path("worker.ts") },
    stopRequested: () => new Promise<never>(() => {}),
    warn(text: string) {
      lines.push(text);
      if (text.includes('"msg":"ready"')) ready.resolve();
    },
  };
  const exit = dispatch(world, ["run", "--config", desk.path("mlpe.yaml"), "--port", "0"]);
  try {
    await Promise.race([ready.promise, exit]);
    const { url } = JSON.parse(lines.find((line) => line.includes('"url"')) ?? "{}") as { url: string };
    expect((await fetch(`${url}/readyz`)).status).toBe(200);
    desk.write("die", "");
    expect(await exit).not.toBe(0);
    const fatal = lines.find((line) => line.includes('"level":60'));
    expect(fatal).toContain("the log thread ended");
    expect(lines.at(-1)).toContain("store.writer_ended");
    expect(await fetch(`${url}/readyz`).catch(() => "nobody answers")).toBe("nobody answers");
  } finally {
    if (!existsSync(desk.path("die"))) desk.write("die", "");
    await exit;
    desk.remove();
  }
}, 20_000);
