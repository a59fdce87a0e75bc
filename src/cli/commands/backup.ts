import { restoreBackup } from "../../runtime/backup.ts";
import { withEngine } from "../../runtime/engine.ts";
import { absolute, openProject } from "../../runtime/project.ts";
import { writeBackup } from "../../store/backup.ts";
import { type Command, PROJECT_FLAGS, requireText } from "../command.ts";
import { cliErrors } from "../errors.ts";
import { grouped, locationOf } from "../project.ts";

export const backup: Command = {
  name: "backup",
  summary: "copy the sealed log into one file while everything goes on; the key file is not in it",
  flags: { ...PROJECT_FLAGS, out: { kind: "text", describe: "the archive; an existing file is not overwritten" } },
  async run(world, input) {
    const out = absolute(world, requireText(backup, input, "out"));
    if (await world.files.exists(out)) throw cliErrors.error("output_exists", `${out} exists`, { place: out });
    return withEngine(world, locationOf(input), "read", async ({ store }) => {
      const { commit_no, files, store_id } = writeBackup(store, out);
      const bytes = files.reduce((sum, file) => sum + file.bytes, 0);
      const lines = [
        `${out}: everything up to commit ${commit_no}, ${files.length} files, ${grouped(bytes)} bytes, read again`,
        "The key file is not in it: without a copy of the key, kept elsewhere, the backup can't be opened.",
      ];
      return { json: { file: out, commit_no, store_id, files: files.length, bytes }, text: lines.join("\n") };
    });
  },
};

export const restore: Command = {
  name: "restore",
  summary: "make the data directory from a backup, which must prove itself first: digests, key, audit tree, ledger",
  flags: { ...PROJECT_FLAGS, from: { kind: "text", describe: "the archive that `mlpe backup` wrote" } },
  async run(world, input) {
    const from = absolute(world, requireText(restore, input, "from"));
    const project = await openProject(world, locationOf(input));
    const { manifest, rows, root } = await restoreBackup(world, project, from);
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
