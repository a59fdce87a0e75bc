import { throughServer } from "../../runtime/beside.ts";
import { withEngine } from "../../runtime/engine.ts";
import { eraseFrom, planErasureOf, receiptAgain, type SignedReceipt } from "../../runtime/erase.ts";
import { type Command, type Input, PROJECT_FLAGS } from "../command.ts";
import { cliErrors } from "../errors.ts";
import { grouped, locationOf, table } from "../project.ts";

/** Where a running server erases. */
const ERASURES_PATH = "/v1/erasures";

export const erase: Command = {
  name: "erase",
  summary:
    "erase an entity from every stream, for good, with a signed receipt, also while a server runs; redelivery does not bring it back",
  flags: {
    ...PROJECT_FLAGS,
    entity: { kind: "list", describe: "what names it: field=value (repeatable; all must hold)" },
    ahead: { kind: "switch", describe: "also where nothing of it is stored: rows of it that come later are dropped" },
    receipt: {
      kind: "switch",
      describe: "give the receipt of an erasure that was done before once more, and change nothing",
    },
    "dry-run": { kind: "switch", describe: "say what would be erased, and change nothing" },
  },
  async run(world, input) {
    const entity = entityOf(input);
    if (input.on("dry-run")) {
      return withEngine(world, locationOf(input), "read", async (engine) => {
        const streams = await planErasureOf(engine, entity);
        const total = Object.values(streams).reduce((sum, { emptied, replaced }) => sum + emptied + replaced, 0);
        const refused =
          total > 0 || input.on("ahead") ? [] : ["nothing of it is stored: without --ahead it is refused"];
        const lines = [`${grouped(total)} rows would be erased; nothing was changed`, ...refused, ...rowsOf(streams)];
        return { json: { dry_run: true, streams }, text: lines.join("\n") };
      });
    }
    if (input.on("receipt")) {
      const given = await withEngine(world, locationOf(input), "read", (engine) => receiptAgain(engine, entity));
      return { json: given, text: said(given).join("\n") };
    }
    const ahead = input.on("ahead");
    const receipt = await throughServer(world, locationOf(input), ERASURES_PATH, { entity, ahead }, (engine) =>
      eraseFrom(engine, entity, ahead),
    );
    return { json: receipt, text: said(receipt).join("\n") };
  },
};

function entityOf(input: Input): Readonly<Record<string, string>> {
  const given = input.list("entity").map((text) => {
    const at = text.indexOf("=");
    if (at > 0) return [text.slice(0, at), text.slice(at + 1)] as const;
    throw cliErrors.error("bad_usage", `--entity is "${text}", which is not field=value`, { place: "mlpe erase" });
  });
  if (given.length === 0) throw cliErrors.error("bad_usage", "--entity is missing", { place: "mlpe erase" });
  const twice = given.find(([field], i) => given.findIndex(([other]) => other === field) !== i);
  if (twice) {
    const fix = "Erase one entity after the other: all of the fields that are given must hold.";
    throw cliErrors.error("bad_usage", `--entity names ${twice[0]} twice`, { place: "mlpe erase", fix });
  }
  return Object.fromEntries(given);
}

function rowsOf(streams: SignedReceipt["streams"]): string[] {
  const rows = Object.entries(streams).map(([stream, { emptied, replaced }]) => [
    stream,
    grouped(emptied),
    grouped(replaced),
  ]);
  return rows.length === 0 ? [] : ["", table(["stream", "emptied", "in part"], rows)];
}

function said(receipt: SignedReceipt) {
  const { commit_no, emptied, replaced, guessable, scrubbed, streams, tree, beyond, verifier_key, signature } = receipt;
  return [
    `commit ${commit_no}: ${grouped(emptied)} rows erased, ${grouped(replaced)} more in part`,
    ...(emptied + replaced > 0 ? [] : ["nothing of it is stored; rows of it that come from now on are dropped"]),
    ...rowsOf(streams),
    "",
    ...(!guessable ? [] : [`${grouped(guessable)} of them are of an earlier version: see guessable in --json`]),
    ...(scrubbed ? [] : ["a reader held the database: the next start overwrites its unused places"]),
    ...beyond,
    ...backupsOf(receipt),
    `audit tree: ${tree.size} commits, root ${tree.root}`,
    `verifier key ${verifier_key}`,
    `signature ${signature}`,
  ];
}

const BACKUPS_SHOWN = 20;

/** The newest that hold the entity; `--json` has all. */
function backupsOf({ backups }: SignedReceipt): string[] {
  return backups.slice(-BACKUPS_SHOWN).map(({ number, backup, at, commit_no }) => {
    const reach = commit_no === null ? "of which only the begin is known" : `up to commit ${commit_no}`;
    return `  backup ${number} of ${new Date(at / 1_000).toISOString()}, ${reach}: ${backup}`;
  });
}
