import type { World } from "../../base/world.ts";
import { type InitialPackage, initModel } from "../../runtime/model_init.ts";
import { runtimePath } from "../../runtime/models.ts";
import { absolute, openProject, type Project, viewNamed } from "../../runtime/project.ts";
import { openEngine as openOrt } from "../../scoring/session.ts";
import { type Command, type Input, PROJECT_FLAGS, requireText } from "../command.ts";
import { cliErrors } from "../errors.ts";
import { grouped, locationOf, progressLine } from "../project.ts";

export const modelInit: Command = {
  name: "model init",
  summary: "make a package of an ONNX model: manifest, golden rows, frozen profile and card, ready to be signed",
  flags: {
    ...PROJECT_FLAGS,
    onnx: { kind: "text", describe: "the model" },
    view: { kind: "text", describe: "the view it was trained on" },
    out: { kind: "text", describe: "the directory to make" },
    training: {
      kind: "text",
      describe: "the Parquet file it was trained on, as `views export` wrote it, with its manifest beside it",
    },
    name: { kind: "text", describe: "the model's name; default the config's model of that view" },
    version: { kind: "text", describe: "its version", default: "1.0.0" },
    features: { kind: "text", describe: "the features in the order it was trained on: a,b,c; default the view's" },
    output: { kind: "text", describe: "the graph's output that holds the score, where it can't be told" },
    "min-labelled": {
      kind: "number",
      describe: "labelled requests that a later promotion needs to compare it on; default 2000",
    },
    column: { kind: "number", describe: "the score's column of that output, from 0" },
  },
  async run(world, input) {
    const [onnxPath, view, outText] = ["onnx", "view", "out"].map((flag) => requireText(modelInit, input, flag));
    const out = absolute(world, outText!);
    if (await world.files.exists(out)) {
      throw cliErrors.error("output_exists", `${out} exists`, {
        place: out,
        fix: "Name another directory, or remove it first.",
      });
    }
    const project = await openProject(world, locationOf(input));
    const plan = viewNamed(project, view!);
    const training = input.text("training");
    const show = progressLine(world);
    const { files, pack } = await initModel(world, openOrt(runtimePath(project)), {
      onnx: await world.files.read(absolute(world, onnxPath!)),
      plan,
      name: nameOf(project, input, view!),
      ...(training === undefined ? {} : { training: absolute(world, training) }),
      ...choicesOf(input),
      tell: (scored, rows) => show(`${grouped(scored)} of ${grouped(rows)} training rows scored`),
    });
    await write(world, out, files);
    const { manifest } = pack;
    const notes = notesOn(pack);
    const json = { directory: out, digest: pack.digest, manifest, notes };
    const inputs = manifest.inputs.map(
      (one) => `  ${one.name} ${one.datatype} [${one.shape}]: ${one.features.map(({ name }) => name).join(", ")}`,
    );
    const { score } = manifest;
    const text = [
      `${manifest.name} ${manifest.version} in ${out}`,
      pack.digest,
      "inputs, in the tensor's order: check that the model was trained on them in this order",
      ...inputs,
      `score  ${score.name} (${score.type}): column ${score.column ?? 0} of ${score.output}`,
      `golden rows ${pack.golden.length}, profile of ${grouped(pack.reference?.rows ?? 0)} training rows`,
      ...notes,
      `Next: complete ${out}/README.md, then \`mlpe model sign ${outText} --key <private key>\`.`,
    ];
    return { json, text: text.join("\n") };
  },
};

function notesOn({ golden, reference }: InitialPackage["pack"]): string[] {
  const notes = [];
  if (reference === null) {
    notes.push(
      "Without --training there are no golden rows and no frozen profile: the smoke gate warns, and drift can't be judged.",
    );
  }
  if (golden.length > 0)
    notes.push(`golden.jsonl holds ${golden.length} training rows in clear: whoever has the package can read them.`);
  return notes;
}

/** `--name`, or the one configured model that reads the view. */
function nameOf(project: Project, input: Input, view: string): string {
  const given = input.text("name");
  if (given !== undefined) return given;
  const models = Object.entries(project.config.models).flatMap(([name, model]) =>
    (model.view ?? name) === view ? [name] : [],
  );
  if (models.length === 1) return models[0]!;
  if (models.length === 0) return view;
  const fix = `Say --name ${models.join(" or --name ")}.`;
  throw cliErrors.error("bad_usage", `several models read the view "${view}"`, { place: "mlpe model init", fix });
}

function choicesOf(input: Input) {
  const features = input.text("features");
  const [version, output, column, minLabelled] = [
    input.text("version"),
    input.text("output"),
    input.number("column"),
    input.number("min-labelled"),
  ];
  return {
    ...(features === undefined ? {} : { features: features.split(",").map((name) => name.trim()) }),
    ...(version === undefined ? {} : { version }),
    ...(output === undefined ? {} : { output }),
    ...(column === undefined ? {} : { column }),
    ...(minLabelled === undefined ? {} : { minLabelled }),
  };
}

async function write(world: World, out: string, files: ReadonlyMap<string, Uint8Array>): Promise<void> {
  // Training rows in clear are for their owner only, as the training set is.
  for (const [path, bytes] of files) {
    await world.files.write(`${out}/${path}`, bytes, path === "golden.jsonl" ? 0o600 : 0o644);
  }
}
