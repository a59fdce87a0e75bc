import { rmSync } from "node:fs";
import { join } from "node:path";
import { openEngine } from "../../src/runtime/engine.ts";
import { runUntilIdle } from "../../src/runtime/loop.ts";
import { pipelineOf } from "../../src/runtime/steps.ts";
import { systemWorld } from "../../src/system.ts";
import { type Bench, median, more, type SmallProject, smallProject } from "./bench.ts";
import { type RivalRun, runRival } from "./path_rival.ts";

const FLIGHTS = 60_000;
const RUNS = 3;
const RIVAL = "bare bun:sqlite, WAL, synchronous=FULL";

/**
 * Rows a second of the path's two heavy steps: flights through both routes (judged, checked, deduplicated, hashed, sealed
 * and committed with lineage), and feature rows fused from them and committed. The rival parses the same CSV into two
 * tables with the same keys, and answers the same features with one INSERT ... SELECT over indexed tables: unsealed,
 * unchecked, and without correction, audit or lineage.
 */
export const path: Bench = async (tell) => {
  const project = await smallProject(FLIGHTS);
  const ours: OurRun[] = [];
  const theirs: RivalRun[] = [];
  try {
    for (let run = 0; run < RUNS; run++) {
      tell(`run ${run + 1} of ${RUNS}`);
      ours.push(await runOurs(project, join(project.directory, `data-${run}`)));
      theirs.push(await runRival(project, join(project.directory, `rival-${run}.db`)));
    }
  } finally {
    rmSync(project.directory, { recursive: true, force: true });
  }
  const [mine, other] = [ours[0]!, theirs[0]!];
  if (mine.features !== other.features || mine.departures !== other.departures) {
    throw new Error(`the two did not do the same work: ${JSON.stringify(mine)} and ${JSON.stringify(other)}`);
  }
  const middle = (runs: readonly RivalRun[], pick: (run: RivalRun) => number) => median(runs.map(pick));
  return [
    more("ingest flights, two routes", "rows/s", middle(ours, rate("ingest")), middle(theirs, rate("ingest")), RIVAL),
    more("fuse features", "rows/s", middle(ours, rate("fuse")), middle(theirs, rate("fuse")), RIVAL),
  ];
};

type OurRun = RivalRun;

const rate = (step: "ingest" | "fuse") => (run: RivalRun) => run.features / (run[step] / 1000);

async function runOurs(project: SmallProject, data: string): Promise<OurRun> {
  const world = { ...systemWorld, environment: project.environment };
  const engine = await openEngine(world, { config: project.config, data }, "write");
  const pipeline = pipelineOf(engine);
  const run = async (names: (name: string) => boolean) => {
    const from = performance.now();
    await runUntilIdle(
      pipeline.steps.filter(({ name }) => names(name)),
      new Set(),
    );
    return performance.now() - from;
  };
  try {
    await run((name) => name.startsWith("ingest.") && name !== "ingest.flights");
    const ingest = await run((name) => name === "ingest.flights");
    const fuse = await run((name) => name.startsWith("fuse."));
    const rows = new Map((await engine.store.streams()).map((info) => [info.stream, info.rows]));
    return {
      ingest,
      fuse,
      features: rows.get("features/flight_delay") ?? 0,
      departures: rows.get("curated/departures") ?? 0,
    };
  } finally {
    await pipeline.close();
    await engine.close();
  }
}
