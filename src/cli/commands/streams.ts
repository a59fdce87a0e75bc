import { type StreamContent, streamContent } from "../../runtime/content.ts";
import { withEngine } from "../../runtime/engine.ts";
import { type Command, PROJECT_FLAGS } from "../command.ts";
import { grouped, locationOf, table } from "../project.ts";

export const streams: Command = {
  name: "streams",
  summary: "list the streams: rows, commits, bytes; with --digest the digest of their content",
  flags: {
    ...PROJECT_FLAGS,
    digest: {
      kind: "switch",
      describe: "digest the latest version of every row; two runs of the same input agree but for `lineage`",
    },
  },
  run: (world, input) =>
    withEngine(world, locationOf(input), "read", async ({ store }) => {
      const infos = await store.streams();
      const contents = new Map<string, StreamContent>();
      if (input.on("digest")) {
        for (const { stream } of infos) contents.set(stream, await streamContent(store, stream));
      }
      const json = infos.map(({ contracts: _contracts, ...info }) => ({
        ...info,
        ...(contents.has(info.stream) ? { content: contents.get(info.stream) } : {}),
      }));
      const rows = infos.map((info) => [
        info.stream,
        grouped(info.rows),
        `${info.firstCommit}..${info.lastCommit}`,
        grouped(info.bytes),
        contents.get(info.stream)?.digest.slice(0, 16) ?? "",
      ]);
      return { json, text: table(["stream", "rows", "commits", "segment bytes", "content"], rows) };
    }),
};
