import { formatInstant } from "../../base/time.ts";
import type { World } from "../../base/world.ts";
import { type DemoReport, runDemo } from "../../runtime/demo.ts";
import { absolute } from "../../runtime/project.ts";
import type { Command } from "../command.ts";
import { grouped, stoppedBy } from "../project.ts";
import { serve } from "./run.ts";

export const demo: Command = {
  name: "demo",
  summary:
    "run the whole path once on a year of New York flights, and say what happened; needs a clone's examples/ and models/",
  flags: {
    project: {
      kind: "text",
      describe: "the folder of the example, which is in a clone and not in the executable",
      default: "examples/nycflights",
    },
    packages: { kind: "text", describe: "the folder of its model packages, the same", default: "models" },
    directory: {
      kind: "text",
      describe: "where data and key go; what an earlier demo left there is removed",
      default: ".mlpe/demo",
    },
    serve: { kind: "switch", describe: "go on serving on that data afterwards" },
  },
  async run(world, input) {
    const directory = absolute(world, input.text("directory")!);
    const place = {
      config: `${absolute(world, input.text("project")!)}/mlpe.yaml`,
      packages: absolute(world, input.text("packages")!),
      data: `${directory}/data`,
    };
    // Only what a demo made itself is removed.
    if (await world.files.exists(`${place.data}/log.db`)) await world.files.removeDirectory(place.data);
    const environment = { MLPE_KEY_FILE: `${directory}/key` };
    const here: World = {
      ...world,
      environment: { ...world.environment, ...environment },
      again: (args, options) => world.again(args, { ...options, environment }),
    };
    const say = (line: string) => {
      world.progress("");
      world.warn(`${formatInstant(world.clock.now()).slice(11, 19)}  ${line}`);
    };
    const report = await Promise.race([runDemo(here, place, say), world.stopRequested()]);
    if (typeof report === "string") return stoppedBy(report, "stopped: the demo starts anew when it is run again");
    if (!input.on("serve")) return { json: report, text: summary(report) };
    world.print(input.on("json") ? JSON.stringify(report) : summary(report));
    // The pipeline's thread has the environment of the process: the key's place must go with the project's.
    return serve(here, { config: place.config, data: place.data, set: [`keys.path=${environment.MLPE_KEY_FILE}`] });
  },
};

function summary(report: DemoReport): string {
  const figure = (value: number | null) => (value === null ? "-" : value.toFixed(4));
  const ingested = Object.entries(report.ingested).map(([name, rows]) => `${grouped(rows)} ${name}`);
  const refused = report.refused.map(({ version, reason }) => `  refused    ${version}: ${reason}`);
  return [
    "",
    "Will this flight leave more than 15 minutes late? Asked one hour before departure.",
    "",
    `  ingested   ${ingested.join(", ")}; ${grouped(report.quarantined)} quarantined; the ledger ${report.ledger_ok ? "balances" : "DOES NOT BALANCE"}`,
    `  features   ${grouped(report.features)} rows, each as it was knowable one hour before departure`,
    `  scores     ${grouped(report.scores)} for October to December, each durable with its features and model digest`,
    `  outcomes   ${grouped(report.labelled)} arrived later as labels`,
    "",
    `  AUC        trees ${figure(report.auc)}   baseline ${figure(report.baseline_auc)}   worse ${figure(report.worse_auc)}`,
    `  Brier      trees ${figure(report.brier)}   baseline ${figure(report.baseline_brier)}`,
    `  promoted   ${report.promoted.join(", then ")}`,
    ...refused,
    `  rollback   ${report.rolled_back ? "and rollforward: one committed pointer flip each" : "FAILED"}`,
    "",
    `  checks     ${report.checks.passed} passed, ${report.checks.warned} warned, ${report.checks.failed} failed; drift: ${report.drift}`,
    `  lineage    ${grouped(report.lineage_events)} OpenLineage events`,
    `  audit      ${grouped(report.audit.size)} commits, ${report.audit.verified ? "every stored row hashed again and found unchanged" : "NOT VERIFIED"}`,
    `  replay     ${report.replayed_equal} scores made again in a new process, equal to the bit`,
    "",
    `  ${report.seconds} s, ${grouped(report.data_bytes / 1024 / 1024)} MiB sealed in ${report.data_dir}`,
    "  Look around:  mlpe streams | performance | views explain | query | audit verify   (README: Look around)",
  ].join("\n");
}
