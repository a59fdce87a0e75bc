import { verifyAudit } from "../audit/verify.ts";
import { parseInstant } from "../base/time.ts";
import type { World } from "../base/world.ts";
import { columnNamed, rowsOf, valueAt } from "../contract/batch.ts";
import { LINEAGE, scoresStream } from "../contract/streams.ts";
import type { Deployed } from "../delivery/deployments.ts";
import { flip } from "../delivery/promote.ts";
import { performanceOf } from "../feedback/performance.ts";
import { verifyLedger } from "../ingestion/ledger.ts";
import { type PackagePromotion, promotePackage } from "./delivery.ts";
import { judgeModelDrift } from "./drift.ts";
import { type Engine, withEngine } from "./engine.ts";
import { runUntilIdle, type Step } from "./loop.ts";
import {
  loadStored,
  type ModelContext,
  modelContext,
  openOnnx,
  periodReader,
  runtimePath,
  scoreStep,
} from "./models.ts";
import { packageFiles } from "./package_files.ts";
import { pipelineOf } from "./steps.ts";

const MODEL = "flight_delay";
const FROM = parseInstant("2013-10-01")!;
const TO = parseInstant("2014-01-01")!;
/** How many scores a new process makes again. */
const REPLAYS = 8;

/** What the demo did, as figures. */
export interface DemoReport {
  readonly ingested: Readonly<Record<string, number>>;
  readonly quarantined: number;
  readonly ledger_ok: boolean;
  readonly features: number;
  readonly scores: number;
  readonly auc: number | null;
  readonly brier: number | null;
  readonly baseline_auc: number | null;
  readonly baseline_brier: number | null;
  readonly worse_auc: number | null;
  readonly labelled: number;
  readonly checks: { readonly passed: number; readonly warned: number; readonly failed: number };
  readonly drift: string;
  readonly lineage_events: number;
  readonly audit: { readonly size: number; readonly verified: boolean };
  readonly replayed_equal: number;
  readonly promoted: readonly string[];
  readonly refused: readonly { readonly version: string; readonly code: string; readonly reason: string }[];
  readonly rolled_back: boolean;
  readonly seconds: number;
  readonly data_dir: string;
  readonly data_bytes: number;
}

export interface DemoPlace {
  readonly config: string;
  /** The folder with the three packages. */
  readonly packages: string;
  readonly data: string;
}

/** The whole path once, on a year of flights. `tell` hears what happens; the report has the figures. */
export function runDemo(world: World, place: DemoPlace, tell: (line: string) => void): Promise<DemoReport> {
  const startedAt = world.clock.now();
  return withEngine(world, { config: place.config, data: place.data }, "write", async (engine) => {
    await ingestAndFuse(engine, tell);
    const context = modelContext(engine, MODEL);
    const delivered = await deliver(engine, context, place, tell);
    const assured = await assure(engine, place, tell);
    const infos = new Map((await engine.store.streams()).map((info) => [info.stream, info.rows]));
    const rows = (prefix: string) => [...infos].filter(([stream]) => stream.startsWith(prefix));
    return {
      ingested: Object.fromEntries(rows("curated/").map(([stream, count]) => [stream.slice("curated/".length), count])),
      quarantined: rows("quarantine/").reduce((sum, [, count]) => sum + count, 0),
      features: infos.get(`features/${MODEL}`) ?? 0,
      scores: infos.get(scoresStream(MODEL)) ?? 0,
      ...delivered,
      ...assured,
      lineage_events: infos.get(LINEAGE) ?? 0,
      seconds: Math.round((world.clock.now() - startedAt) / 100_000) / 10,
      data_dir: place.data,
      data_bytes: await sealedBytes(world, place.data),
    };
  });
}

/** What the executable unpacks beside the data is not of it. */
async function sealedBytes({ files }: World, data: string): Promise<number> {
  const unpacked = runtimePath({ dataDirectory: data });
  return (await files.size(data)) - ((await files.exists(unpacked)) ? await files.size(unpacked) : 0);
}

async function ingestAndFuse(engine: Engine, tell: (line: string) => void): Promise<void> {
  const pipeline = pipelineOf(engine);
  const steps = pipeline.steps.filter(({ name }) => !name.startsWith("label."));
  tell("ingest and fuse: a year of flights, weather, planes and airports");
  const turns = new Map<string, number>();
  await runUntilIdle(steps, new Set(), ({ name }) => {
    turns.set(name, (turns.get(name) ?? 0) + 1);
    engine.world.progress(`  ${name}: ${turns.get(name)} commits`);
  });
  await pipeline.close();
}

/** Baseline live, October to December scored, outcomes arrive, trees take over, the worse model and an unsigned one are refused. */
async function deliver(engine: Engine, context: ModelContext, place: DemoPlace, tell: (line: string) => void) {
  const ort = openOnnx(engine);
  const { store, world } = engine;
  const promotePath = async (folder: string, change?: (files: Map<string, Uint8Array>) => void) => {
    const files = await packageFiles(engine, `${place.packages}/${folder}`);
    change?.(files);
    const promotion = await promotePackage(engine, context, ort, files);
    tell(`promote ${folder}: ${promotion.promoted ? "live" : `refused, ${promotion.refused!.reason}`}`);
    return promotion;
  };
  const scorePeriod = async (deployed: Deployed) => {
    const model = await loadStored(engine, context, ort, deployed.digest);
    const job = { model, role: "live" as const, from: FROM, to: TO };
    tell(`score October to December with version ${deployed.version}`);
    await runUntilIdle([scoreStep(engine, context, () => ({ ...job, reader: periodReader(job) }))], new Set());
    model.session.dispose();
  };
  const unsigned = await promotePath("flight_delay_baseline", (files) => files.delete("signature.json"));
  const baseline = await promotePath("flight_delay_baseline");
  await scorePeriod(baseline.live!);
  tell("outcomes arrive as labels");
  await arriveLabels(engine);
  const trees = await promotePath("flight_delay");
  await scorePeriod(trees.live!);
  const worse = await promotePath("flight_delay_worse");
  const back = await flip({ store, clock: world.clock, model: MODEL, direction: "rollback" });
  const forth = await flip({ store, clock: world.clock, model: MODEL, direction: "rollforward" });
  tell(`rollback to ${back.to.version} and rollforward to ${forth.to.version}`);
  const [ours, linear] = [await figures(engine, trees.digest), await figures(engine, baseline.digest)];
  const all = [unsigned, baseline, trees, worse];
  return {
    auc: ours.auc,
    brier: ours.brier,
    labelled: ours.labelled,
    baseline_auc: linear.auc,
    baseline_brier: linear.brier,
    worse_auc: candidateFigure(worse),
    promoted: all.filter((one) => one.promoted).map((one) => one.version),
    refused: all.flatMap((one) =>
      one.refused ? [{ version: one.version, code: one.refused.code, reason: one.refused.reason }] : [],
    ),
    rolled_back: back.to.digest === baseline.digest && forth.to.digest === trees.digest,
  };
}

async function arriveLabels(engine: Engine): Promise<void> {
  const pipeline = pipelineOf(engine);
  const labels: Step[] = pipeline.steps.filter(({ name }) => name.startsWith("label."));
  await runUntilIdle(labels, new Set());
  await pipeline.close();
}

const figures = async ({ store }: Engine, digest: string) =>
  (await performanceOf(store, MODEL, { digest, from: FROM, to: TO })).overall;

function candidateFigure(promotion: PackagePromotion): number | null {
  const value = promotion.verdicts.find(({ gate }) => gate === "regression")?.figures.candidate;
  return typeof value === "number" ? value : null;
}

/** Ledger, checks, drift, audit, and scores made again in a new process. */
async function assure(engine: Engine, place: DemoPlace, tell: (line: string) => void) {
  const { store, project } = engine;
  const drift = await judgeModelDrift(engine, MODEL, FROM, TO);
  const overall = drift.find((row) => row.name === "drift");
  tell(`drift of October to December against the training profile: ${overall?.outcome}`);
  const ledger = await verifyLedger(store, [...project.sources.values()]);
  const checks = await countChecks(engine);
  const ids = await someScores(engine);
  tell(`audit: hash every stored row again; and replay ${ids.length} scores in a new process`);
  const replaying = replayElsewhere(engine, place, ids); // it runs while the rows are hashed here
  const audit = verifyAudit(store);
  const equal = await replaying;
  return {
    ledger_ok: ledger.ok,
    checks,
    drift: String(overall?.outcome),
    audit: { size: audit.size, verified: audit.verified },
    replayed_equal: equal,
  };
}

async function countChecks({ store }: Engine) {
  const counts = { passed: 0, warned: 0, failed: 0 };
  for await (const { batch } of store.scan("verdicts")) {
    for (const { kind, outcome } of rowsOf(batch)) {
      if (kind !== "check") continue;
      if (outcome === "pass") counts.passed++;
      else if (outcome === "warn") counts.warned++;
      else counts.failed++;
    }
  }
  return counts;
}

async function someScores({ store }: Engine): Promise<string[]> {
  const ids: string[] = [];
  const found: { sequence: number; id: string }[] = [];
  for await (const { batch, sequences } of store.scan(scoresStream(MODEL), { columns: ["score_id"] })) {
    const column = columnNamed(batch, "score_id");
    for (let i = 0; i < batch.length; i++)
      found.push({ sequence: sequences[i]!, id: valueAt(column, "string", i) as string });
  }
  found.sort((a, b) => a.sequence - b.sequence);
  for (let i = 0; i < REPLAYS && found.length > 0; i++)
    ids.push(found[Math.floor(((i + 0.5) * found.length) / REPLAYS)]!.id);
  return ids;
}

async function replayElsewhere({ world }: Engine, place: DemoPlace, ids: readonly string[]): Promise<number> {
  const { output } = await world.again(["replay", ...ids, "--config", place.config, "--data", place.data, "--json"]);
  const answer = JSON.parse(output || "{}") as { replays?: { equal: boolean }[] };
  return answer.replays?.filter((one) => one.equal).length ?? 0;
}
