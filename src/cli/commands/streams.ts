import { knownBackups } from "../../runtime/backups.ts";
import { type StreamContent, streamContent } from "../../runtime/content.ts";
import { withEngine } from "../../runtime/engine.ts";
import { storedRows } from "../../store/port.ts";
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
    upkeep: { kind: "switch", describe: "instead, what compaction did last, and the backups: files, rows and bytes" },
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
        rows: storedRows(info),
        appended: info.rows,
        ...(contents.has(info.stream) ? { content: contents.get(info.stream) } : {}),
      }));
      const rows = infos.map((info) => [
        info.stream,
        grouped(storedRows(info)),
        `${info.firstCommit}..${info.lastCommit}`,
        grouped(info.bytes),
        contents.get(info.stream)?.digest.slice(0, 16) ?? "",
      ]);
      return { json, text: table(["stream", "rows", "commits", "segment bytes", "content"], rows) };
    }),
};

const UPKEEP_SHOWN = 50;

/** Compactions and backups in one list, the newest first. */
async function upkeepOf(store: LogStore) {
  const acts = readUpkeep(store.reader.database, store.sealer, UPKEEP_SHOWN).map((act) => ({
    json: act,
    at: act.at,
    cells: [
      act.what,
      `${act.firstCommit}..${act.lastCommit}`,
      grouped(act.rows),
      `${act.filesIn} -> ${act.filesOut}`,
      grouped(act.bytesOut),
      act.streams.join(" "),
    ],
  }));
  const backups = (await knownBackups(store)).slice(-UPKEEP_SHOWN).map((backup) => ({
    json: { what: "backup", at: backup.begun, ...backup },
    at: backup.begun,
    cells: [
      "backup",
      backup.commitNo === undefined ? "begun" : `..${backup.commitNo}`,
      "",
      backup.files === undefined ? "" : grouped(backup.files),
      backup.bytes === undefined ? "" : grouped(backup.bytes),
      `${backup.number}: ${backup.backup}`,
    ],
  }));
  const newest = [...acts, ...backups].sort((a, b) => b.at - a.at).slice(0, UPKEEP_SHOWN);
  const rows = newest.map(({ at, cells }) => [new Date(at / 1_000).toISOString(), ...cells]);
  const json = newest.map((act) => act.json);
  return { json, text: table(["at", "what", "commits", "rows", "files", "bytes", "streams, or which"], rows) };
}
