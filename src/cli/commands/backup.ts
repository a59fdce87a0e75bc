import type { World } from "../../base/world.ts";
import { restoreBackup } from "../../runtime/backup.ts";
import { type RecordedBackup, recordBackup } from "../../runtime/backups.ts";
import { absolute, openProject } from "../../runtime/project.ts";
import { type BackupManifest, besideStore, openBackup, writeBackup } from "../../store/backup.ts";
import { temporaryOf } from "../../store/leftovers.ts";
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
    if (named === "-") return pipeBackup(world, input);
    const out = absolute(world, named);
    if (await world.files.exists(out)) throw cliErrors.error("output_exists", `${out} exists`, { place: out });
    const done = await recordBackup(world, locationOf(input), "file", async (store) => ({
      manifest: await goneWhenStopped(world, out, () => writeBackup(store, out)),
    }));
    const json = { file: out, ...summaryOf(done) };
    return { json, text: textOf(json, "read again") };
  },
};

/** A signal takes what is made meanwhile away, and ends the process. */
async function goneWhenStopped<Made>({ files }: World, out: string, make: () => Promise<Made>): Promise<Made> {
  const unwatch = files.removedWhenStopped(temporaryOf(out));
  try {
    return await make();
  } finally {
    unwatch();
  }
}

/** To standard output, where it can't be read again; what is said of it goes to standard error. */
async function pipeBackup(world: World, input: Input): Promise<Outcome> {
  const done = await recordBackup(world, locationOf(input), "pipe", async (store) => {
    const opened = await goneWhenStopped(world, besideStore(store), () => openBackup(store));
    try {
      for (const part of opened.parts()) await world.write(part);
    } finally {
      opened.close();
    }
    return opened;
  });
  const json = { file: "-", ...summaryOf(done) };
  world.warn(input.on("json") ? JSON.stringify(json) : textOf(json, "each as its digest says"));
  return { json, text: "", printed: true };
}

function summaryOf({ made, backup, unrecorded }: RecordedBackup<{ readonly manifest: BackupManifest }>) {
  const { commit_no, files, store_id } = made.manifest;
  const bytes = files.reduce((sum, file) => sum + file.bytes, 0);
  const missing =
    unrecorded === undefined ? {} : { unrecorded: { code: unrecorded.code, message: unrecorded.message } };
  return { commit_no, store_id, files: files.length, bytes, backup: backup ?? null, ...missing };
}

function textOf(said: ReturnType<typeof summaryOf> & { file: string }, checked: string) {
  const { file, commit_no, files, bytes, backup, unrecorded } = said;
  const where = file === "-" ? "standard output" : file;
  const what = backup === null ? "The log could not record this backup" : "The log records its begin alone";
  return [
    `${where}: everything up to commit ${commit_no}, ${files} files, ${grouped(bytes)} bytes, ${checked}`,
    "The key file is not in it: without a copy of the key, kept elsewhere, the backup can't be opened.",
    unrecorded === undefined
      ? `The log records it as backup ${backup}.`
      : `${what} (${unrecorded.message}): note its date, for receipts of erasures can't name it in full.`,
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
