import { formatInstant } from "../../base/time.ts";
import { listQuarantine } from "../../ingestion/quarantine.ts";
import { withEngine } from "../../runtime/engine.ts";
import { type Command, PROJECT_FLAGS } from "../command.ts";
import { cliErrors } from "../errors.ts";
import { grouped, locationOf, table } from "../project.ts";

const EXAMPLES_DEFAULT = 5;
const EXAMPLES_MAX = 1_000;
const RECORD_SHOWN = 100;

export const quarantineList: Command = {
  name: "quarantine list",
  summary: "count the rejected rows by dataset, field and rule, and show the newest of them",
  flags: {
    ...PROJECT_FLAGS,
    dataset: { kind: "text", describe: "only this dataset" },
    examples: { kind: "number", describe: "rows shown of each dataset", default: EXAMPLES_DEFAULT },
  },
  run: (world, input) =>
    withEngine(world, locationOf(input), "read", async ({ store, project }) => {
      const known = [...project.datasets.keys()];
      const dataset = input.text("dataset");
      if (dataset !== undefined && !known.includes(dataset)) {
        const message = `there is no dataset "${dataset}"; the config has: ${known.join(", ") || "none"}`;
        throw cliErrors.error("bad_usage", message, { place: "--dataset" });
      }
      const most = input.number("examples")!;
      if (!Number.isInteger(most) || most < 0 || most > EXAMPLES_MAX) {
        const message = `--examples is ${most}; it is a whole number up to ${EXAMPLES_MAX}`;
        throw cliErrors.error("bad_usage", message, { place: "--examples" });
      }
      const listed = await listQuarantine(store, dataset === undefined ? known : [dataset], most);
      const counts = listed.counts.map((count) => ({ ...count, last: formatInstant(count.last) }));
      const examples = listed.examples.map((one) => ({ ...one, received_at: formatInstant(one.received_at) }));
      const rows = counts.map((one) => [
        one.dataset,
        one.field ?? "-",
        one.rule,
        one.code,
        grouped(one.rows),
        one.last,
      ]);
      const lines = examples.map(
        (one) =>
          `${one.dataset} <- ${one.source} page ${one.landing_sequence} row ${one.index}: ${one.message}\n  ${one.record.slice(0, RECORD_SHOWN)}`,
      );
      const counted = table(["dataset", "field", "rule", "code", "rows", "last"], rows);
      const text = counts.length === 0 ? "the quarantine is empty" : [counted, "", ...lines].join("\n");
      return { json: { counts, examples }, text };
    }),
};
