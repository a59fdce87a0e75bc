import type { z } from "zod";
import { canonicalJson, sha256Hex } from "../base/digest.ts";
import { MlpeError, type Problem } from "../base/errors.ts";
import type { FieldType } from "../contract/contract.ts";
import {
  type GoldenRow,
  goldenSchema,
  type Manifest,
  manifestSchema,
  type Reference,
  referenceSchema,
  SIGNATURE_FILE,
} from "../contract/model_package.ts";
import type { FeatureField } from "../contract/streams.ts";
import { scoringErrors } from "./errors.ts";
import { checkOnnx, type OnnxInfo } from "./onnx_check.ts";
import type { TensorInfo } from "./tensor.ts";

export const MANIFEST_FILE = "model.json";
/** Signs the package's digest, so it is the one file that the digest leaves out. */

/** A model package, read and checked; nothing of it has been run yet. */
export interface ModelPackage {
  /** `sha256:<hex>` of the canonical JSON of { path: digest } of every file but the signature. */
  readonly digest: string;
  readonly manifest: Manifest;
  readonly model: Uint8Array;
  readonly graph: OnnxInfo;
  readonly golden: readonly GoldenRow[];
  readonly reference: Reference | null;
  readonly card: string | null;
  /** The text of `signature.json`, which `delivery` verifies; null where there is none. */
  readonly signature: string | null;
  readonly files: ReadonlyMap<string, Uint8Array>;
}

interface PackageLimits {
  readonly files: number;
  /** Of all files together. */
  readonly bytes: number;
  readonly goldenRows: number;
}

/** What a package may have at most. */
export const PACKAGE_LIMITS: PackageLimits = { files: 64, bytes: 1 << 29, goldenRows: 10_000 };

/**
 * A package from the files of its directory, by path relative to it with `/` between folders. Every digest, the graph,
 * the golden rows and the reference profile are checked. Throws one MlpeError, which may list several problems.
 */
export function readPackage(files: ReadonlyMap<string, Uint8Array>, limits = PACKAGE_LIMITS): ModelPackage {
  checkPaths(files, limits);
  const manifest = readManifest(files);
  checkFiles(manifest, files);
  const model = fileNamed(files, manifest.model.file, "model.file");
  if (sha256Hex(model) !== manifest.model.sha256.replace("sha256:", "")) {
    const message = `${manifest.model.file} does not have the digest in model.sha256`;
    throw scoringErrors.error("package_digest", message, { place: `${MANIFEST_FILE}: model.sha256` });
  }
  const graph = checkModel(manifest.model.file, model);
  checkGraph(manifest, graph);
  const card = manifest.card === undefined ? null : text(fileNamed(files, manifest.card, "card"));
  const signature = files.get(SIGNATURE_FILE);
  return {
    digest: packageDigest(files),
    manifest,
    model,
    graph,
    golden: readGolden(manifest, files, limits),
    reference: readReference(manifest, files),
    card,
    signature: signature === undefined ? null : text(signature),
    files,
  };
}

/** What is wrong inside the graph, with the file it is in. */
function checkModel(file: string, model: Uint8Array): OnnxInfo {
  try {
    return checkOnnx(model);
  } catch (error) {
    if (!(error instanceof MlpeError)) throw error;
    const { code, kind, message, fix } = error;
    const place = error.place === undefined ? file : `${file}: ${error.place}`;
    throw new MlpeError(code, { kind, meaning: message, fix }, message, { place, cause: error });
  }
}

/** The digest that names a package, over the exact bytes of its files. */
export function packageDigest(files: ReadonlyMap<string, Uint8Array>): string {
  const digests: Record<string, string> = {};
  for (const [path, bytes] of files) if (path !== SIGNATURE_FILE) digests[path] = `sha256:${sha256Hex(bytes)}`;
  return `sha256:${sha256Hex(canonicalJson(digests))}`;
}

/**
 * Whether the package was trained on this very view: problems are empty where it was. The digest decides; features that
 * are gone or have another type are named, so that the reader sees what changed.
 */
export function checkView(
  manifest: Manifest,
  view: string,
  digest: string,
  features: readonly FeatureField[],
): readonly Problem[] {
  const problems: Problem[] = [];
  const place = `${MANIFEST_FILE}: view`;
  const add = (message: string, at = place) =>
    problems.push(scoringErrors.problem("view_mismatch", message, { place: at }));
  if (manifest.view.name !== view) add(`the model was trained on the view "${manifest.view.name}", not "${view}"`);
  const types = new Map(features.map((feature) => [feature.name, feature.type]));
  const used = new Set<string>();
  for (const input of manifest.inputs) {
    for (const { name } of input.features) {
      const type = types.get(name);
      const at = `${MANIFEST_FILE}: inputs.${input.name}.${name}`;
      used.add(name);
      if (type === undefined) add(`the view "${view}" has no feature "${name}"`, at);
      else if (!FITS[input.datatype].has(type)) add(`"${name}" is a ${type} now and feeds a ${input.datatype}`, at);
    }
  }
  if (bare(manifest.view.digest) === bare(digest)) return problems;
  const unused = features.filter(({ name }) => !used.has(name)).map(({ name }) => name);
  const same = problems.length === 0;
  const parts = [
    `the model was trained on the view with the digest ${short(manifest.view.digest)}, and it has ${short(digest)} now`,
    same ? "its features have the same names and fitting types, so an expression, a window or a contract changed" : "",
    unused.length > 0 ? `features of the view that the model does not use: ${unused.join(", ")}` : "",
  ];
  add(parts.filter((part) => part !== "").join("; "), `${MANIFEST_FILE}: view.digest`);
  return problems;
}

const bare = (digest: string) => digest.replace(/^sha256:/, "");
const short = (digest: string) => `sha256:${bare(digest).slice(0, 12)}`;

const WHOLE: readonly FieldType[] = ["boolean", "int", "long"];
/** The feature types that a tensor of each datatype takes without changing their meaning. */
const FITS: Readonly<Record<Manifest["inputs"][number]["datatype"], ReadonlySet<FieldType>>> = {
  FP32: new Set([...WHOLE, "float", "double"]),
  FP64: new Set([...WHOLE, "float", "double", "date", "timestamp"]),
  INT32: new Set(["boolean", "int", "date"]),
  INT64: new Set([...WHOLE, "date", "timestamp"]),
  BOOL: new Set(["boolean"]),
  BYTES: new Set(["string", "enum"]),
};

/** The manifest in the bytes or the text of a `model.json`. Throws `scoring.manifest_invalid`, which lists every problem. */
export function parseManifest(content: Uint8Array | string): Manifest {
  return parseWith(manifestSchema, content, MANIFEST_FILE, "manifest_invalid");
}

const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
const SAFE_SEGMENT = /^[A-Za-z0-9_][A-Za-z0-9._ -]{0,127}$/;

function checkPaths(files: ReadonlyMap<string, Uint8Array>, limits: PackageLimits): void {
  if (files.size > limits.files) {
    throw scoringErrors.error("model_too_large", `the package has ${files.size} files, limit ${limits.files}`);
  }
  let bytes = 0;
  for (const [path, content] of files) {
    checkPath(path, "the package");
    bytes += content.length;
  }
  if (bytes > limits.bytes) {
    throw scoringErrors.error("model_too_large", `the package has ${bytes} bytes, limit ${limits.bytes}`);
  }
}

function checkPath(path: string, place: string): void {
  if (path.length <= 256 && path.split("/").every((segment) => SAFE_SEGMENT.test(segment))) return;
  const shown = JSON.stringify(path.slice(0, 100));
  throw scoringErrors.error("package_path", `${shown} is not a plain path inside the package`, { place });
}

function readManifest(files: ReadonlyMap<string, Uint8Array>): Manifest {
  const manifest = parseManifest(fileNamed(files, MANIFEST_FILE, "the package"));
  for (const path of Object.keys(manifest.files)) checkPath(path, `${MANIFEST_FILE}: files`);
  return manifest;
}

type Schema<T> = z.ZodType<T>;
type ReadError = "manifest_invalid" | "golden_invalid";

function parseWith<T>(schema: Schema<T>, bytes: Uint8Array | string, place: string, name: ReadError): T {
  let value: unknown;
  try {
    value = JSON.parse(typeof bytes === "string" ? bytes : new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch (cause) {
    throw scoringErrors.error(name, `${place} is not JSON: ${(cause as Error).message}`, { place, cause });
  }
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const problems = parsed.error.issues.slice(0, 20).map((issue) => {
    const path = issue.path.map(String).join(".");
    return scoringErrors.problem(name, `${path || "the whole"}: ${issue.message}`, {
      place: path === "" ? place : `${place}: ${path}`,
    });
  });
  throw scoringErrors.error(name, problems[0]!.message, { place: problems[0]!.place, problems });
}

function checkFiles(manifest: Manifest, files: ReadonlyMap<string, Uint8Array>): void {
  const problems: Problem[] = [];
  for (const [path, digest] of Object.entries(manifest.files)) {
    const content = files.get(path);
    const place = `${MANIFEST_FILE}: files.${path}`;
    if (content === undefined) {
      problems.push(scoringErrors.problem("package_missing_file", `the package lacks ${path}`, { place }));
    } else if (`sha256:${sha256Hex(content)}` !== digest) {
      problems.push(
        scoringErrors.problem("package_digest", `${path} does not have the digest in \`files\``, { place }),
      );
    }
  }
  for (const path of files.keys()) {
    if (path === MANIFEST_FILE || path === SIGNATURE_FILE || Object.hasOwn(manifest.files, path)) continue;
    problems.push(scoringErrors.problem("package_unlisted", `${path} is not listed in \`files\``, { place: path }));
  }
  const first = problems[0];
  if (!first) return;
  const name = first.code.slice(scoringErrors.prefix.length + 1) as "package_digest";
  throw scoringErrors.error(name, first.message, { place: first.place, problems });
}

function fileNamed(files: ReadonlyMap<string, Uint8Array>, path: string, place: string): Uint8Array {
  const content = files.get(path);
  if (content !== undefined) return content;
  throw scoringErrors.error("package_missing_file", `the package lacks ${path}, which ${place} names`, { place });
}

/** Inputs must agree one to one; a graph may have outputs that the manifest does not name. */
function checkGraph(manifest: Manifest, graph: OnnxInfo): void {
  const problems: Problem[] = [];
  const add = (message: string, place: string) =>
    problems.push(scoringErrors.problem("graph_mismatch", message, { place: `${MANIFEST_FILE}: ${place}` }));
  const compare = (kind: "inputs" | "outputs", mine: TensorInfo, theirs: TensorInfo | undefined) => {
    const place = `${kind}.${mine.name}`;
    if (!theirs) return add(`the graph has no ${kind.slice(0, -1)} "${mine.name}"`, place);
    if (mine.datatype !== theirs.datatype) {
      add(`"${mine.name}" is ${mine.datatype} here and ${theirs.datatype} in the graph`, place);
    }
    // A graph often leaves a width open that the manifest knows.
    const fits =
      theirs.shape.length === 0 ||
      (mine.shape.length === theirs.shape.length &&
        mine.shape.every((size, i) => size === theirs.shape[i] || theirs.shape[i] === -1 || size === -1));
    if (!fits) add(`"${mine.name}" is [${mine.shape}] here and [${theirs.shape}] in the graph`, place);
  };
  for (const input of manifest.inputs) {
    compare(
      "inputs",
      input,
      graph.inputs.find((candidate) => candidate.name === input.name),
    );
    checkInput(input, add);
  }
  for (const input of graph.inputs) {
    if (!manifest.inputs.some((candidate) => candidate.name === input.name)) {
      add(`the graph needs the input "${input.name}", which the manifest lacks`, "inputs");
    }
  }
  for (const output of manifest.outputs) {
    compare(
      "outputs",
      output,
      graph.outputs.find((candidate) => candidate.name === output.name),
    );
  }
  checkNames(manifest, add);
  checkScore(manifest, add);
  const first = problems[0];
  if (first) throw scoringErrors.error("graph_mismatch", first.message, { place: first.place, problems });
}

type AddProblem = (message: string, place: string) => void;

function checkInput(input: Manifest["inputs"][number], add: AddProblem): void {
  const place = `inputs.${input.name}`;
  const width = input.shape.length === 1 ? 1 : input.shape[1];
  if (input.shape.length < 1 || input.shape.length > 2 || input.shape[0] !== -1) {
    add(`"${input.name}" has the shape [${input.shape}]; a row of features feeds [-1, n] or [-1]`, place);
  } else if (width !== input.features.length) {
    add(`"${input.name}" takes ${width} columns and lists ${input.features.length} features`, place);
  }
  const floating = input.datatype === "FP32" || input.datatype === "FP64";
  for (const feature of input.features) {
    const at = `${place}.${feature.name}`;
    if (feature.null === "nan" && !floating) add(`"${feature.name}" can't be NaN: ${input.datatype} has none`, at);
    if (typeof feature.null === "object" && (typeof feature.null.value === "string") !== (input.datatype === "BYTES")) {
      add(
        `"${feature.name}" replaces null by ${JSON.stringify(feature.null.value)}, which is no ${input.datatype}`,
        at,
      );
    }
    if (feature.categories && input.datatype !== "BYTES") add(`"${feature.name}" has categories and is no text`, at);
  }
}

function checkNames(manifest: Manifest, add: AddProblem): void {
  for (const [kind, names] of [
    ["inputs", manifest.inputs.map(({ name }) => name)],
    ["outputs", manifest.outputs.map(({ name }) => name)],
  ] as const) {
    const twin = names.find((name, i) => names.indexOf(name) !== i);
    if (twin !== undefined) add(`"${twin}" is listed twice`, `${kind}.${twin}`);
  }
  for (const { name, features } of manifest.inputs) {
    const twin = features.find((feature, i) => features.findIndex((other) => other.name === feature.name) !== i);
    if (twin) add(`"${twin.name}" is listed twice in one input`, `inputs.${name}.${twin.name}`);
  }
}

function checkScore(manifest: Manifest, add: AddProblem): void {
  const { score } = manifest;
  const output = manifest.outputs.find((candidate) => candidate.name === score.output);
  if (!output) {
    add(`the score comes from "${score.output}", which is no output`, "score.output");
    return;
  }
  if (output.datatype === "BYTES") add(`the score comes from "${score.output}", which is text`, "score.output");
  const width = output.shape.length === 2 ? output.shape[1]! : 1;
  if (output.shape.length === 2 && score.column === undefined && width !== 1) {
    add(`"${score.output}" has ${width === -1 ? "several" : width} columns: say which is the score`, "score.column");
  }
  if (width >= 0 && (score.column ?? 0) >= width) {
    add(`column ${score.column} of "${score.output}" is the score, which has ${width} columns`, "score.column");
  }
}

function readGolden(manifest: Manifest, files: ReadonlyMap<string, Uint8Array>, limits: PackageLimits): GoldenRow[] {
  if (manifest.golden === undefined) return [];
  const { file, rows } = manifest.golden;
  const lines = text(fileNamed(files, file, "golden.file"))
    .split("\n")
    .filter((line) => line.trim() !== "");
  if (lines.length > limits.goldenRows || lines.length !== rows) {
    const message = `${file} has ${lines.length} rows and the manifest says ${rows} (limit ${limits.goldenRows})`;
    throw scoringErrors.error("golden_invalid", message, { place: file });
  }
  return lines.map((line, i) => parseWith(goldenSchema, line, `${file}, line ${i + 1}`, "golden_invalid"));
}

function readReference(manifest: Manifest, files: ReadonlyMap<string, Uint8Array>): Reference | null {
  if (manifest.reference === undefined) return null;
  const { file } = manifest.reference;
  return parseWith(referenceSchema, fileNamed(files, file, "reference.file"), file, "golden_invalid");
}
