/** A tap that goes on for long: commits, compaction, the writer going away and coming back, and keys that change under it. */
import { expect, test } from "bun:test";
import { join } from "node:path";
import { othersTurn } from "../../src/base/turn.ts";
import type { World } from "../../src/base/world.ts";
import { dispatch } from "../../src/cli/dispatch.ts";
import { batchOf } from "../../src/contract/batch.ts";
import { type Engine, openEngine } from "../../src/runtime/engine.ts";
import { timedContract } from "../support/rows.ts";
import { createDesk } from "../support/world.ts";

test("every row comes once and in order, whatever the writer does meanwhile", async () => {
  const desk = createDesk();
  desk.write("mlpe.yaml", "site: here\nkeys: { path: key }\ndata: data\n");
  const open = () => openEngine(desk.world, { config: desk.path("mlpe.yaml") }, "write");
  const printed: string[] = [];
  const stopping = Promise.withResolvers<"SIGINT">();
  const world: World = {
    ...desk.world,
    printed: async (lines) => void printed.push(...lines.split("\n")),
    stopRequested: () => stopping.promise,
  };
  const wanted: string[] = [];
  const put = async ({ store }: Engine, rows: number) => {
    const ids = Array.from({ length: rows }, (_, i) => `r${wanted.length + i}`);
    const batch = batchOf(
      timedContract,
      ids.map((id, at) => ({ id, at, place: "JFK" })),
    );
    await store.commit({ appends: [{ stream: "curated/live", batch }] });
    wanted.push(...ids);
  };
  let engine = await open();
  await put(engine, 3);
  const running = dispatch(world, ["tap", "live", "--follow", "--config", desk.path("mlpe.yaml")]);
  let ended = false;
  void running.then(() => {
    ended = true;
  });
  const caughtUp = async () => {
    while (printed.length < wanted.length && !ended) await othersTurn();
    expect(printed.map((line) => (JSON.parse(line) as { id: string }).id)).toEqual(wanted);
  };
  await caughtUp();
  for (let turn = 0; turn < 4; turn++) {
    for (let c = 0; c < 5; c++) await put(engine, 1 + ((turn + c) % 3));
    if (turn % 2 === 0) await engine.store.compact();
    await put(engine, 2);
    if (turn < 2) await caughtUp();
    await engine.close();
    if (turn === 2) expect((await desk.run("keys", "rotate")).errors).toBe("");
    engine = await open();
    await put(engine, 1);
    await engine.store.compact();
    await put(engine, 700);
    if (turn !== 2) await caughtUp();
  }
  await caughtUp();
  await engine.close();
  stopping.resolve("SIGINT");
  expect(await running).toBe(0);
  desk.remove();
}, 60_000);

test("a tap whose reader takes nothing waits with what it has read, and goes on when it does", async () => {
  const desk = createDesk();
  desk.write("mlpe.yaml", "site: here\nkeys: { path: key }\ndata: data\n");
  const engine = await openEngine(desk.world, { config: desk.path("mlpe.yaml") }, "write");
  const note = "a long note ".repeat(100);
  for (let c = 0; c < 20; c++) {
    const rows = Array.from({ length: 1_000 }, (_, at) => ({ id: `r${c * 1_000 + at}`, at, place: "JFK", note }));
    await engine.store.commit({ appends: [{ stream: "curated/long", batch: batchOf(timedContract, rows) }] });
  }
  await engine.close();
  // The real world, and a count of what it was given to print.
  const source = (path: string) => JSON.stringify(join(import.meta.dir, "../../src", path));
  const script = `
    const { dispatch } = await import(${source("cli/dispatch.ts")});
    const { systemWorld } = await import(${source("system.ts")});
    let lines = 0;
    const printed = (text) => { lines += text.split("\\n").length; return systemWorld.printed(text); };
    setTimeout(() => process.stderr.write(lines + "\\n"), 2_000);
    const code = await dispatch({ ...systemWorld, printed }, ["tap", "long", "--config", ${JSON.stringify(desk.path("mlpe.yaml"))}]);
    process.stderr.write(lines + "\\n");
    process.exitCode = code;`;
  const child = Bun.spawn([process.execPath, "-e", script], { stdout: "pipe", stderr: "pipe", lazy: true });
  try {
    const told = child.stderr.getReader();
    const count = async () => Number(new TextDecoder().decode((await told.read()).value));
    const waiting = await count(); // by then, one that does not wait has printed all
    expect(waiting).toBeLessThan(2_000);
    const lines = (await child.stdout.text()).trimEnd().split("\n");
    expect(lines.map((line) => (JSON.parse(line) as { id: string }).id)).toEqual(lines.map((_, i) => `r${i}`));
    expect([lines.length, await count(), await child.exited]).toEqual([20_000, 20_000, 0]);
  } finally {
    child.kill("SIGKILL");
    desk.remove();
  }
}, 60_000);
