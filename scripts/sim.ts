/**
 * Simulates the pipeline from a seed: `bun scripts/sim.ts --seed N [--runs M] [--store memory|sealed|both] [--everywhere] [--verbose]`.
 * `--everywhere` kills each seed just before and just after every commit it makes, one after another, in memory.
 * Exit 0 when everything held in every run; otherwise each failure is printed with the command that replays it.
 */
import { parseArgs } from "node:util";
import { testEngine } from "../test/scoring/support.ts";
import { killEverywhere, replayCommand, type StoreKind, simulate } from "../test/sim/simulate.ts";

const { values } = parseArgs({
  options: {
    seed: { type: "string", default: "1" },
    runs: { type: "string", default: "1" },
    store: { type: "string", default: "both" },
    everywhere: { type: "boolean", default: false },
    verbose: { type: "boolean", default: false },
  },
});
const first = Number(values.seed);
const kinds: StoreKind[] = values.store === "both" ? ["memory", "sealed"] : [values.store as StoreKind];
const ort = testEngine();
let failed = 0;
for (let seed = first; seed < first + Number(values.runs); seed++) {
  try {
    if (values.everywhere) {
      const { runs, findings } = await killEverywhere(seed, { ort });
      if (values.verbose) console.log(`seed ${seed}: ${runs} runs, each killed at one commit`);
      if (findings.length > 0) {
        failed++;
        for (const finding of findings.slice(0, 10)) console.log(`  ${finding}`);
        console.log(`  replay: bun scripts/sim.ts --seed ${seed} --everywhere`);
      }
      continue;
    }
    for (const report of await simulate(seed, kinds, { ort })) {
      const { trace, findings, store } = report;
      if (values.verbose)
        console.log(`seed ${seed}, ${store}: ${trace.acts} acts, ${trace.kills} kills, ${trace.faults} faults`);
      if (values.verbose) for (const [stream, content] of report.contents) console.log(`  ${stream}: ${content}`);
      if (findings.length === 0) continue;
      failed++;
      console.log(`seed ${seed} on the ${store} store: ${findings.length} findings`);
      for (const finding of findings.slice(0, 10)) console.log(`  ${finding}`);
      console.log(`  replay: ${replayCommand(report)}`);
    }
  } catch (error) {
    failed++;
    console.log(
      `seed ${seed}: ${error instanceof Error ? error.stack : error}\n  replay: bun scripts/sim.ts --seed ${seed}`,
    );
  }
}
console.log(failed === 0 ? `${values.runs} seeds from ${first}: everything holds` : `${failed} runs failed`);
process.exit(failed === 0 ? 0 : 1);
