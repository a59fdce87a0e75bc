import { verifyAuditBeside } from "../../audit/beside.ts";
import { checkpoint, readCheckpoint, verifierKey } from "../../audit/checkpoint.ts";
import { inclusionProof } from "../../audit/inclusion.ts";
import { rootFromPath } from "../../audit/proofs.ts";
import { toBase64 } from "../../base/bytes.ts";
import { withEngine } from "../../runtime/engine.ts";
import { runtimePath } from "../../runtime/models.ts";
import { absolute } from "../../runtime/project.ts";
import { damagedRuntimes } from "../../scoring/session_unpacked.ts";
import { type Command, PROJECT_FLAGS, requireWord } from "../command.ts";
import { cliErrors, EXIT_NO } from "../errors.ts";
import { grouped, locationOf, newFile } from "../project.ts";

/** Findings that a person is shown; --json has them all. */
const SHOWN_MAX = 20;

const UNSEEN =
  "whether the last commits are missing shows only with --checkpoint: one made by `mlpe audit checkpoint`, kept elsewhere";

export const auditVerify: Command = {
  name: "audit verify",
  summary: "hash everything stored again and compare it with the audit tree: any changed bit shows",
  flags: {
    ...PROJECT_FLAGS,
    checkpoint: { kind: "text", describe: "a checkpoint kept elsewhere: a directory that was rolled back shows too" },
  },
  async run(world, input) {
    const path = input.text("checkpoint");
    const kept =
      path === undefined ? undefined : new TextDecoder().decode(await world.files.read(absolute(world, path)));
    return withEngine(world, locationOf(input), "read", async ({ store, project }) => {
      const audit = await verifyAuditBeside(store, kept === undefined ? {} : { checkpoint: kept });
      const runtimes = damagedRuntimes(runtimePath(project));
      const problems = [...audit.problems, ...runtimes];
      const report = { ...audit, verified: problems.length === 0, problems };
      const checked = `${grouped(report.size)} commits, ${grouped(report.rows)} rows hashed again`;
      const root = `root ${report.root}`;
      const held = kept === undefined ? [] : ["the log goes on from the checkpoint"];
      const unseen = kept === undefined ? [UNSEEN] : [];
      const shown = problems.slice(0, SHOWN_MAX).map(({ place, message }) => `${place}: ${message}`);
      const more = problems.length > SHOWN_MAX ? [`and ${problems.length - SHOWN_MAX} more`] : [];
      const unchecked = report.unchecked.map((what) => `not compared: ${what}`);
      const good = [checked, root, ...held, "nothing was changed", ...unchecked, ...unseen];
      const changed =
        audit.problems.length > 0 ? "THE LOG WAS CHANGED" : "THE LOG IS AS IT WAS; OTHER FILES WERE CHANGED";
      const bad = [checked, ...shown, ...more, changed];
      return { json: report, text: (report.verified ? good : bad).join("\n"), exit: report.verified ? 0 : EXIT_NO };
    });
  },
};

export const auditCheckpoint: Command = {
  name: "audit checkpoint",
  summary: "print the signed size and root of the audit tree, to be kept elsewhere",
  flags: { ...PROJECT_FLAGS, out: { kind: "text", describe: "write it there, byte for byte" } },
  run: (world, input) =>
    withEngine(world, locationOf(input), "read", async ({ store }) => {
      const note = checkpoint(store);
      const json = { checkpoint: note, verifier_key: verifierKey(store) };
      if (input.text("out") === undefined) return { json, text: note.replace(/\n$/, "") };
      const out = await newFile(world, input, input.text("out")!);
      await world.files.write(out, note);
      return { json: { ...json, file: out }, text: `${out}\nverifier key ${json.verifier_key}` };
    }),
};

export const auditProve: Command = {
  name: "audit prove",
  words: "<commit>",
  summary: "show that a commit is in the audit tree, without showing what it holds: a hash path that anyone can check",
  flags: PROJECT_FLAGS,
  async run(world, input) {
    const word = requireWord(auditProve, input, 0, "the commit number");
    if (!/^\d{1,15}$/.test(word))
      throw cliErrors.error("bad_usage", `"${word}" is no commit number`, { place: "mlpe audit prove" });
    const commit = Number(word);
    return withEngine(world, locationOf(input), "read", async ({ store }) => {
      const note = checkpoint(store);
      const { size, leaf, path } = inclusionProof(store, commit);
      const root = rootFromPath(leaf, commit - 1, size, path);
      const stated = readCheckpoint(note, store);
      // A commit may have come between the two: the proof is then of a tree that the checkpoint does not sign.
      const proven = root !== undefined && stated.size === size && toBase64(root) === toBase64(stated.root);
      const json = { commit, size, leaf: toBase64(leaf), path: path.map(toBase64), checkpoint: note, proven };
      const lines = [`commit ${commit} of ${size}`, `leaf ${json.leaf}`, ...json.path, "", note.trimEnd()];
      const verdict = proven
        ? "the path leads from the leaf to the checkpoint's root"
        : "THE PATH DOES NOT LEAD TO THE CHECKPOINT'S ROOT";
      return { json, text: [...lines, "", verdict].join("\n"), exit: proven ? 0 : EXIT_NO };
    });
  },
};
