import { withEngine } from "../../runtime/engine.ts";
import { retentionPolicy } from "../../runtime/retain.ts";
import { type Command, PROJECT_FLAGS } from "../command.ts";
import { grouped, locationOf, table } from "../project.ts";

export const retain: Command = {
  name: "retain",
  summary: "drop what the config's `retention` no longer keeps, now; a running server does it by itself",
  flags: PROJECT_FLAGS,
  run: (world, input) =>
    withEngine(world, locationOf(input), "write", async ({ project, store }) => {
      const policy = retentionPolicy(project);
      if (!policy)
        return {
          json: { dropped: [], held: [], damaged: [] },
          text: "the config has no retention: everything is kept",
        };
      const { commitNo, dropped, held, damaged } = await store.retain(policy);
      const rows = dropped.map(({ stream, rows: count, bytes, firstSequence, reason }) => [
        stream,
        grouped(count),
        grouped(bytes),
        grouped(firstSequence),
        reason,
      ]);
      const lines = [
        commitNo === undefined ? "nothing is due" : `commit ${commitNo}`,
        ...(rows.length === 0 ? [] : [table(["stream", "rows dropped", "bytes", "begins at", "by"], rows)]),
        ...damaged.map((message) => `left: ${message}`),
        ...held.map(({ stream, bytes, reader, position }) => {
          return `${stream}: ${grouped(bytes)} bytes wait for the reader ${reader}, which stands at commit ${position}`;
        }),
      ];
      return { json: { commit_no: commitNo ?? null, dropped, held, damaged }, text: lines.join("\n") };
    }),
};
