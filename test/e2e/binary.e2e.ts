/**
 * The executable as it is shipped, alone in an empty directory with an empty environment, against real things: a real
 * year of flights, real HTTP clients and receivers, real kills. The demo runs once; the other tests work on copies.
 */
import { afterAll, expect, test } from "bun:test";
import { existsSync, readFileSync, statSync } from "node:fs";
import { basename, join } from "node:path";
import { canMountSmallDisk, onSmallDisk } from "../support/small_disk.ts";
import { killTest } from "./crash.ts";
import { DISK_MIB, type FullDiskReport } from "./full_disk.ts";
import { killServing } from "./kills.ts";
import { openHouse } from "./support/demo.ts";
import { tableOf } from "./support/flights.ts";
import {
  doubleNeedles,
  filesBelow,
  findReadable,
  type Needles,
  pathsWritten,
  textNeedles,
  weightNeedles,
} from "./support/plaintext.ts";
import { keyed, on, type Placed, ROOT, until } from "./support/program.ts";
import { copyOf, exampleConfig, load, place } from "./support/project.ts";
import { readerTests } from "./support/readers.ts";
import { serveTests } from "./support/serving.ts";

const house = openHouse();
const { program } = house;
afterAll(() => house.remove());

const KEYS = [
  ...["ingested", "quarantined", "ledger_ok", "features", "scores", "auc", "brier", "baseline_auc", "lineage_events"],
  ...["audit", "replayed_equal", "promoted", "refused", "rolled_back", "seconds", "data_dir", "data_bytes"],
];
const REPLAYED = 8;

test("the demo runs alone and says what it did", async () => {
  const { ran, report, directory } = await house.demo();
  expect(filesBelow(program.home)).toEqual([program.path]);
  expect(ran.output.trim().split("\n")).toHaveLength(1);
  for (const key of KEYS) expect(report, key).toHaveProperty(key);
  expect(report.ingested).toEqual({
    schedule: 336_776,
    departures: 328_521,
    weather: 26_115,
    planes: 3_322,
    airports: 1_458,
  });
  expect(report.quarantined).toBe(0);
  expect(report.ledger_ok).toBe(true);
  expect(report.auc).toBeGreaterThan(report.baseline_auc);
  expect(report.auc).toBeGreaterThan(0.7);
  const worse = report.refused.find(({ version }) => version === "2.1.0");
  expect(worse).toMatchObject({
    code: "delivery.regression_failed",
    reason: expect.stringMatching(/0\.\d+ against 0\.\d+/),
  });
  expect(report.promoted).toEqual(["1.0.0", "2.0.0"]);
  expect(report.rolled_back).toBe(true);
  expect(report.replayed_equal).toBe(REPLAYED);
  expect(report.audit).toEqual({ size: expect.any(Number), verified: true });
  expect(report.data_dir).toBe(join(directory, "data"));
  expect(report.data_bytes as number).toBeGreaterThan(1 << 20);
});

/** What may be opened to write outside the data directory: the key, by itself and while it is made, and devices. */
const elsewhere = (key: string) => (path: string) =>
  path === key || (path.startsWith(`${key}.`) && path.endsWith(".tmp")) || /^\/dev\/(?:null|tty)$/.test(path);

test("nothing is written outside the data directory", async () => {
  const { trace, placed } = await house.demo();
  if (trace === undefined) throw new Error("strace is not installed, and the check needs it: apt-get install strace");
  const written = pathsWritten(trace);
  const inside = written.filter(({ path }) => path.startsWith(`${placed.data}/`));
  expect(inside.some(({ path }) => path === join(placed.data, "log.db"))).toBe(true);
  expect(inside.filter(({ path }) => path.startsWith(join(placed.data, "segments/"))).length).toBeGreaterThan(10);
  const allowed = elsewhere(placed.key);
  expect(written.filter((one) => !inside.includes(one) && !allowed(one.path))).toEqual([]);
});

test("nothing that was ingested, fused, scored or deployed is readable at rest", async () => {
  const { placed } = await house.demo();
  const needles = await everythingSecret(placed);
  expect(findReadable(writtenBelow(placed.data), needles)).toEqual([]);
  // The search itself: each kind of value is found where it does stand.
  const planted = house.room("planted");
  for (const [i, kind] of ["tail", "airport", "airline", "feature", "score", "weights"].entries()) {
    const [needle, bytes] = [...needles].find(([name]) => name.startsWith(kind))!;
    const file = join(planted, String(i));
    await Bun.write(file, new Uint8Array([...new Uint8Array(i * 7 + 1), ...bytes, 1, 2]));
    expect(findReadable([file], needles)).toContainEqual({ file, offset: i * 7 + 1, needle });
  }
});

/** Less than what the log thread copies into the database when it is idle: the file does not have to grow beyond that. */
const LARGE_WAL = 2 << 20;

test("nothing is readable either where the program was killed in the middle", async () => {
  const project = place(house.room("killed"), await exampleConfig());
  const child = program.start(["ingest", ...on(project)], keyed(project));
  const wal = join(project.data, "log.db-wal");
  const sizeOf = (path: string) => statSync(path, { throwIfNoEntry: false })?.size ?? 0;
  await until("the write-ahead log is large", 60_000, () => (sizeOf(wal) > LARGE_WAL ? true : undefined));
  child.kill("SIGKILL");
  expect(await child.exited).toBe(137);
  expect(sizeOf(wal)).toBeGreaterThan(1 << 20);
  expect(findReadable(writtenBelow(project.data), await everythingSecret((await house.demo()).placed))).toEqual([]);
});

/** Every file but the libraries of ONNX Runtime, each of which is what its maker published, to the byte. */
function writtenBelow(data: string): string[] {
  const published = join(ROOT, "node_modules/onnxruntime-node/bin/napi-v6", process.platform, process.arch);
  return filesBelow(data).filter((file) => {
    const original = join(published, basename(file));
    if (!file.startsWith(join(data, "runtime/")) || !existsSync(original)) return true;
    return !readFileSync(file).equals(readFileSync(original));
  });
}

let secret: Promise<Needles> | undefined;
const everythingSecret = (demo: Placed): Promise<Needles> => {
  secret ??= collectSecrets(demo);
  return secret;
};

async function collectSecrets(demo: Placed): Promise<Needles> {
  const rows = async (sql: string) =>
    (await program.run(["query", sql, "--rows", "2000", ...on(demo)], keyed(demo)))
      .json<{ rows: number[][] }>()
      .rows.flat();
  const features = await rows(
    `select origin_delay_3h from "features/flight_delay" where origin_delay_3h is not null order by as_of desc limit 2000`,
  );
  const scores = await rows(`select score from "scores/flight_delay" order by score_id limit 2000`);
  expect(Math.min(features.length, scores.length)).toBe(2_000);
  const column = (table: string, name: string) => tableOf(table).map((row) => row[name]!);
  const long = (values: number[]) => values.map(String).filter((text) => text.length >= 8);
  return new Map([
    ...textNeedles("tail", column("planes", "tailnum")),
    ...textNeedles("airport", column("airports", "name")),
    ...textNeedles("airline", column("airlines", "name")),
    ...textNeedles("feature", long(features)),
    ...textNeedles("score", long(scores)),
    ...doubleNeedles("feature", features),
    ...doubleNeedles("score", scores),
    ...weightNeedles(new Uint8Array(readFileSync(join(ROOT, "models/flight_delay/model.onnx")))),
  ]);
}

serveTests(house);
readerTests(house);

test("every score that was acknowledged before a kill is there after it, once", async () => {
  const project = await copyOf((await house.demo()).placed, house.room("kill"));
  const server = await program.serve(project);
  const running = load(server, 8);
  await until("there are answers", 60_000, () => (running.acknowledged.length >= 400 ? true : undefined));
  await server.kill();
  const acknowledged = [...running.acknowledged];
  await running.stop();
  const again = await program.serve(project);
  const every = Math.ceil(acknowledged.length / 400);
  for (const [i, { scoreId, score }] of acknowledged.entries()) {
    if (i % every !== 0 && i < acknowledged.length - 50) continue;
    expect(await again.get(`/v1/scores/${scoreId}`)).toMatchObject({ status: 200, body: { score_id: scoreId, score } });
  }
  expect(await again.stop()).toBe(0);
  const sql = `select request_id, count(*) as n, min(score_id) as id from "scores/flight_delay" where request_id like 'load-%' group by request_id`;
  const { rows } = (await program.run(["query", sql, ...on(project)], keyed(project))).json<{
    rows: [string, number | string, string][];
  }>();
  expect(rows.filter(([, n]) => Number(n) !== 1)).toEqual([]);
  const stored = new Map(rows.map(([request, , score]) => [request, score]));
  expect(acknowledged.filter(({ requestId, scoreId }) => stored.get(requestId) !== scoreId)).toEqual([]);
});

test("a training set has the same bytes each time, and stored, historic and requested features the same bits", async () => {
  const project = await copyOf((await house.demo()).placed, house.room("views"));
  const exported: { sha256: string; cutoff: { commit_no: number } }[] = [];
  for (const [i, words] of [[], [], ["--from", "2013-03-01", "--to", "2013-04-01"]].entries()) {
    const cutoff = i === 0 ? [] : ["--cutoff", String(exported[0]!.cutoff.commit_no)];
    const out = join(project.data, `../set-${i}.parquet`);
    const ran = await program.run(
      ["views", "export", "flight_delay", "--out", out, ...words, ...cutoff, ...on(project)],
      keyed(project),
    );
    const { manifest } = ran.json<{ manifest: (typeof exported)[number] }>();
    expect(new Bun.CryptoHasher("sha256").update(readFileSync(out)).digest("hex")).toBe(
      manifest.sha256.replace("sha256:", ""),
    );
    exported.push(manifest);
  }
  expect(exported[1]!.sha256).toBe(exported[0]!.sha256);
  expect(exported[2]!.sha256).not.toBe(exported[0]!.sha256);
  const verified = await program.run(
    ["views", "verify", "flight_delay", "--rows", "60", "--seed", "7", ...on(project)],
    keyed(project),
  );
  expect(verified.json()).toMatchObject({ equal: true, sampled: 60, differences: [] });
  expect(verified.code).toBe(0);
});

test("twenty kills during ingestion and fusion change nothing", async () => {
  const report = await killTest([program.path], house.room("kills"), 20, 20_131_001);
  expect(report.problems).toEqual([]);
  expect(report).toMatchObject({ ok: true, kills: 20, audit: "verified" });
});

test("a server that is killed again and again keeps every row and score it acknowledged, once", async () => {
  const report = await killServing(program, house.room("serving"), 25, 20_131_002);
  expect(report.problems).toEqual([]);
  expect(report.acknowledged.rows).toBeGreaterThan(100);
});

test.skipIf(!canMountSmallDisk())("a server on a full disk says so, goes on by itself, and loses nothing", async () => {
  const report = (await onSmallDisk("test/e2e/full_disk.ts", DISK_MIB, program.path)) as FullDiskReport;
  expect(report.problems).toEqual([]);
  expect(report).toMatchObject({ alertFired: true });
  expect(Math.min(report.refused, report.notStored, report.acknowledged.scores)).toBeGreaterThan(0);
});

test("the help lists every command, and each has its own", async () => {
  const { code, output } = await program.run(["help"]);
  expect(code).toBe(0);
  for (const word of [
    "validate",
    "run",
    "ingest",
    "views export",
    "views verify",
    "promote",
    "rollback",
    "replay",
    "audit verify",
    "query",
  ]) {
    expect(output).toMatch(new RegExp(`^  ${word}\\s+\\S`, "m"));
  }
  const names = [...output.matchAll(/^ {2}([a-z]+(?: [a-z]+)?) {2,}\S/gm)].map((match) => match[1]!);
  expect(names.length).toBeGreaterThan(20);
  for (const name of names) {
    const help = await program.run([...name.split(" "), "--help"]);
    expect({ name, code: help.code, starts: help.output.startsWith(`mlpe ${name}`) }).toEqual({
      name,
      code: 0,
      starts: true,
    });
  }
});

const bad = async (change: (text: string) => string) => {
  const directory = house.room("bad");
  const project = place(directory, await exampleConfig());
  await Bun.write(project.config, change(await Bun.file(project.config).text()));
  return { project, ran: await program.run(["run", ...on(project).slice(0, 4), "--port", "0"], keyed(project)) };
};

test("a bad config exits 78 and says where and what to do", async () => {
  const { project, ran } = await bad((text) => text.replace('"sources"', '"sauces"'));
  expect(ran.code).toBe(78);
  expect(ran.errors).toContain(`${project.config}:`);
  expect(ran.errors).toMatch(/sauces[\s\S]*fix: .*sources/);
  expect(ran.errors).not.toMatch(/^\s+at /m);
  const typed = await bad((text) => text.replace('"distance"', '"distance + origin"'));
  expect(typed.ran.code).toBe(78);
  expect(typed.ran.errors).toMatch(/views\.flight_delay\.features\.\w+[\s\S]*fix: /);
});

test("a taken port and a second writer are told so", async () => {
  const demo = (await house.demo()).placed;
  const project = await copyOf(demo, house.room("one"));
  const server = await program.serve(project);
  const port = new URL(server.url).port;
  const other = await copyOf(demo, house.room("two"));
  const taken = await program.run(["run", ...on(other).slice(0, 4), "--port", port], keyed(other));
  expect(taken).toMatchObject({
    code: 69,
    errors: expect.stringMatching(new RegExp(`server\\.port_in_use.*${port}[\\s\\S]*fix: `)),
  });
  const second = await program.run(["run", ...on(project).slice(0, 4), "--port", "0"], keyed(project));
  expect(second.errors).toMatch(/store\.locked[\s\S]*fix: /);
  expect(second.code).toBe(69);
  expect((await server.get("/readyz")).status).toBe(200);
  expect(await server.stop()).toBe(0);
});
