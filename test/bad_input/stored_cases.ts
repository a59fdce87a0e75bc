import { systemRandom } from "../../src/base/random.ts";
import { generateSigningKey } from "../../src/delivery/sign.ts";
import type { Case } from "./case.ts";
import { edited, must, onnx, type PackageDraft, READINGS, writePackage } from "./project.ts";

const asked = (name: string, run: readonly string[], exit: number, code: string, ...says: readonly string[]): Case => ({
  name,
  run,
  exit,
  code,
  says,
});

/** Promotes a signed package that is spoiled in one way. */
const packaged = (name: string, draft: PackageDraft, exit: number, code: string, ...says: readonly string[]): Case => ({
  name: `a package ${name}`,
  async spoil(desk) {
    await writePackage(desk, "other", { version: "2.0.0", ...draft });
    await desk.run("model", "sign", "other", "--key", "private.pem"); // which may refuse it already
  },
  run: ["promote", "load", "other"],
  exit,
  code,
  says,
});

type Draft = Record<string, never>;
const inputsOf = (manifest: Record<string, unknown>) =>
  manifest.inputs as { datatype: string; features: { name: string }[] }[];

/** A signed package of which something is changed afterwards. */
const altered = (
  name: string,
  exit: number,
  code: string,
  says: readonly string[],
  change: NonNullable<Case["spoil"]>,
): Case => ({
  name: `a package ${name}`,
  async spoil(desk) {
    await writePackage(desk, "other", { version: "2.0.0" });
    await must(desk, "model", "sign", "other", "--key", "private.pem");
    await change(desk);
  },
  run: ["promote", "load", "other"],
  exit,
  code,
  says,
});

/** Of a project that has run, with a live model: what is asked for is not there, or may not be. */
export const storedCases: readonly Case[] = [
  asked("an unknown command", ["ingset"], 64, "cli.unknown_command", "ingset", "mlpe ingest"),
  asked("half a command", ["views", "exprt"], 64, "cli.unknown_command", "views exprt", "views export"),
  asked("an unknown flag", ["ingest", "--fast"], 64, "cli.bad_usage", "--fast", "mlpe ingest"),
  asked("a flag without its value", ["validate", "--config"], 64, "cli.bad_usage", "--config"),
  asked("a missing argument", ["promote", "load"], 64, "cli.bad_usage", "mlpe promote", "package directory"),
  asked("a missing flag", ["views", "export", "load"], 64, "cli.bad_usage", "--out"),
  asked(
    "no number",
    ["views", "export", "load", "--out", "t.parquet", "--cutoff", "soon"],
    64,
    "cli.bad_usage",
    "--cutoff",
    "soon",
  ),
  asked("a number below zero", ["query", "select 1", "--rows=-1"], 64, "cli.bad_usage", "--rows", "-1"),
  asked("half a number", ["lineage", "--limit", "1.5"], 64, "cli.bad_usage", "--limit", "1.5"),
  asked("an unknown format", ["query", "select 1", "--format", "xml"], 64, "cli.bad_usage", "--format", "xml"),
  asked(
    "an output below a file",
    ["views", "export", "load", "--out", "readings.csv/t.parquet"],
    69,
    "cli.not_written",
    "readings.csv/t.parquet",
  ),
  asked("a server beyond this machine", ["run", "--host", "0.0.0.0"], 78, "config.not_loopback", "listen.host"),
  asked("a port that can't be", ["run", "--port", "99999"], 78, "config.bad_value", "listen.port", "99999"),
  asked(
    "no instant",
    ["views", "export", "load", "--out", "t.parquet", "--from", "yesterday"],
    64,
    "cli.bad_usage",
    "--from",
    "yesterday",
  ),
  asked(
    "a local time where an instant belongs",
    ["score", "load", "--from", "2024-01-01T10:00"],
    64,
    "cli.bad_usage",
    "--from",
  ),
  asked("a word too many", ["ingest", "everything"], 64, "cli.bad_usage", "everything", "mlpe ingest"),
  asked(
    "an unknown view",
    ["views", "export", "laod", "--out", "t.parquet"],
    66,
    "runtime.unknown_view",
    "laod",
    "load",
  ),
  asked(
    "an empty period",
    ["views", "export", "load", "--out", "t.parquet", "--from", "2030-01-01"],
    66,
    "views.empty_set",
    "load",
  ),
  asked(
    "a cutoff before the first commit",
    ["views", "export", "load", "--out", "t.parquet", "--known-by", "2001-01-01"],
    65,
    "fusion.before_first_commit",
    "2001",
  ),
  asked(
    "a commit that is not there yet",
    ["views", "export", "load", "--out", "t.parquet", "--cutoff", "99999"],
    64,
    "cli.bad_usage",
    "99999",
    "--cutoff",
  ),
  asked("an unknown entity", ["views", "explain", "load", "--entity", "sensor=s9"], 66, "views.no_such_row", "s9"),
  asked(
    "an entity without its key",
    ["views", "explain", "load", "--entity", "s1"],
    64,
    "cli.bad_usage",
    "--entity",
    "sensor",
  ),
  asked("an unknown model", ["score", "laod"], 66, "runtime.unknown_model", "laod", "load"),
  asked("performance of an unknown model", ["performance", "laod"], 66, "runtime.unknown_model", "laod"),
  asked("rollback of an unknown model", ["rollback", "laod"], 66, "runtime.unknown_model", "laod"),
  asked(
    "a query that changes something",
    ["query", "delete from curated_readings"],
    77,
    "store.query_refused",
    "DELETE",
  ),
  asked("two queries", ["query", "select 1; select 2"], 77, "store.query_refused"),
  asked("a query that is no SQL", ["query", "selct 1"], 65, "store.query_invalid", "query:1"),
  asked(
    "a query of an unknown table",
    ["query", "select * from no_such_table"],
    66,
    "store.unknown_table",
    "no_such_table",
  ),
  asked(
    "a query of an unknown column",
    ["query", 'select no_such_column from "curated/readings"'],
    65,
    "store.query_invalid",
    "no_such_column",
  ),
  asked("a query in several words", ["query", "select", "1"], 64, "cli.bad_usage", "quotes"),
  asked(
    "replay of an unknown score",
    ["replay", "00000000-0000-7000-8000-000000000000"],
    66,
    "scoring.score_missing",
    "00000000-0000-7000-8000-000000000000",
  ),
  asked("replay of nothing", ["replay"], 64, "cli.bad_usage", "score id"),
  asked("promotion of what is live", ["promote", "load", "package"], 73, "delivery.already_live", "load"),
  asked("a rollback with nothing to roll back to", ["rollback", "load"], 73, "delivery.nothing_to_roll_back", "load"),
  asked("a rollforward with nothing to undo", ["rollforward", "load"], 73, "delivery.nothing_to_roll_forward", "load"),
  asked("a package that is absent", ["promote", "load", "nowhere"], 66, "runtime.no_package", "nowhere"),
  asked(
    "a key pair over an old one",
    ["model", "keygen", "--private", "private.pem", "--public", "p.pem"],
    77,
    "cli.output_exists",
    "private.pem",
  ),
  asked("signing without a key", ["model", "sign", "package"], 64, "cli.bad_usage", "--key"),
  asked(
    "signing with what is no key",
    ["model", "sign", "package", "--key", "readings.csv"],
    65,
    "delivery.bad_key",
    "key",
  ),
  asked("drift without a profile", ["drift", "load"], 66, "runtime.no_profile", "reference"),
  asked("an unknown error code", ["errors", "cli.nothing"], 64, "cli.bad_usage", "cli.nothing"),
  asked(
    "a contract of a file that is absent",
    ["contract", "infer", "nowhere.csv"],
    66,
    "cli.no_such_file",
    "nowhere.csv",
  ),
  asked("a checkpoint that is none", ["audit", "verify", "--checkpoint", "readings.csv"], 65, "audit.bad_checkpoint"),
  asked("Parquet into a pipe", ["export", "load", "--out", "-"], 64, "cli.bad_usage", "mlpe tap"),
  asked("a word of SQL as a table", ["query", "select 1 from all"], 65, "store.query_invalid", "double quotes"),
  {
    name: "another key for the same data",
    spoil: (desk) => desk.write("key", new Uint8Array(32).fill(7), 0o600),
    run: ["streams"],
    exit: 77,
    code: "keys.wrong_key",
    says: ["key"],
  },
  {
    name: "data without its key",
    spoil: (desk) => desk.world.files.removeDirectory(desk.path("key")),
    run: ["streams"],
    exit: 66,
    code: "keys.missing_key",
    says: ["key"],
  },
  packaged("trained on another view", { viewName: "other" }, 77, "scoring.view_mismatch", "other"),
  packaged(
    "trained on another version of the view",
    { viewDigest: `sha256:${"0".repeat(64)}` },
    77,
    "scoring.view_mismatch",
    "model.json",
    "view.digest",
  ),
  packaged("with a feature the view lacks", { features: ["a", "b", "z"] }, 77, "scoring.view_mismatch", "z"),
  packaged("with tensors in other files", { model: onnx("external.onnx") }, 77, "scoring.external_data", "model.onnx"),
  packaged(
    "that is no ONNX",
    { model: new TextEncoder().encode("no model at all") },
    65,
    "scoring.not_onnx",
    "model.onnx",
  ),
  packaged(
    "with an operator of its own",
    { model: onnx("custom_domain.onnx") },
    77,
    "scoring.operator_refused",
    "model.onnx",
  ),
  packaged("with chance in the graph", { model: onnx("random.onnx") }, 77, "scoring.operator_refused", "model.onnx"),
  packaged("that answers a map", { model: onnx("zipmap.onnx") }, 65, "scoring.not_a_tensor", "zipmap"),
  packaged(
    "with an output beyond any memory",
    { model: onnx("huge_output.onnx") },
    65,
    "scoring.model_too_large",
    "model.onnx",
    "big",
  ),
  packaged(
    "that names a file outside",
    { manifest: (manifest) => ((manifest.files as Draft)["../secret" as never] = `sha256:${"0".repeat(64)}` as never) },
    77,
    "scoring.package_path",
    "../secret",
  ),
  packaged(
    "that lacks a file it names",
    { manifest: (manifest) => ((manifest.files as Draft)["card.md" as never] = `sha256:${"0".repeat(64)}` as never) },
    65,
    "scoring.package_missing_file",
    "card.md",
  ),
  packaged(
    "with an unknown key in its manifest",
    { manifest: (manifest) => (manifest.colour = "blue") },
    65,
    "scoring.manifest_invalid",
    "model.json",
    "colour",
  ),
  packaged(
    "with another datatype than the graph",
    { manifest: (manifest) => (inputsOf(manifest)[0]!.datatype = "INT64") },
    65,
    "scoring.graph_mismatch",
    "inputs",
  ),
  packaged(
    "with fewer features than the graph",
    { manifest: (manifest) => inputsOf(manifest)[0]!.features.pop() },
    65,
    "scoring.graph_mismatch",
    "inputs",
  ),
  altered("with a changed file", 74, "scoring.package_digest", ["golden.jsonl"], (desk) =>
    desk.write("other/golden.jsonl", '{"features":{"a":1,"b":2,"c":3},"score":322}'),
  ),
  altered("with a file that its manifest does not list", 65, "scoring.package_unlisted", ["notes.txt"], (desk) =>
    desk.write("other/notes.txt", "x"),
  ),
  altered("with a manifest that is no JSON", 65, "scoring.manifest_invalid", ["model.json"], (desk) =>
    desk.write("other/model.json", "{"),
  ),
  altered("without a manifest", 66, "runtime.no_package", ["other"], (desk) =>
    desk.world.files.removeDirectory(desk.path("other/model.json")),
  ),
  altered("without a signature", 1, "delivery.unsigned", ["signature"], (desk) =>
    desk.world.files.removeDirectory(desk.path("other/signature.json")),
  ),
  altered("with a signature that is none", 1, "delivery.bad_signature", ["load 2.0.0"], (desk) =>
    desk.write("other/signature.json", "{}"),
  ),
  altered("with the signature of another package", 1, "delivery.wrong_digest", ["load 2.0.0"], async (desk) =>
    desk.write("other/signature.json", await desk.world.files.read(desk.path("package/signature.json"))),
  ),
  altered("signed by a stranger", 1, "delivery.untrusted_signer", ["load 2.0.0"], async (desk) => {
    desk.write("stranger.pem", generateSigningKey(systemRandom).privatePem);
    await must(desk, "model", "sign", "other", "--key", "stranger.pem");
  }),
  {
    name: "a package whose golden rows do not hold",
    async spoil(desk) {
      await writePackage(desk, "other", { version: "2.0.0", golden: 999 });
      await must(desk, "model", "sign", "other", "--key", "private.pem");
    },
    run: ["promote", "load", "other"],
    exit: 1,
    code: "delivery.smoke_failed",
    says: ["999"],
  },
  {
    name: "a trusted key that is none",
    async spoil(desk) {
      await writePackage(desk, "other", { version: "2.0.0" });
      await must(desk, "model", "sign", "other", "--key", "private.pem");
      desk.write("public.pem", "no key");
    },
    run: ["promote", "load", "other"],
    exit: 65,
    code: "delivery.bad_key",
    says: ["trust[0]", "public.pem"],
  },
  {
    name: "a live package whose view was changed since",
    spoil: (desk) => desk.write("mlpe.yaml", edited("a: temperature", "a: temperature + 1")),
    run: ["score", "load"],
    exit: 77,
    code: "scoring.view_mismatch",
    says: ["model.json", "view"],
  },
  {
    name: "a contract that changed under stored rows",
    spoil: (desk) => desk.write("readings.avsc", JSON.stringify(READINGS).replace('"temperature"', '"warmth"')),
    run: ["validate"],
    exit: 65,
    code: "expression.unknown_column",
    says: ["views.load.features.a", "temperature"],
  },
];
