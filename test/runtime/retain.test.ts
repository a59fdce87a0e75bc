/** `mlpe run` with `retention`: a turn of the server drops rows, says so, and everything that is left still verifies. */
import { expect, test } from "bun:test";
import { verifyAudit } from "../../src/audit/verify.ts";
import { serve } from "../../src/cli/commands/run.ts";
import { verifyLedger } from "../../src/ingestion/ledger.ts";
import { openEngine } from "../../src/runtime/engine.ts";
import { createDesk } from "../support/world.ts";

const CONFIG = `site: s
listen: { port: 0 }
keys: { path: store.key }
data: data
sources:
  f: { connector: file, path: rows.csv, dataset: d }
datasets:
  d: { contract: d.avsc }
views:
  v: { spine: d, features: { n: n } }
retention:
  every: 1s
  streams: { "landing/*": { bytes: 1KiB } }
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

test("the server drops what is due, tells of it, and ledger and audit verify", async () => {
  const desk = createDesk();
  desk.write("mlpe.yaml", CONFIG);
  desk.write("d.avsc", JSON.stringify(CONTRACT));
  const rows = Array.from({ length: 3_000 }, (_, i) => `r${i * 7919},${i / 7},2024-01-01T00:00:00Z`);
  desk.write("rows.csv", `id,n,at\n${rows.join("\n")}\n`);
  const location = { config: desk.path("mlpe.yaml") };
  try {
    const engine = await openEngine(desk.world, location, "write");
    // A reader of a view that is configured no longer: it stands still for ever.
    await engine.store.commit({ appends: [], readers: { "fuse/gone": 1, "deployments/gone": 1 } });
    await engine.close();
    await desk.run("ingest");
    const compacted = await openEngine(desk.world, location, "write");
    await compacted.store.compact();
    await compacted.close();

    const stopping = Promise.withResolvers<"SIGTERM">();
    const dropped = Promise.withResolvers<{ stream: string; rows: number }>();
    const listening = Promise.withResolvers<string>();
    const world = {
      ...desk.world,
      stopRequested: () => stopping.promise,
      warn(line: string) {
        const said = JSON.parse(line) as { msg: string; url: string; stream: string; rows: number };
        if (said.msg === "listening") listening.resolve(said.url);
        if (said.msg === "retention dropped rows") dropped.resolve(said);
      },
    };
    const served = serve(world, location);
    try {
      const told = await Promise.race([dropped.promise, served.then(() => undefined)]);
      expect(told).toMatchObject({ stream: "landing/f" });
      expect(told!.rows).toBeGreaterThan(0);
      const metrics = await (await fetch(`${await listening.promise}/metrics`)).text();
      expect(metrics).toContain(`mlpe_retention_dropped_rows_total ${told!.rows}`);
      expect(metrics).toContain("mlpe_retention_held_bytes 0");
    } finally {
      stopping.resolve("SIGTERM");
      await served.catch(() => {});
    }
    const { store, project, close } = await openEngine(desk.world, location, "read");
    expect(verifyAudit(store).problems).toEqual([]);
    expect(await verifyLedger(store, [...project.sources.values()])).toMatchObject({ ok: true, problems: [] });
    const landing = (await store.streams()).find(({ stream }) => stream === "landing/f")!;
    expect(landing.firstSequence).toBeGreaterThan(0);
    await close();
  } finally {
    desk.remove();
  }
}, 60_000);
