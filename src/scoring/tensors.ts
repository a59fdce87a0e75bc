import type { Problem } from "../base/errors.ts";
import type { Row, Value } from "../base/row.ts";
import type { Manifest } from "../contract/model_package.ts";
import { runRows } from "./blocks.ts";
import { scoringErrors } from "./errors.ts";
import type { Session, Tensor, TensorData, Tensors } from "./tensor.ts";

type InputSpec = Manifest["inputs"][number];
type FeatureSpec = InputSpec["features"][number];
/** What one feature value becomes in its tensor, or why it can't. */
type Cell = number | bigint | string | Problem;

/** What `scoreRows` needs of a loaded model. */
export interface Scorable {
  readonly manifest: Manifest;
  readonly session: Session;
  /** Rows that may go into one run without changing a bit, as `verifiedBlock` found; default 1. */
  readonly blockRows?: number;
  /** Whether runs are filled up to that many rows. */
  readonly padded?: boolean;
}

interface Reject {
  /** Index into the rows given. */
  readonly row: number;
  readonly problem: Problem;
}

export interface ScoredRows {
  /** One a row; null where it was rejected. */
  readonly scores: readonly (number | null)[];
  /** One a row: every output by name as plain JSON values, columns as lists; null where it was rejected. */
  readonly outputs: readonly (Readonly<Record<string, unknown>> | null)[];
  readonly rejects: readonly Reject[];
}

/**
 * The scores of feature rows, in order. A row has the same bits alone and in any batch: kernels may sum in another order
 * for many rows than for one, so rows are run alone, or in blocks of exactly the size that was found to change nothing.
 * A row that can't be scored is a reject and does not stop the others.
 */
export function scoreRows(model: Scorable, rows: readonly Row[]): ScoredRows {
  const scores: (number | null)[] = [];
  const outputs: (Readonly<Record<string, unknown>> | null)[] = [];
  const rejects: Reject[] = [];
  const filled = rows.map((row) => fillRow(model.manifest, row));
  const results = runRows(
    model,
    filled.flatMap((row) => ("feeds" in row ? [row.feeds] : [])),
  );
  let next = 0;
  filled.forEach((row, index) => {
    const scored = "problem" in row ? row : readScore(model.manifest, results[next++]!);
    if ("problem" in scored) rejects.push({ row: index, problem: scored.problem });
    scores.push("problem" in scored ? null : scored.score);
    outputs.push("problem" in scored ? null : scored.outputs);
  });
  return { scores, outputs, rejects };
}

/** The feeds of one row of named features, in the manifest's order; the first thing wrong as a problem. */
export function fillRow(manifest: Manifest, row: Row): { readonly feeds: Tensors } | { readonly problem: Problem } {
  const feeds: Record<string, Tensor> = {};
  for (const input of manifest.inputs) {
    const data = newData(input);
    for (let column = 0; column < input.features.length; column++) {
      const feature = input.features[column]!;
      const cell = cellOf(input, feature, row[feature.name]);
      if (typeof cell === "object") return { problem: cell };
      (data as (number | bigint | string)[])[column] = cell;
    }
    const shape = input.shape.length === 1 ? [1] : [1, input.features.length];
    feeds[input.name] = { datatype: input.datatype, shape, data };
  }
  return { feeds };
}

function newData(input: InputSpec): TensorData {
  const width = input.features.length;
  switch (input.datatype) {
    case "FP32":
      return new Float32Array(width);
    case "FP64":
      return new Float64Array(width);
    case "INT32":
      return new Int32Array(width);
    case "INT64":
      return new BigInt64Array(width);
    case "BOOL":
      return new Uint8Array(width);
    case "BYTES":
      return new Array<string>(width).fill("");
  }
}

function cellOf(input: InputSpec, feature: FeatureSpec, value: Value | undefined): Cell {
  if (value === undefined) return missing(feature, `the row has no feature "${feature.name}"`);
  if (value !== null) return convert(input, feature, value);
  const floating = input.datatype === "FP32" || input.datatype === "FP64";
  const policy = feature.null ?? (floating ? "nan" : "reject");
  if (policy === "nan" && floating) return Number.NaN;
  if (typeof policy === "object") return convert(input, { name: feature.name }, policy.value);
  return missing(feature, `"${feature.name}" is null, which the model refuses`);
}

const missing = (feature: FeatureSpec, message: string) =>
  scoringErrors.problem("feature_missing", message, { place: feature.name });

function convert(input: InputSpec, feature: FeatureSpec, value: Exclude<Value, null>): Cell {
  const converted = CONVERT[input.datatype](value);
  if (converted === undefined) {
    const message = `"${feature.name}" is ${shown(value)}, which does not fit ${input.datatype}`;
    return scoringErrors.problem("feature_invalid", message, { place: feature.name });
  }
  if (feature.categories && feature.unknown === "reject" && !feature.categories.includes(value as string)) {
    const message = `"${feature.name}" is ${shown(value)}, which is none of the ${feature.categories.length} known categories`;
    return scoringErrors.problem("feature_unknown_category", message, { place: feature.name });
  }
  return converted;
}

function shown(value: Exclude<Value, null>): string {
  if (typeof value === "string") return `the text ${JSON.stringify(value.slice(0, 40))}`;
  return value instanceof Uint8Array ? "bytes" : String(value);
}

type Convert = (value: Exclude<Value, null>) => number | bigint | string | undefined;

/** A finite number; booleans are 0 and 1; text is never read as a number. */
function real(value: Exclude<Value, null>): number | undefined {
  const number = typeof value === "boolean" || typeof value === "bigint" ? Number(value) : value;
  return typeof number === "number" && Number.isFinite(number) ? number : undefined;
}

/** A whole number within the bounds. Numbers beyond 2^53 may have lost bits already, so they must be bigints. */
function whole(value: Exclude<Value, null>, low: bigint, high: bigint): bigint | undefined {
  if (typeof value === "number" && !Number.isSafeInteger(value)) return undefined;
  if (typeof value !== "number" && typeof value !== "bigint" && typeof value !== "boolean") return undefined;
  const integer = BigInt(value);
  return integer >= low && integer <= high ? integer : undefined;
}

const CONVERT: Readonly<Record<InputSpec["datatype"], Convert>> = {
  FP32: (value) => {
    const number = real(value);
    return number !== undefined && Number.isFinite(Math.fround(number)) ? number : undefined; // 1e40 would be Infinity
  },
  FP64: (value) => {
    const number = real(value);
    return typeof value === "bigint" && BigInt(number!) !== value ? undefined : number; // would lose bits
  },
  INT32: (value) => {
    const integer = whole(value, -(2n ** 31n), 2n ** 31n - 1n);
    return integer === undefined ? undefined : Number(integer);
  },
  INT64: (value) => whole(value, -(2n ** 63n), 2n ** 63n - 1n),
  BOOL: (value) => (typeof value === "boolean" ? Number(value) : undefined),
  BYTES: (value) => (typeof value === "string" && value.isWellFormed() ? value : undefined),
};

interface Scored {
  readonly score: number;
  readonly outputs: Readonly<Record<string, unknown>>;
}

/** The score and all outputs of a run of one row. */
function readScore(manifest: Manifest, results: Tensors): Scored | { readonly problem: Problem } {
  const outputs: Record<string, unknown> = {};
  for (const [name, tensor] of Object.entries(results)) {
    const values = Array.from(tensor.data as ArrayLike<number | bigint | string>, plain);
    outputs[name] = tensor.shape.length > 1 || values.length !== 1 ? values : values[0];
  }
  const { output, column } = manifest.score;
  const tensor = results[output];
  const raw = tensor?.data[column ?? 0];
  const score = Number(raw);
  if (tensor === undefined || raw === undefined || !Number.isFinite(score)) {
    const message = `the model's output "${output}" holds ${String(raw)} where the score belongs`;
    return { problem: scoringErrors.problem("bad_output", message, { place: output }) };
  }
  return { score, outputs };
}

/** What JSON can hold without loss: bigints beyond 2^53 and numbers that are not finite become text. */
function plain(value: number | bigint | string): number | string {
  if (typeof value === "bigint") {
    const small = Number(value);
    return Number.isSafeInteger(small) ? small : value.toString();
  }
  return typeof value === "number" && !Number.isFinite(value) ? String(value) : value;
}
