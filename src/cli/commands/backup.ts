import type { MlpeError } from "../../base/errors.ts";
import type { World } from "../../base/world.ts";
import { restoreBackup } from "../../runtime/backup.ts";
import { type RecordedBackup, recordBackup } from "../../runtime/backups.ts";
import { absolute, openProject } from "../../runtime/project.ts";
import { type BackupManifest, besideStore, openBackup, writeBackup } from "../../store/backup.ts";
import { temporaryOf } from "../../store/leftovers.ts";
import { type Command, type Input, type Outcome, PROJECT_FLAGS } from "../command.ts";
import { cliErrors, EXIT_NO } from "../errors.ts";
import { grouped, locationOf, newFile } from "../project.ts";

const DAMAGE_SHOWN_MAX = 20;
const DAMAGED = `THE DATA DIRECTORY IS DAMAGED, AND SO IS THIS BACKUP: \`mlpe restore\` refuses it. Keep the backups made before.`;

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
    const out = await newFile(world, input, named);
    const damaged: MlpeError[] = [];
    const done = await recordBackup(world, locationOf(input), "file", async (store) => ({
      manifest: await goneWhenStopped(world, out, () => writeBackup(store, out, (one) => damaged.push(one))),
    }));
    const json = { file: out, ...summaryOf(done, damaged) };
    return { json, text: textOf(json, "read again"), exit: damaged.length > 0 ? EXIT_NO : 0 };
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
  const damaged: MlpeError[] = [];
  const done = await recordBackup(world, locationOf(input), "pipe", async (store) => {
    const opened = await goneWhenStopped(world, besideStore(store), () =>
      openBackup(store, undefined, (one) => damaged.push(one)),
    );
    try {
      for (const part of opened.parts()) await world.write(part);
    } finally {
      opened.close();
    }
    return opened;
  });
  const json = { file: "-", ...summaryOf(done, damaged) };
  world.warn(input.on("json") ? JSON.stringify(json) : textOf(json, "each as its digest says"));
  return { json, text: "", printed: true, exit: damaged.length > 0 ? EXIT_NO : 0 };
}

function summaryOf(
  { made, backup, unrecorded }: RecordedBackup<{ readonly manifest: BackupManifest }>,
  damaged: readonly MlpeError[],
) {
  const { commit_no, files, store_id } = made.manifest;
  const bytes = files.reduce((sum, file) => sum + file.bytes, 0);
  const missing =
    unrecorded === undefined ? {} : { unrecorded: { code: unrecorded.code, message: unrecorded.message } };
  const hurt = damaged.length === 0 ? {} : { damaged: damaged.map(({ message }) => message) };
  return { commit_no, store_id, files: files.length, bytes, backup: backup ?? null, ...missing, ...hurt };
}

function textOf(said: ReturnType<typeof summaryOf> & { file: string }, checked: string) {
  const { file, commit_no, files, bytes, backup, unrecorded, damaged = [] } = said;
  const where = file === "-" ? "standard output" : file;
  const what = backup === null ? "The log could not record this backup" : "The log records its begin alone";
  return [
    `${where}: everything up to commit ${commit_no}, ${files} files, ${grouped(bytes)} bytes, ${checked}`,
    "The key file is not in it: without a copy of the key, kept elsewhere, the backup can't be opened.",
    unrecorded === undefined
      ? `The log records it as backup ${backup}.`
      : `${what} (${unrecorded.message}): note its date, for receipts of erasures can't name it in full.`,
    ...damaged.slice(0, DAMAGE_SHOWN_MAX),
    ...(damaged.length > DAMAGE_SHOWN_MAX ? [`and ${damaged.length - DAMAGE_SHOWN_MAX} more segments`] : []),
    ...(damaged.length > 0 ? [DAMAGED] : []),
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
