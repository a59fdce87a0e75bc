/**
 * Kills the built program under load, again and again: `bun scripts/kill.ts [--runs 500] [--seed 1] [--minutes M]`.
 * Exit 0 when no acknowledged row or score was lost and none is there twice.
 */
import { parseArgs } from "node:util";
import { killServing } from "../test/e2e/kills.ts";
import { install, scratch } from "../test/e2e/support/program.ts";

const { values } = parseArgs({
  options: {
    runs: { type: "string", default: "500" },
    seed: { type: "string", default: "1" },
    minutes: { type: "string" },
  },
});
const places = scratch();
const program = install(places.make("program"));
try {
  const until = performance.now() + Number(values.minutes ?? Number.POSITIVE_INFINITY) * 60_000;
  const report = await killServing(program, places.make("kills"), Number(values.runs), Number(values.seed), until);
  console.log(JSON.stringify(report, null, 2));
  process.exitCode = report.problems.length === 0 ? 0 : 1;
} finally {
  program.end();
  places.remove();
}
