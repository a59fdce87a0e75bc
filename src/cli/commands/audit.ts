import { checkpoint, verifierKey } from "../../audit/checkpoint.ts";
import { verifyAudit } from "../../audit/verify.ts";
import { withEngine } from "../../runtime/engine.ts";
import { absolute } from "../../runtime/project.ts";
import { type Command, PROJECT_FLAGS } from "../command.ts";
import { cliErrors, EXIT_NO } from "../errors.ts";
import { grouped, locationOf } from "../project.ts";

/** Findings that a person is shown; --json has them all. */
const SHOWN_MAX = 20;

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
    return withEngine(world, locationOf(input), "read", async ({ store }) => {
      const report = verifyAudit(store, kept === undefined ? {} : { checkpoint: kept });
      const checked = `${grouped(report.size)} commits, ${grouped(report.rows)} rows hashed again`;
      const root = `root ${report.root}`;
      const held = kept === undefined ? [] : ["the log goes on from the checkpoint"];
      const problems = report.problems.slice(0, SHOWN_MAX).map(({ place, message }) => `${place}: ${message}`);
      const more = report.problems.length > SHOWN_MAX ? [`and ${report.problems.length - SHOWN_MAX} more`] : [];
      const good = [checked, root, ...held, "nothing was changed"];
      const bad = [checked, ...problems, ...more, "THE LOG WAS CHANGED"];
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
      const out = absolute(world, input.text("out")!);
      if (await world.files.exists(out)) throw cliErrors.error("output_exists", `${out} exists`, { place: out });
      await world.files.write(out, note);
      return { json: { ...json, file: out }, text: `${out}\nverifier key ${json.verifier_key}` };
    }),
};
