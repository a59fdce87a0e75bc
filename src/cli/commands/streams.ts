import { type StreamContent, streamContent } from "../../runtime/content.ts";
import { withEngine } from "../../runtime/engine.ts";
import type { LogStore } from "../../store/store.ts";
import { readUpkeep } from "../../store/upkeep.ts";
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
    upkeep: { kind: "switch", describe: "instead, what compaction did last: files merged, rows and bytes" },
  },
  run: (world, input) =>
    withEngine(world, locationOf(input), "read", async ({ store }) => {
      if (input.on("upkeep")) return upkeepOf(store);
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

const UPKEEP_SHOWN = 50;

function upkeepOf({ reader, sealer }: LogStore) {
  const json = readUpkeep(reader.database, sealer, UPKEEP_SHOWN);
  const rows = json.map((act) => [
    new Date(act.at / 1_000).toISOString(),
    act.what,
    `${act.firstCommit}..${act.lastCommit}`,
    grouped(act.rows),
    `${act.filesIn} -> ${act.filesOut}`,
    grouped(act.bytesOut),
    act.streams.join(" "),
  ]);
  return { json, text: table(["at", "what", "commits", "rows", "files", "bytes", "streams"], rows) };
}
