/** A tap that goes on for long: commits, compaction, the writer going away and coming back, and keys that change under it. */
import { expect, test } from "bun:test";
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
    print: (lines) => void printed.push(...lines.split("\n")),
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
