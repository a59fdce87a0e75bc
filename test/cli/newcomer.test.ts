/**
 * A newcomer brings two CSV files and an ONNX model: every command of the ten-minute path, in its order, on one directory.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { copyFileSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { sha256Hex } from "../../src/base/digest.ts";
import { readPackage } from "../../src/scoring/package.ts";
import { makeNewcomerHome, type NewcomerHome } from "../e2e/newcomer.ts";
import { fixture } from "../scoring/support.ts";
import { commandsIn } from "./support.ts";

let home: NewcomerHome;
let mlpe: ReturnType<typeof commandsIn>;
let refused: unknown;
let promoted: unknown;
let scores: number;

const FEATURES = ["--features", "flow,heat,noise,wear"];
const init = (out: string, ...more: string[]) => [
  "model",
  "init",
  "--onnx",
  "model.onnx",
  "--view",
  "pump_failure",
  "--out",
  out,
  ...more,
];
const path = (name: string) => join(home.directory, name);

function packageIn(name: string) {
  const names = readdirSync(path(name)).sort();
  return readPackage(new Map(names.map((file) => [file, new Uint8Array(readFileSync(path(`${name}/${file}`)))])));
}

beforeAll(async () => {
  home = makeNewcomerHome(fixture("trees.onnx"));
  mlpe = commandsIn(home.directory);
  await mlpe.json(["contract", "infer", "readings.csv", "--out", "readings.avsc", "--rows", String(home.readings)]);
  await mlpe.json(["contract", "infer", "failures.csv", "--out", "failures.avsc"]);
  await mlpe.json(["model", "keygen", "--private", "signing.key", "--public", "trust.pem"]);
  await mlpe.json(["ingest"]);
  await mlpe.json(["views", "export", "pump_failure", "--to", "2024-01-25", "--out", "training.parquet"]);
  await mlpe.json(init("package", "--training", "training.parquet", "--min-labelled", "20", ...FEATURES));
  await mlpe.json(["model", "sign", "package", "--key", "signing.key"]);
  await mlpe.json(init("unsigned", "--version", "0.9.0", ...FEATURES));
  refused = await mlpe.json(["promote", "pump_failure", "unsigned"], 1);
  promoted = await mlpe.json(["promote", "pump_failure", "package"]);
  ({ scores } = await mlpe.json<{ scores: number }>(["score", "pump_failure", "--from", "2024-01-25T00:00:01Z"]));
  await mlpe.json(["ingest"]); // joins the labels with the scores
}, 60_000);

afterAll(() => rmSync(home.directory, { recursive: true, force: true }));

test("the contracts say what a pump and a reading are, quotes and all", () => {
  const schema = JSON.parse(readFileSync(path("readings.avsc"), "utf8"));
  expect(schema).toMatchObject({ name: "readings", entity: ["Pump_No"], eventTime: "read_at", recordId: ["Pump_No"] });
  const types = Object.fromEntries(
    schema.fields.map(({ name, type }: { name: string; type: unknown }) => [name, type]),
  );
  expect(types).toMatchObject({
    Pump_No: "string",
    site: ["null", "string"],
    flow_l_s: ["null", "double"],
    noise: ["null", "double"],
  });
});

test("what can't be read is quarantined, and the ledger balances", async () => {
  const listed = await mlpe.json<{ counts: { dataset: string; rows: number }[]; examples: object[] }>([
    ...["quarantine", "list", "--dataset", "readings", "--examples", "1"],
  ]);
  const [[stored]] = (await mlpe.json<{ rows: number[][] }>(["query", "select count(*) from quarantine_readings"]))
    .rows as [[number]];
  expect(listed.counts.reduce((sum, { rows }) => sum + rows, 0)).toBe(stored);
  expect(listed.examples).toHaveLength(1);
  expect(listed.examples[0]).toMatchObject({ dataset: "readings", source: "readings", message: expect.any(String) });
  expect((await mlpe.run(["quarantine", "list"])).output).toContain("readings");
  expect(await mlpe.failure(["quarantine", "list", "--dataset", "reading"])).toMatchObject({ place: "--dataset" });
  expect(await mlpe.json(["ledger", "verify"])).toMatchObject({ ok: true });
  const { rows } = await mlpe.json<{ rows: unknown[][] }>([
    "query",
    "select field, rule, message from quarantine_readings",
  ]);
  expect(rows).toEqual([["read_at", "timestamp", expect.any(String)]]);
  const sites = await mlpe.json<{ rows: unknown[][] }>([
    "query",
    "select site, count(*) from readings group by site order by site",
  ]);
  expect(sites.rows).toEqual([
    ["Harbour, north", 54],
    ["Quarry", 53],
    ['The "old" mill', 53],
  ]);
});

test("the package has golden rows, a frozen profile and the facts of its training", async () => {
  const { manifest, golden, reference, graph } = packageIn("package");
  const training = JSON.parse(readFileSync(path("training.parquet.json"), "utf8"));
  expect(manifest).toMatchObject({
    name: "pump_failure",
    version: "1.0.0",
    view: { name: "pump_failure", digest: training.digest },
    score: { name: "p_failed", output: "probabilities", column: 1, type: "probability" },
    training: {
      set: `sha256:${training.sha256}`,
      log_position: training.cutoff.commit_no,
      rows: training.rows,
      from: "2024-01-01T06:00:00Z",
    },
    gate: { metric: "auc", min_labelled: 20 },
  });
  expect(training.sha256).toBe(sha256Hex(readFileSync(path("training.parquet"))));
  expect(graph.inputs).toHaveLength(1);
  expect(golden).toHaveLength(64);
  expect(golden.some(({ features }) => features.noise === null)).toBe(true);
  expect(Object.keys(reference!.features)).toEqual(["flow", "heat", "noise", "wear"]);
  expect(reference!.features.noise).toMatchObject({
    kind: "numeric",
    rows: training.rows,
    nulls: Math.ceil(training.rows / 10),
  });
  expect(reference!.score).toMatchObject({ rows: training.rows, nulls: 0 });
  expect(reference!.score.counts).not.toEqual([training.rows]);
});

test("an unsigned package is refused, the signed one goes live and scores", async () => {
  expect(packageIn("unsigned").reference).toBeNull();
  expect(refused).toMatchObject({ promoted: false, refused: { code: "delivery.unsigned" } });
  expect(promoted).toMatchObject({ promoted: true, version: "1.0.0" });
  const later = "select count(*) from readings where read_at > '2024-01-25T00:00:00Z'";
  expect((await mlpe.json(["query", later])).rows).toEqual([[scores]]);
  const { overall } = await mlpe.json<{ overall: { n: number; labelled: number; auc: number; accuracy: number } }>([
    "performance",
    "pump_failure",
  ]);
  expect(overall.n).toBe(scores);
  expect(overall.labelled).toBeLessThan(scores);
  expect(overall.labelled).toBeGreaterThan(scores / 2);
  expect(overall.auc).toBeNumber();
  expect(overall.accuracy).toBeWithin(0, 1.001); // by the threshold of the live package
});

test("a score is made again from what is stored, and its view from nothing but what was there", async () => {
  const { rows } = await mlpe.json<{ rows: string[][] }>(["query", "select score_id from scores_pump_failure limit 3"]);
  expect(rows).toHaveLength(3);
  expect(await mlpe.json(["replay", ...rows.flat()])).toMatchObject({ equal: true });
  const verified = await mlpe.json(["views", "verify", "pump_failure", "--rows", "200", "--seed", "3"]);
  expect(verified).toMatchObject({ equal: true, sampled: home.readings, compared: home.readings * 5 * 2 });
  expect(await mlpe.json(["audit", "verify"])).toMatchObject({ verified: true, problems: [] });
  const { events } = await mlpe.json<{ events: { job: { name: string }; eventType: string }[] }>([
    "lineage",
    "--limit",
    "500",
  ]);
  const jobs = new Set(events.map(({ job }) => job.name));
  expect([...jobs].sort()).toEqual([
    "export.pump_failure",
    "fuse.pump_failure",
    "ingest.failures",
    "ingest.readings",
    "score.pump_failure",
  ]);
});

test("an explanation shows instants as such", async () => {
  const [pump] = (await mlpe.json<{ rows: string[][] }>(["query", 'select "Pump_No" from readings limit 1'])).rows[0]!;
  const words = ["views", "explain", "pump_failure", "--entity", `Pump_No=${pump}`];
  const { spine, label } = await mlpe.json<{ spine: Record<string, unknown>; label: unknown }>(words);
  const instant = /^2024-\d\d-\d\dT[\d:.]+Z$/;
  expect(spine.eventTime).toMatch(instant);
  expect((spine.row as Record<string, unknown>).read_at).toBe(spine.eventTime);
  expect(JSON.stringify(label)).not.toMatch(/\d{16}/);
  const { output } = await mlpe.run(words);
  expect(output).toContain(`read_at=${spine.eventTime}`);
  expect(output).not.toMatch(/\d{16}/);
});

test("what doesn't fit is said before a package is made", async () => {
  const width = await mlpe.failure(init("bad"));
  expect(width.code).toBe("scoring.graph_mismatch");
  expect(width.message).toContain(
    "takes 4 columns and the view has 5 number features: flow, heat, noise, wear, lately",
  );
  expect((await mlpe.failure(init("bad", "--features", "flow,heat,noise,colour"))).message).toContain("colour");
  expect((await mlpe.failure(init("package", ...FEATURES))).code).toBe("cli.output_exists");
  expect((await mlpe.failure(init("bad", "--training", "none.parquet", ...FEATURES))).code).toBe("cli.no_such_file");
  const manifest = JSON.parse(readFileSync(path("training.parquet.json"), "utf8"));
  const other = async (change: object) => {
    copyFileSync(path("training.parquet"), path("other.parquet"));
    writeFileSync(path("other.parquet.json"), JSON.stringify({ ...manifest, ...change }));
    return (await mlpe.failure(init("bad", "--training", "other.parquet", ...FEATURES))).code;
  };
  expect(await other({ sha256: "0".repeat(64) })).toBe("runtime.bad_training_set");
  expect(await other({ manifest: "something" })).toBe("runtime.bad_training_set");
  expect(await other({ digest: `sha256:${"0".repeat(64)}` })).toBe("runtime.view_mismatch");
  expect(readdirSync(home.directory)).not.toContain("bad");
});

test("an export that can't be written leaves no record of itself", async () => {
  const lineage = async () => {
    const streams = await mlpe.json<{ stream: string; rows: number }[]>(["streams"]);
    return streams.find(({ stream }) => stream === "lineage")!.rows;
  };
  const before = await lineage();
  const refused = await mlpe.run(["views", "export", "pump_failure", "--out", "readings.csv/training.parquet"]);
  expect(refused.code).not.toBe(0);
  expect(await lineage()).toBe(before);
  expect((await mlpe.run(["views", "export", "pump_failure", "--out", "again.parquet"])).code).toBe(0);
  expect(await lineage()).toBeGreaterThan(before);
});
