import { withEngine } from "../../runtime/engine.ts";
import { passingOver } from "../../store/damage.ts";
import { exportStream } from "../../store/export.ts";
import { type Command, PROJECT_FLAGS, requireText, requireWord } from "../command.ts";
import { cliErrors } from "../errors.ts";
import { grouped, instantFlag, locationOf, newFile, SKIP_DAMAGED, toldLeftOut } from "../project.ts";

export const exportCommand: Command = {
  name: "export",
  words: "<stream>",
  summary: "write a stream's rows as Parquet, typed by its contract: the latest version of each record, or all",
  flags: {
    ...PROJECT_FLAGS,
    out: { kind: "text", describe: "the Parquet file; an existing one is not overwritten" },
    from: { kind: "text", describe: "first event time, inclusive" },
    to: { kind: "text", describe: "last event time, inclusive" },
    columns: { kind: "text", describe: "only these, in this order: a,b,c" },
    "skip-damaged": SKIP_DAMAGED,
    versions: {
      kind: "switch",
      describe: "every stored version, with _sequence, _commit_no, _known_time and _tombstone",
    },
  },
  async run(world, input) {
    const name = requireWord(exportCommand, input, 0, "the stream");
    const given = requireText(exportCommand, input, "out");
    if (given === "-") {
      const fix = "Name a file; rows go into a pipe through `mlpe tap`, or `mlpe query --format arrow`.";
      throw cliErrors.error("bad_usage", "--out is -, and Parquet goes into files alone", {
        place: "mlpe export",
        fix,
      });
    }
    const [from, to] = [instantFlag(exportCommand, input, "from"), instantFlag(exportCommand, input, "to")];
    const columns = input.text("columns")?.split(",");
    const out = await newFile(world, input, given);
    return withEngine(world, locationOf(input), "read", async ({ store }) => {
      const passing = input.on("skip-damaged") ? passingOver(store) : undefined;
      const exported = await exportStream(passing?.store ?? store, name, {
        ...(from === undefined ? {} : { from }),
        ...(to === undefined ? {} : { to }),
        ...(columns === undefined ? {} : { columns: columns.map((column) => column.trim()) }),
        versions: input.on("versions"),
      });
      let rows = 0;
      const counted = async function* () {
        rows = yield* exported.parts();
      };
      // What is stored is sealed; this file is not, so it is its owner's only.
      await world.files.writeParts(out, counted(), 0o600);
      const { stream, cutoff } = exported;
      const text = `${grouped(rows)} rows of ${stream} as known by commit ${cutoff.commitNo}\n${out}`;
      const told = toldLeftOut(world, passing?.leftOut() ?? []);
      return { json: { file: out, stream, rows, columns: exported.columns, cutoff: cutoff.commitNo, ...told }, text };
    });
  },
};
