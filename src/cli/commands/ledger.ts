import { verifyLedger } from "../../ingestion/ledger.ts";
import { withEngine } from "../../runtime/engine.ts";
import { type Command, PROJECT_FLAGS } from "../command.ts";
import { EXIT_NO } from "../errors.ts";
import { grouped, locationOf, table } from "../project.ts";

export const ledgerVerify: Command = {
  name: "ledger verify",
  summary: "prove that every received row is curated, corrected, duplicate, quarantined or dropped",
  flags: PROJECT_FLAGS,
  run: (world, input) =>
    withEngine(world, locationOf(input), "read", async ({ store, project }) => {
      const report = await verifyLedger(store, [...project.sources.values()]);
      const rows = report.lines.map((line) => [
        line.source,
        line.dataset,
        ...[line.received, line.curated, line.corrected, line.duplicate, line.quarantined, line.dropped].map(grouped),
      ]);
      const header = ["source", "dataset", "received", "curated", "corrected", "duplicate", "quarantined", "dropped"];
      const verdict = report.ok ? "the ledger balances" : report.problems.join("\n");
      return { json: report, text: `${table(header, rows)}\n${verdict}`, exit: report.ok ? 0 : EXIT_NO };
    }),
};
