import type { World } from "../../base/world.ts";
import { restoreBackup } from "../../runtime/backup.ts";
import { withEngine } from "../../runtime/engine.ts";
import { absolute, openProject } from "../../runtime/project.ts";
import { type BackupManifest, openBackup, writeBackup } from "../../store/backup.ts";
import type { LogStore } from "../../store/store.ts";
import { type Command, type Input, type Outcome, PROJECT_FLAGS } from "../command.ts";
import { cliErrors } from "../errors.ts";
import { grouped, locationOf } from "../project.ts";

/** The archive that a command is given as its word or by a flag: `-` is standard output or input. */
function archiveOf(command: Command, input: Input, flags: readonly string[]): string {
  const given = [input.words[0], ...flags.map((flag) => input.text(flag))].filter((text) => text !== undefined);
  if (given.length === 1) return given[0]!;
  const message = given.length === 0 ? "the archive is missing" : "the archive is named twice";
  throw cliErrors.error("bad_usage", message, {
    place: `mlpe ${command.name}`,
    fix: `Name a file, or - for a pipe: mlpe ${command.name} -`,
  });
}

export const backup: Command = {
  name: "backup",
  words: "[file, or - for standard output]",
  summary: "copy the sealed log into one file or pipe while everything goes on; the key file is not in it",
  flags: {
    ...PROJECT_FLAGS,
    out: { kind: "text", describe: "the archive; an existing file is not overwritten" },
    output: { kind: "text", describe: "the same" },
  },
  async run(world, input) {
    const named = archiveOf(backup, input, ["out", "output"]);
    if (named === "-") {
      return withEngine(world, locationOf(input), "read", ({ store }) => pipeBackup(world, store, input.on("json")));
    }
    const out = absolute(world, named);
    if (await world.files.exists(out)) throw cliErrors.error("output_exists", `${out} exists`, { place: out });
    return withEngine(world, locationOf(input), "read", async ({ store }) => {
      const json = { file: out, ...summaryOf(writeBackup(store, out)) };
      return { json, text: textOf(json, "read again") };
    });
  },
};

/** To standard output, where it can't be read again; what is said of it goes to standard error. */
async function pipeBackup(world: World, store: LogStore, asJson: boolean): Promise<Outcome> {
  const opened = openBackup(store);
  try {
    for (const part of opened.parts()) await world.write(part);
  } finally {
    opened.close();
  }
  const json = { file: "-", ...summaryOf(opened.manifest) };
  world.warn(asJson ? JSON.stringify(json) : textOf(json, "each as its digest says"));
  return { json, text: "", printed: true };
}

function summaryOf({ commit_no, files, store_id }: BackupManifest) {
  const bytes = files.reduce((sum, file) => sum + file.bytes, 0);
  return { commit_no, store_id, files: files.length, bytes };
}

function textOf({ file, commit_no, files, bytes }: ReturnType<typeof summaryOf> & { file: string }, checked: string) {
  const where = file === "-" ? "standard output" : file;
  return [
    `${where}: everything up to commit ${commit_no}, ${files} files, ${grouped(bytes)} bytes, ${checked}`,
    "The key file is not in it: without a copy of the key, kept elsewhere, the backup can't be opened.",
  ].join("\n");
}

export const restore: Command = {
  name: "restore",
  words: "[file, or - for standard input]",
  summary: "make the data directory from a backup, which must prove itself first: digests, key, audit tree, ledger",
  flags: { ...PROJECT_FLAGS, from: { kind: "text", describe: "the archive that `mlpe backup` wrote" } },
  async run(world, input) {
    const named = archiveOf(restore, input, ["from"]);
    const project = await openProject(world, locationOf(input));
    const { manifest, rows, root } = await restoreBackup(world, project, named === "-" ? 0 : absolute(world, named));
    const lines = [
      `${project.dataDirectory}: everything up to commit ${manifest.commit_no}`,
      `${grouped(rows)} rows hashed again, root ${root}, the ledger balances`,
    ];
    return {
      json: { data: project.dataDirectory, commit_no: manifest.commit_no, rows, root },
      text: lines.join("\n"),
    };
  },
};
