import { retainProject } from "../../runtime/retain.ts";
import { type Command, PROJECT_FLAGS } from "../command.ts";
import { grouped, locationOf, table } from "../project.ts";

export const retain: Command = {
  name: "retain",
  summary:
    "drop what the config's `retention` no longer keeps, now, also while a server runs, which does it by itself too",
  flags: PROJECT_FLAGS,
  async run(world, input) {
    const done = await retainProject(world, locationOf(input));
    if (!done) {
      return {
        json: { dropped: [], held: [], damaged: [] },
        text: "the config has no retention: everything is kept",
      };
    }
    const { commit_no: commitNo, dropped, held, damaged } = done;
    const rows = dropped.map(({ stream, rows: count, bytes, firstSequence, reason }) => [
      stream,
      grouped(count),
      grouped(bytes),
      grouped(firstSequence),
      reason,
    ]);
    const lines = [
      commitNo === null ? "nothing is due" : `commit ${commitNo}`,
      ...(rows.length === 0 ? [] : [table(["stream", "rows dropped", "bytes", "begins at", "by"], rows)]),
      ...damaged.map((message) => `left: ${message}`),
      ...held.map(({ stream, bytes, reader, position }) => {
        return `${stream}: ${grouped(bytes)} bytes wait for the reader ${reader}, which stands at commit ${position}`;
      }),
    ];
    return { json: done, text: lines.join("\n") };
  },
};
