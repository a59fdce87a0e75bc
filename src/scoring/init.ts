import { sha256Hex } from "../base/digest.ts";
import type { Row } from "../base/row.ts";
import type { Manifest } from "../contract/model_package.ts";
import type { FeatureField, ViewShape } from "../contract/streams.ts";
import { scoringErrors } from "./errors.ts";
import { checkOnnx } from "./onnx_check.ts";
import { MANIFEST_FILE, parseManifest } from "./package.ts";
import type { Engine, TensorInfo } from "./tensor.ts";
import { scoreRows } from "./tensors.ts";

export interface InitOptions {
  readonly name: string;
  /** Default `1.0.0`. */
  readonly version?: string;
  readonly viewDigest: string;
  /** Which features the model takes, in the order it was trained on. Default all of the view's, in its order. */
  readonly features?: readonly string[];
  /** The output that holds the score, where it can't be told. */
  readonly output?: string;
  /** The column of that output. */
  readonly column?: number;
  readonly label?: Manifest["label"];
  readonly training?: Manifest["training"];
}

const WHOLE = new Set(["boolean", "int", "long"]);
const isText = ({ type }: FeatureField) => type === "string" || type === "enum";
const isNumber = ({ type }: FeatureField) => WHOLE.has(type) || type === "float" || type === "double";

/**
 * A manifest for an ONNX model trained on a view: inputs named like a feature take that feature; the others take the
 * remaining features of their kind (numbers, text) in the view's order. What can't be told is `scoring.graph_mismatch`,
 * which says what to name. `files` lists the model only; `initPackage` completes it.
 */
export function initManifest(onnx: Uint8Array, shape: ViewShape, options: InitOptions): Manifest {
  const graph = checkOnnx(onnx);
  const digest = sha256Hex(onnx);
  const manifest = {
    manifest: "mlpe.model/v1",
    name: options.name,
    version: options.version ?? "1.0.0",
    model: {
      file: "model.onnx",
      sha256: digest,
      format: "onnx",
      opset: graph.opsets["ai.onnx"] ?? 1,
      ...(graph.producer === "" ? {} : { made_with: { producer: graph.producer } }),
    },
    view: { name: shape.view, digest: options.viewDigest },
    inputs: readInputs(graph.inputs, wantedFeatures(shape, options.features)),
    outputs: graph.outputs.map(({ name, datatype, shape }) => ({ name, datatype, shape: [...shape] })),
    score: readScore(graph.outputs, options),
    ...(options.label === undefined ? {} : { label: options.label }),
    ...(options.training === undefined ? {} : { training: options.training }),
    files: { "model.onnx": `sha256:${digest}` },
  };
  return parseManifest(JSON.stringify(manifest));
}

/** How far a score on another processor may be from the golden one. */
const TOLERANCE = { atol: 1e-6, rtol: 1e-5 };

/**
 * The files of a whole package: the model, its manifest, and golden rows made of sample rows of the training set with the
 * scores that this engine gives, so that later hosts and versions are held to them. Rows the model refuses are left out.
 */
export function initPackage(
  onnx: Uint8Array,
  shape: ViewShape,
  options: InitOptions,
  samples: readonly Row[],
  engine: Engine,
): Map<string, Uint8Array> {
  const draft = initManifest(onnx, shape, options);
  const files = new Map([["model.onnx", onnx]]);
  const session = engine.open(onnx);
  let golden: readonly string[];
  try {
    const { scores } = scoreRows({ manifest: draft, session }, samples);
    const used = new Set(draft.inputs.flatMap(({ features }) => features.map(({ name }) => name)));
    golden = samples.flatMap((row, i) => {
      if (scores[i] === null) return [];
      const features = Object.fromEntries([...used].map((name) => [name, row[name] ?? null]));
      return [JSON.stringify({ features, score: scores[i] })];
    });
  } finally {
    session.dispose();
  }
  if (golden.length > 0) files.set("golden.jsonl", new TextEncoder().encode(`${golden.join("\n")}\n`));
  const manifest: Manifest = {
    ...draft,
    ...(golden.length === 0 ? {} : { golden: { file: "golden.jsonl", rows: golden.length, ...TOLERANCE } }),
    files: Object.fromEntries([...files].map(([path, bytes]) => [path, `sha256:${sha256Hex(bytes)}`])),
  };
  return files.set(MANIFEST_FILE, new TextEncoder().encode(`${JSON.stringify(manifest, null, 2)}\n`));
}

function wantedFeatures(shape: ViewShape, names: readonly string[] | undefined): FeatureField[] {
  if (names === undefined) return [...shape.features];
  return names.map((name) => {
    const feature = shape.features.find((candidate) => candidate.name === name);
    if (feature) return feature;
    const known = shape.features.map((candidate) => candidate.name).join(", ");
    throw mismatch(`the view "${shape.view}" has no feature "${name}"; it has ${known}`, "features");
  });
}

type Input = Manifest["inputs"][number];

function readInputs(inputs: readonly TensorInfo[], features: readonly FeatureField[]): Input[] {
  const named = new Map(inputs.map((input) => [input.name, features.find(({ name }) => name === input.name)]));
  const left = features.filter((feature) => !named.has(feature.name));
  return inputs.map((input): Input => {
    const own = named.get(input.name);
    const taken = own ? [own] : takeFeatures(input, left);
    const shape = input.shape.length === 1 ? [-1] : [-1, taken.length];
    return {
      name: input.name,
      datatype: input.datatype as Input["datatype"],
      shape,
      features: taken.map(({ name }) => ({ name, null: nullPolicy(input) })),
    };
  });
}

/** Numbers that may be missing become NaN; what has no NaN is refused. */
const nullPolicy = ({ datatype }: TensorInfo) => (datatype === "FP32" || datatype === "FP64" ? "nan" : "reject");

function takeFeatures(input: TensorInfo, left: FeatureField[]): FeatureField[] {
  const fitting = left.filter(input.datatype === "BYTES" ? isText : isNumber);
  const width = input.shape.length === 1 ? 1 : (input.shape[1] ?? -1);
  if (input.shape.length > 2) throw mismatch(`input "${input.name}" has the shape [${input.shape}]`, input.name);
  if (width !== -1 && width !== fitting.length) {
    const kind = input.datatype === "BYTES" ? "text" : "number";
    const names = fitting.map(({ name }) => name).join(", ") || "none";
    const message = `input "${input.name}" takes ${width} columns and the view has ${fitting.length} ${kind} features: ${names}`;
    throw mismatch(message, input.name);
  }
  for (const feature of fitting) left.splice(left.indexOf(feature), 1);
  return fitting;
}

function readScore(outputs: readonly TensorInfo[], options: InitOptions): Manifest["score"] {
  const real = outputs.filter(({ datatype }) => datatype === "FP32" || datatype === "FP64");
  const likely = real.filter(({ name }) => /prob/i.test(name));
  const found =
    options.output === undefined
      ? (likely[0] ?? (real.length === 1 ? real[0] : undefined))
      : outputs.find(({ name }) => name === options.output);
  if (!found) {
    const names = outputs.map(({ name, datatype }) => `${name} (${datatype})`).join(", ");
    throw mismatch(`it can't be told which output is the score: ${names}`, "outputs", "Name it with --output.");
  }
  const width = found.shape.length === 2 ? found.shape[1]! : 1;
  const probability = likely.includes(found) || width === 2;
  if (width > 2 && options.column === undefined) {
    throw mismatch(`output "${found.name}" has ${width} columns`, found.name, "Name the score's with --column.");
  }
  const column = options.column ?? (probability && width !== 1 ? 1 : 0);
  return {
    name: probability ? `p_${options.label?.name ?? "positive"}` : "score",
    output: found.name,
    column,
    type: probability ? "probability" : "number",
    ...(probability ? { threshold: 0.5 } : {}),
  };
}

const mismatch = (message: string, place: string, fix?: string) =>
  scoringErrors.error("graph_mismatch", message, {
    place,
    fix: fix ?? "Name the features in the order the model was trained on: --features a,b,c",
  });
