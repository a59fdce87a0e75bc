import { scoringErrors } from "./errors.ts";
import { oipTensor } from "./oip_tensor.ts";
import type { Session, Tensor, TensorInfo, Tensors } from "./tensor.ts";

/** Open Inference Protocol v2 over REST: requests read and checked, answers and metadata documents written. */

export interface InferLimits {
  readonly bodyBytes: number;
  /** Of all inputs together. */
  readonly elements: number;
  /** Of nested JSON. */
  readonly depth: number;
}

const INFER_LIMITS: InferLimits = { bodyBytes: 64 << 20, elements: 16 << 20, depth: 100 };

export interface InferRequest {
  readonly id: string | null;
  readonly feeds: Tensors;
  /** The outputs to answer, in this order. */
  readonly outputs: readonly string[];
}

/** What is known of a model: the shapes of its graph. */
export interface ModelShapes {
  readonly inputs: readonly TensorInfo[];
  readonly outputs: readonly TensorInfo[];
}

/** A model as the metadata documents show it. */
export interface ModelDocument extends ModelShapes {
  readonly name: string;
  readonly versions: readonly string[];
}

export interface InferAnswer {
  readonly model: string;
  readonly version: string;
  readonly id: string | null;
}

const MAX_TENSORS = 1_000;
const MAX_ID = 512;

/**
 * The inference request in a JSON body, checked against the model's shapes. `headerLength` is the header
 * `Inference-Header-Content-Length`, null where it is absent. Throws `scoring.request_*`.
 */
export function parseInfer(
  body: Uint8Array | string,
  shapes: ModelShapes,
  headerLength: string | null = null,
  limits: InferLimits = INFER_LIMITS,
): InferRequest {
  if (headerLength !== null) throw binary("the header Inference-Header-Content-Length announces binary tensors");
  const request = objectOf(
    parseBody(typeof body === "string" ? new TextEncoder().encode(body) : body, limits),
    "the request",
  );
  const { id, parameters, inputs, outputs } = request;
  if (id !== undefined && (typeof id !== "string" || id.length > MAX_ID)) {
    throw invalid(`the id is not a string of at most ${MAX_ID} characters`, "id");
  }
  refuseBinary(parameters, "binary_data_output", "parameters");
  return {
    id: (id as string | undefined) || null,
    feeds: readInputs(inputs, shapes, limits),
    outputs: readOutputs(outputs, shapes),
  };
}

/** Runs the request as it stands: the tensors go to the model in one batch, as the protocol says. */
export function inferJson(session: Session, request: InferRequest, answer: InferAnswer): string {
  return inferResponse(session.run(request.feeds), request.outputs, answer);
}

/** The response body. It is text because INT64 values are written digit for digit. Throws `scoring.bad_output`. */
function inferResponse(results: Tensors, names: readonly string[], answer: InferAnswer): string {
  const outputs = names.map((name) => {
    const tensor = results[name]!;
    const head = JSON.stringify({ name, shape: tensor.shape, datatype: tensor.datatype }).slice(0, -1);
    return `${head},"data":${dataJson(name, tensor)}}`;
  });
  const head: Record<string, string> = { model_name: answer.model, model_version: answer.version };
  if (answer.id !== null) head.id = answer.id;
  return `${JSON.stringify(head).slice(0, -1)},"outputs":[${outputs.join(",")}]}`;
}

function dataJson(name: string, tensor: Tensor): string {
  const { data, datatype } = tensor;
  if (datatype === "BYTES") return JSON.stringify(data);
  if (datatype === "BOOL") return JSON.stringify(Array.from(data as Uint8Array, (value) => value !== 0));
  if (datatype === "FP16") throw binary(`output "${name}" is FP16, which JSON does not carry`);
  if (datatype === "FP32" || datatype === "FP64") {
    const at = (data as Float64Array).findIndex((value) => !Number.isFinite(value));
    if (at >= 0) {
      const message = `output "${name}" holds ${data[at]} at ${at}, which JSON can't say`;
      throw scoringErrors.error("bad_output", message, { place: name });
    }
  }
  return `[${(data as Float64Array).join(",")}]`;
}

export const serverMetadata = (version: string) => ({ name: "mlpe", version, extensions: [] as string[] });
/** Documents of the protocol disagree on the name of the flag, so both are there. */
export const serverReady = (ready: boolean) => ({ ready, live: ready });

export function modelMetadata(model: ModelDocument) {
  const shown = ({ name, datatype, shape }: TensorInfo) => ({ name, datatype, shape });
  return {
    name: model.name,
    versions: model.versions,
    platform: "onnx_onnxv1",
    inputs: model.inputs.map(shown),
    outputs: model.outputs.map(shown),
  };
}

function parseBody(body: Uint8Array, limits: InferLimits): unknown {
  if (body.length > limits.bodyBytes) {
    const message = `the body has ${body.length} bytes, limit ${limits.bodyBytes}`;
    throw scoringErrors.error("request_too_large", message, { place: "body" });
  }
  checkDepth(body, limits.depth);
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(body));
  } catch (cause) {
    const detail = cause instanceof SyntaxError ? cause.message : "it is not UTF-8";
    throw invalid(`the body is not JSON: ${detail.slice(0, 200)}`, "body");
  }
}

const QUOTE = 0x22;
const BACKSLASH = 0x5c;

/** Nesting is counted before parsing: a parser recurses, and a megabyte of brackets would end its stack. */
function checkDepth(body: Uint8Array, limit: number): void {
  let depth = 0;
  for (let at = 0; at < body.length; at++) {
    const byte = body[at];
    if (byte === QUOTE) {
      for (at++; at < body.length && body[at] !== QUOTE; at++) if (body[at] === BACKSLASH) at++;
    } else if (byte === 0x5b || byte === 0x7b) {
      if (++depth > limit) throw invalid(`the body is nested deeper than ${limit}`, "body");
    } else if (byte === 0x5d || byte === 0x7d) depth--;
  }
}

function readInputs(inputs: unknown, shapes: ModelShapes, limits: InferLimits): Tensors {
  if (!Array.isArray(inputs) || inputs.length === 0) throw invalid("`inputs` is not a list of tensors", "inputs");
  if (inputs.length > MAX_TENSORS) throw invalid(`more than ${MAX_TENSORS} inputs`, "inputs");
  const feeds: Record<string, Tensor> = {};
  let elements = 0;
  for (let index = 0; index < inputs.length; index++) {
    const place = `inputs[${index}]`;
    const input = objectOf(inputs[index], place);
    const { name } = input;
    if (typeof name !== "string" || name === "") throw invalid("an input has no name", place);
    const info = shapes.inputs.find((candidate) => candidate.name === name);
    if (!info) throw invalid(`the model has no input ${quote(name)}; it has ${names(shapes.inputs)}`, place);
    if (Object.hasOwn(feeds, name)) throw invalid(`input ${quote(name)} is there twice`, place);
    refuseBinary(input.parameters, "binary_data_size", place);
    const tensor = oipTensor(input, info, place, limits.elements);
    elements += tensor.data.length;
    if (elements > limits.elements) {
      throw scoringErrors.error("request_too_large", `more than ${limits.elements} elements`, { place });
    }
    feeds[name] = tensor;
  }
  const absent = shapes.inputs.filter(({ name }) => !Object.hasOwn(feeds, name));
  if (absent.length > 0) throw invalid(`the request lacks the input ${names(absent)}`, "inputs");
  checkRows(feeds, shapes);
  return feeds;
}

/** Inputs whose first dimension is free are rows of the same batch. */
function checkRows(feeds: Tensors, shapes: ModelShapes): void {
  const batched = shapes.inputs.filter(({ shape }) => shape[0] === -1);
  const first = batched[0];
  const other = batched.find(({ name }) => feeds[name]!.shape[0] !== feeds[first!.name]!.shape[0]);
  if (!first || !other) return;
  const [mine, theirs] = [feeds[first.name]!.shape[0], feeds[other.name]!.shape[0]];
  throw invalid(`${quote(first.name)} has ${mine} rows and ${quote(other.name)} has ${theirs}`, "inputs");
}

function readOutputs(outputs: unknown, shapes: ModelShapes): readonly string[] {
  if (outputs === undefined || (Array.isArray(outputs) && outputs.length === 0)) {
    return shapes.outputs.map(({ name }) => name);
  }
  if (!Array.isArray(outputs) || outputs.length > MAX_TENSORS) throw invalid("`outputs` is not a list", "outputs");
  const wanted: string[] = [];
  outputs.forEach((item, index) => {
    const place = `outputs[${index}]`;
    const { name, parameters } = objectOf(item, place);
    if (typeof name !== "string") throw invalid("an output has no name", place);
    if (!shapes.outputs.some((candidate) => candidate.name === name)) {
      throw invalid(`the model has no output ${quote(name)}; it has ${names(shapes.outputs)}`, place);
    }
    if (wanted.includes(name)) throw invalid(`output ${quote(name)} is there twice`, place);
    refuseBinary(parameters, "binary_data", place);
    if (isObject(parameters) && parameters.classification !== undefined) {
      throw scoringErrors.error("request_unsupported", "the classification extension is not built", {
        place,
        fix: "Ask for the output itself.",
      });
    }
    wanted.push(name);
  });
  return wanted;
}

function refuseBinary(parameters: unknown, name: string, place: string): void {
  if (parameters === undefined) return;
  const value = objectOf(parameters, `${place}.parameters`)[name];
  if (value !== undefined && value !== false)
    throw binary(`\`${name}\` asks for the binary tensor data extension`, place);
}

function binary(message: string, place?: string) {
  return scoringErrors.error("request_unsupported", `${message}; binary tensors are not built yet`, {
    place,
    fix: "Send and ask for tensors as JSON (in tritonclient: binary_data=False).",
  });
}

const isObject = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

function objectOf(value: unknown, place: string): Readonly<Record<string, unknown>> {
  if (!isObject(value)) throw invalid(`${place} is not a JSON object`, place);
  return value;
}

const invalid = (message: string, place: string) => scoringErrors.error("request_invalid", message, { place });
const quote = (name: string) => JSON.stringify(name.slice(0, 80));
const names = (list: readonly { readonly name: string }[]) => list.map(({ name }) => quote(name)).join(", ");
