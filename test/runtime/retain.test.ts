/** `mlpe run` with `retention`: a turn of the server drops rows, says so, and everything that is left still verifies. */
import { expect, test } from "bun:test";
import { verifyAudit } from "../../src/audit/verify.ts";
import { verifyLedger } from "../../src/ingestion/ledger.ts";
import { openEngine } from "../../src/runtime/engine.ts";
import { commandsIn } from "../cli/support.ts";
import { locationIn, ONE_OF_EACH, toldServer } from "../support/told_server.ts";
import { createDesk, type Desk } from "../support/world.ts";

const CONFIG = `${ONE_OF_EACH}retention:
  every: 1s
  streams: { "line*": { bytes: 1KiB } }
`;
const CONTRACT = {
  type: "record",
  name: "d",
  recordId: ["id"],
  entity: ["id"],
  eventTime: "at",
  fields: [
    { name: "id", type: "string" },
    { name: "n", type: "double" },
    { name: "at", type: { type: "long", logicalType: "timestamp-micros" } },
  ],
};

/** A project whose rows are stored and compacted, `lineage` in two segments; nothing is dropped yet. */
async function filledDesk(every: string): Promise<Desk> {
  const desk = createDesk();
  const config = CONFIG.replace("every: 1s", `every: ${every}`);
  desk.write("mlpe.yaml", config.replace(/views:\n.*\n/, ""));
  desk.write("d.avsc", JSON.stringify(CONTRACT));
  const rows = Array.from({ length: 3_000 }, (_, i) => `r${i * 7919},${i / 7},2024-01-01T00:00:00Z`);
  desk.write("rows.csv", `id,n,at\n${rows.join("\n")}\n`);
  const location = locationIn(desk);
  const engine = await openEngine(desk.world, location, "write");
  // A reader of a view that is configured no longer: it stands still for ever.
  await engine.store.commit({ appends: [], readers: { "fuse/gone": 1, "deployments/gone": 1 } });
  await engine.close();
  for (const part of [undefined, config]) {
    if (part) desk.write("mlpe.yaml", part);
    await desk.run("ingest");
    const { store, close } = await openEngine(desk.world, location, "write");
    await store.compact();
    await close();
  }
  return desk;
}

interface Told {
  readonly msg: string;
  readonly url: string;
  readonly stream: string;
  readonly rows: number;
}

/** A server over the project, which is stopped after `work`; `said` resolves with the first log line of that message. */
async function served(desk: Desk, work: (said: (msg: string) => Promise<Told>) => Promise<void>): Promise<void> {
  const { said, stop } = toldServer<Told>(desk);
  try {
    await work(said);
  } finally {
    await stop().catch(() => {});
  }
}

async function expectRetained(desk: Desk): Promise<void> {
  const { store, project, close } = await openEngine(desk.world, locationIn(desk), "read");
  expect(verifyAudit(store).problems).toEqual([]);
  expect(await verifyLedger(store, [...project.sources.values()])).toMatchObject({ ok: true, problems: [] });
  const lineage = (await store.streams()).find(({ stream }) => stream === "lineage")!;
  expect(lineage.firstSequence).toBeGreaterThan(0);
  await close();
}

test("the server drops what is due, tells of it, and ledger and audit verify", async () => {
  const desk = await filledDesk("1s");
  try {
    await served(desk, async (said) => {
      const told = await said("retention dropped rows");
      expect(told).toMatchObject({ stream: "lineage" });
      expect(told.rows).toBeGreaterThan(0);
      const metrics = await (await fetch(`${(await said("listening")).url}/metrics`)).text();
      expect(metrics).toContain(`mlpe_retention_dropped_rows_total ${told.rows}`);
      expect(metrics).toContain("mlpe_retention_held_bytes 0");
    });
    await expectRetained(desk);
  } finally {
    desk.remove();
  }
}, 60_000);

test("asked by the command the server drops what is due, by the rules that it was started with", async () => {
  const desk = await filledDesk("1000h");
  try {
    await served(desk, async (said) => {
      const { url } = await said("listening");
      await said("ready");
      const bare = await fetch(`${url}/v1/retention`, { method: "POST", body: "{}" });
      expect(bare.status).toBe(403);
      const config = await Bun.file(desk.path("mlpe.yaml")).text();
      desk.write("other.yaml", config.replace("1KiB", "2KiB"));
      const other = await desk.run("retain", "--config", desk.path("other.yaml"));
      expect([other.exit !== 0, other.errors]).toEqual([true, expect.stringContaining("runtime.other_retention")]);
      type Answer = { commit_no: number; dropped: { stream: string; rows: number }[] };
      const { commit_no, dropped } = JSON.parse((await desk.run("retain", "--json")).output) as Answer;
      expect([commit_no > 1, dropped.map(({ stream }) => stream)]).toEqual([true, ["lineage"]]);
      const metrics = await (await fetch(`${url}/metrics`)).text();
      expect(metrics).toContain(`mlpe_retention_dropped_rows_total ${dropped[0]!.rows}`);
      const again = JSON.parse((await desk.run("retain", "--json")).output) as Answer;
      expect(again).toMatchObject({ commit_no: null, dropped: [] });
      const { token } = (await Bun.file(desk.path("data/server.url")).json()) as { token: string };
      const headers = { authorization: `Bearer ${token}` };
      const strange = await fetch(`${url}/v1/retention`, { method: "POST", headers, body: '{"days":1}' });
      expect([strange.status, await strange.json()]).toMatchObject([400, { error: { code: "request.bad_request" } }]);
    });
    await expectRetained(desk);
  } finally {
    desk.remove();
  }
}, 60_000);

test("feature rows of dropped rows can't be made again: `views verify` says why they differ", async () => {
  const desk = await filledDesk("1000h");
  try {
    const { store, world, close } = await openEngine(desk.world, locationIn(desk), "write");
    const verify = () => commandsIn(desk.home).run(["views", "verify", "v", "--rows", "3"]);
    expect(await verify()).toMatchObject({ code: 0, output: expect.stringContaining("equal to the bit") });
    const later = world.clock.now() + 1;
    while (world.clock.now() <= later);
    expect((await store.retain({ rules: [{ streams: "curated/*", age: 1 }], readers: {} })).dropped).toHaveLength(1);
    await close();
    const output = expect.stringContaining("Retention dropped rows of curated/d:");
    expect(await verify()).toMatchObject({ code: 1, output });
  } finally {
    desk.remove();
  }
}, 60_000);
