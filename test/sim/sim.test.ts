/**
 * Seeds of the simulation: a random project each, run once undisturbed and once with kills between steps, commits that
 * fail and acknowledgements that are lost. Then the same with one promise broken on purpose, which must be noticed.
 */
import { afterAll, expect, test } from "bun:test";
import { testEngine } from "../scoring/support.ts";
import { SABOTAGES } from "./sabotage.ts";
import { killEverywhere, replayCommand, type SimReport, simulate } from "./simulate.ts";

const ort = testEngine();
/** What went wrong and what was written, over all runs: a simulation in which nothing happens proves nothing. */
const seen = { runs: 0, kills: 0, faults: 0, streams: new Set<string>() };

function expectNothing(reports: readonly SimReport[]): void {
  for (const report of reports) {
    const { findings, trace, contents } = report;
    seen.runs++;
    seen.kills += trace.kills;
    seen.faults += trace.faults;
    for (const stream of contents.keys()) seen.streams.add(stream);
    expect(findings, `replay: ${replayCommand(report)}`).toEqual([]);
  }
}

const seedsFrom = (first: number, count: number) => Array.from({ length: count }, (_, i) => first + i);

test.each(seedsFrom(1, 25))(
  "in memory, seed %p ends as if nothing had happened",
  async (seed) => {
    expectNothing(await simulate(seed, ["memory"], { ort }));
  },
  60_000,
);

test.each(seedsFrom(26, 5))(
  "on the sealed log, seed %p ends as if nothing had happened",
  async (seed) => {
    expectNothing(await simulate(seed, ["sealed"], { ort }));
  },
  60_000,
);

test.each([17])(
  "seed %p, killed before and after each of its commits, ends as if nothing had happened",
  async (seed) => {
    const { runs, findings } = await killEverywhere(seed, { ort });
    expect(findings, `replay: bun scripts/sim.ts --seed ${seed} --everywhere`).toEqual([]);
    expect(runs).toBeGreaterThan(40);
  },
  60_000,
);

/** What the steps themselves say where the log is not as they left it. */
const NOTICED: ReadonlySet<string> = new Set(["ingestion.landing_moved", "store.stale_writer"]);
/** Seeds in which there is something to break; the first that shows it is enough. */
const TRIED = seedsFrom(1, 6);

test.each(Object.entries(SABOTAGES))(
  "it is noticed when %s",
  async (_, sabotage) => {
    let findings = 0;
    for (const seed of TRIED) {
      if (findings > 0) break;
      findings = await simulate(seed, ["memory"], { ort, sabotage }).then(
        ([report]) => report!.findings.length,
        (error: unknown) => (NOTICED.has((error as { code?: string }).code ?? "") ? 1 : Promise.reject(error)),
      );
    }
    expect(findings).toBeGreaterThan(0);
  },
  60_000,
);

test("the same seed is the same run", async () => {
  const [one] = await simulate(3, ["memory"], { ort });
  const [other] = await simulate(3, ["memory"], { ort });
  expect(one).toEqual(other!);
});

afterAll(() => {
  if (seen.runs < 20) return; // only some of the tests were asked for
  expect(Math.min(seen.kills, seen.faults)).toBeGreaterThan(100);
  const kinds = [
    "curated/visits",
    "quarantine/orders",
    "quarantine/visits",
    "features/shops",
    "labels/risk",
    "landing/items",
  ];
  expect(kinds.filter((stream) => !seen.streams.has(stream))).toEqual([]);
});
