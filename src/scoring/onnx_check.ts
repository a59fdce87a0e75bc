import { MlpeError } from "../base/errors.ts";
import { scoringErrors } from "./errors.ts";
import { type ProtoField, protoFields, protoIntegers, protoText } from "./protobuf.ts";
import { type Datatype, elementCount, type TensorInfo } from "./tensor.ts";

/** What an ONNX file says of itself. Field numbers below are those of onnx.proto (ONNX 1.23). */
export interface OnnxInfo {
  readonly irVersion: number;
  /** domain -> version; the default domain is `ai.onnx`. */
  readonly opsets: Readonly<Record<string, number>>;
  readonly producer: string;
  /** The graph's inputs without those that have initializers. */
  readonly inputs: readonly TensorInfo[];
  readonly outputs: readonly TensorInfo[];
  readonly nodes: number;
  readonly initializerBytes: number;
}

export interface OnnxLimits {
  readonly modelBytes: number;
  /** Of one tensor, stored or declared. */
  readonly tensorBytes: number;
  readonly nodes: number;
  /** Depth of graphs inside nodes of graphs. */
  readonly depth: number;
}

const ONNX_LIMITS: OnnxLimits = { modelBytes: 1 << 29, tensorBytes: 1 << 28, nodes: 200_000, depth: 8 };

const DOMAINS: ReadonlySet<string> = new Set(["", "ai.onnx", "ai.onnx.ml"]);
/** Operators whose result is not decided by their inputs: a score made with one could never be made again. */
const RANDOM: ReadonlySet<string> = new Set([
  ...["RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial", "Bernoulli"],
]);
/** Operators that make a tensor of a size that one of their inputs says: operator -> index of that input. */
const SIZED: Readonly<Record<string, number>> = { ConstantOfShape: 0, Expand: 1, Reshape: 1, Tile: 1, Resize: 3 };

const DATATYPES: Readonly<Record<number, { readonly name: Datatype; readonly bytes: number }>> = {
  1: { name: "FP32", bytes: 4 },
  2: { name: "UINT8", bytes: 1 },
  3: { name: "INT8", bytes: 1 },
  4: { name: "UINT16", bytes: 2 },
  5: { name: "INT16", bytes: 2 },
  6: { name: "INT32", bytes: 4 },
  7: { name: "INT64", bytes: 8 },
  8: { name: "BYTES", bytes: 8 },
  9: { name: "BOOL", bytes: 1 },
  10: { name: "FP16", bytes: 2 },
  11: { name: "FP64", bytes: 8 },
  12: { name: "UINT32", bytes: 4 },
  13: { name: "UINT64", bytes: 8 },
};

interface Walk {
  readonly limits: OnnxLimits;
  readonly opsets: Record<string, number>;
  readonly functions: Set<string>;
  nodes: number;
  initializerBytes: number;
}

/**
 * Walks an ONNX model without loading it and refuses what must not reach the engine: tensors in other files, sizes above
 * the limits, operators outside the list, random operators, and maps or sequences as inputs or outputs. Throws MlpeError.
 */
export function checkOnnx(model: Uint8Array, limits: OnnxLimits = ONNX_LIMITS): OnnxInfo {
  if (model.length > limits.modelBytes) {
    throw scoringErrors.error("model_too_large", `the model has ${model.length} bytes, limit ${limits.modelBytes}`);
  }
  try {
    return walkModel(model, { limits, opsets: {}, functions: new Set(), nodes: 0, initializerBytes: 0 });
  } catch (cause) {
    if (cause instanceof MlpeError) throw cause;
    const message = `the file is not an ONNX model: ${(cause as Error).message}`;
    throw scoringErrors.error("not_onnx", message, { cause });
  }
}

function walkModel(model: Uint8Array, walk: Walk): OnnxInfo {
  let irVersion = 0;
  let producer = "";
  let graph: Uint8Array | undefined;
  const functions: Uint8Array[] = [];
  for (const field of protoFields(model)) {
    if (field.number === 1) irVersion = Number(field.value);
    else if (field.number === 2) producer = protoText(field).slice(0, 100);
    else if (field.number === 7) graph = field.bytes;
    else if (field.number === 8) readOpset(field.bytes, walk);
    else if (field.number === 20) throw refuseOperator("the model carries training graphs");
    else if (field.number === 25) functions.push(field.bytes);
  }
  if (graph === undefined || irVersion === 0) throw new RangeError("it has no graph");
  for (const definition of functions) nameFunction(definition, walk);
  for (const definition of functions) walkFunction(definition, walk);
  const { inputs, outputs } = walkGraph(graph, walk, 0, "graph");
  return {
    irVersion,
    producer,
    opsets: walk.opsets,
    inputs: inputs.map((value) => tensorInfo(value, "input")),
    outputs: outputs.map((value) => tensorInfo(value, "output")),
    nodes: walk.nodes,
    initializerBytes: walk.initializerBytes,
  };
}

function readOpset(bytes: Uint8Array, walk: Walk): void {
  let domain = "";
  let version = 0;
  for (const field of protoFields(bytes)) {
    if (field.number === 1) domain = protoText(field);
    else if (field.number === 2) version = Number(field.value);
  }
  walk.opsets[domain === "" ? "ai.onnx" : domain] = version;
}

/** Functions defined by the model itself may have a domain of their own: their bodies are walked. */
function nameFunction(bytes: Uint8Array, walk: Walk): void {
  let name = "";
  let domain = "";
  for (const field of protoFields(bytes)) {
    if (field.number === 1) name = protoText(field);
    else if (field.number === 10) domain = protoText(field);
  }
  walk.functions.add(`${domain}:${name}`);
}

function walkFunction(bytes: Uint8Array, walk: Walk): void {
  for (const field of protoFields(bytes)) {
    if (field.number === 7) walkNode(field.bytes, walk, 1, "function", new Map());
    else if (field.number === 11) walkAttribute(field.bytes, walk, 1, "function");
  }
}

interface Values {
  readonly inputs: readonly Value[];
  readonly outputs: readonly Value[];
}

function walkGraph(bytes: Uint8Array, walk: Walk, depth: number, place: string): Values {
  if (depth > walk.limits.depth) {
    throw scoringErrors.error("model_too_large", `graphs are nested deeper than ${walk.limits.depth}`, { place });
  }
  const inputs: Value[] = [];
  const outputs: Value[] = [];
  const nodes: Uint8Array[] = [];
  /** Values of small whole-number initializers: they may be sizes. */
  const sizes = new Map<string, readonly bigint[]>();
  const initialized = new Set<string>();
  for (const field of protoFields(bytes)) {
    if (field.number === 1) nodes.push(field.bytes);
    else if (field.number === 5) {
      const tensor = walkTensor(field.bytes, walk, place);
      initialized.add(tensor.name);
      if (tensor.integers) sizes.set(tensor.name, tensor.integers);
    } else if (field.number === 15) walkSparse(field.bytes, walk, place);
    else if (field.number === 11) inputs.push(readValue(field.bytes, walk));
    else if (field.number === 12) outputs.push(readValue(field.bytes, walk));
    else if (field.number === 13) readValue(field.bytes, walk);
  }
  for (const node of nodes) walkNode(node, walk, depth, place, sizes);
  return { inputs: inputs.filter((value) => !initialized.has(value.name)), outputs };
}

function walkNode(
  bytes: Uint8Array,
  walk: Walk,
  depth: number,
  place: string,
  sizes: Map<string, readonly bigint[]>,
): void {
  if (++walk.nodes > walk.limits.nodes) {
    throw scoringErrors.error("model_too_large", `the model has more than ${walk.limits.nodes} nodes`, { place });
  }
  let operator = "";
  let domain = "";
  const inputs: string[] = [];
  const outputs: string[] = [];
  const attributes: Uint8Array[] = [];
  for (const field of protoFields(bytes)) {
    if (field.number === 1) inputs.push(protoText(field));
    else if (field.number === 2) outputs.push(protoText(field));
    else if (field.number === 4) operator = protoText(field);
    else if (field.number === 5) attributes.push(field.bytes);
    else if (field.number === 7) domain = protoText(field);
  }
  const at = `${place}/${operator}`.slice(0, 200);
  if (!DOMAINS.has(domain) && !walk.functions.has(`${domain}:${operator}`)) {
    throw refuseOperator(`operator ${operator.slice(0, 80)} is of the domain "${domain.slice(0, 80)}"`, at);
  }
  if (RANDOM.has(operator)) throw refuseOperator(`operator ${operator} gives another result each time`, at);
  for (const attribute of attributes) {
    const integers = walkAttribute(attribute, walk, depth, at);
    if (operator === "Constant" && integers && outputs[0]) sizes.set(outputs[0], integers);
  }
  const size = sizes.get(inputs[SIZED[operator] ?? -1] ?? "");
  if (size) checkSize(size.map(Number), 1, walk, at);
}

/** Returns the values of an attribute that is a small whole-number tensor or list. */
function walkAttribute(bytes: Uint8Array, walk: Walk, depth: number, place: string): readonly bigint[] | undefined {
  let integers: bigint[] | undefined;
  for (const field of protoFields(bytes)) {
    if (field.number === 5 || field.number === 10) {
      const tensor = walkTensor(field.bytes, walk, place);
      integers = tensor.integers && [...tensor.integers];
    } else if (field.number === 6 || field.number === 11) walkGraph(field.bytes, walk, depth + 1, place);
    else if (field.number === 22 || field.number === 23) walkSparse(field.bytes, walk, place);
  }
  return integers;
}

function walkSparse(bytes: Uint8Array, walk: Walk, place: string): void {
  const dims: number[] = [];
  for (const field of protoFields(bytes)) {
    if (field.number === 1 || field.number === 2) walkTensor(field.bytes, walk, place);
    else if (field.number === 3) for (const size of protoIntegers(field)) dims.push(Number(size));
  }
  checkSize(dims, 4, walk, place); // the engine makes it dense
}

interface StoredTensor {
  readonly name: string;
  readonly integers?: readonly bigint[];
}

const MAX_SIZE_VALUES = 16;

function walkTensor(bytes: Uint8Array, walk: Walk, place: string): StoredTensor {
  let name = "";
  let type = 0;
  let raw: Uint8Array | undefined;
  const dims: number[] = [];
  const integers: bigint[] = [];
  for (const field of protoFields(bytes)) {
    if (field.number === 1) for (const size of protoIntegers(field)) dims.push(Number(size));
    else if (field.number === 2) type = Number(field.value);
    else if (field.number === 8) name = protoText(field);
    else if (field.number === 9) raw = field.bytes;
    else if (field.number === 13 || (field.number === 14 && field.value !== 0n)) throw external(bytes, place);
    else if (field.number === 7 && field.bytes.length <= MAX_SIZE_VALUES * 10) integers.push(...integersOf(field));
  }
  const element = DATATYPES[type]?.bytes ?? 1;
  const size = checkSize(dims, element, walk, `${place}/${name}`.slice(0, 200));
  if (raw && DATATYPES[type] && type !== 8 && raw.length !== size) {
    throw new RangeError(`tensor "${name.slice(0, 80)}" says ${size} bytes and holds ${raw.length}`);
  }
  walk.initializerBytes += size;
  if (type !== 7) return { name };
  if (raw && raw.length <= MAX_SIZE_VALUES * 8) {
    const view = new DataView(raw.buffer, raw.byteOffset, raw.byteLength);
    for (let at = 0; at + 8 <= raw.length; at += 8) integers.push(view.getBigInt64(at, true));
  }
  return { name, integers };
}

const integersOf = (field: ProtoField): bigint[] => [...protoIntegers(field)];

function external(tensor: Uint8Array, place: string): MlpeError {
  let name = "";
  for (const field of protoFields(tensor)) if (field.number === 8) name = protoText(field).slice(0, 80);
  return scoringErrors.error("external_data", `tensor "${name}" is kept in another file`, { place });
}

/** The bytes of a tensor of that shape; free dimensions (0, -1) count as one. Throws above the limit. */
function checkSize(dims: readonly number[], elementBytes: number, walk: Walk, place: string): number {
  const count = elementCount(dims.map((size) => (size === -1 ? 1 : size)));
  if (count === undefined || count * elementBytes > walk.limits.tensorBytes) {
    const message = `a tensor of shape [${dims.join(", ")}] is declared, above the limit of ${walk.limits.tensorBytes} bytes`;
    throw scoringErrors.error("model_too_large", message, { place });
  }
  return count * elementBytes;
}

interface Value {
  readonly name: string;
  readonly kind: "tensor" | "other";
  readonly type: number;
  readonly shape: readonly number[];
}

function readValue(bytes: Uint8Array, walk: Walk): Value {
  let name = "";
  let value: Omit<Value, "name"> = { kind: "other", type: 0, shape: [] };
  for (const field of protoFields(bytes)) {
    if (field.number === 1) name = protoText(field);
    else if (field.number === 2) {
      for (const choice of protoFields(field.bytes)) if (choice.number === 1) value = readTensorType(choice.bytes);
    }
  }
  if (value.kind === "tensor") checkSize(value.shape, DATATYPES[value.type]?.bytes ?? 1, walk, name.slice(0, 200));
  return { name, ...value };
}

function readTensorType(bytes: Uint8Array): Omit<Value, "name"> {
  let type = 0;
  const shape: number[] = [];
  for (const field of protoFields(bytes)) {
    if (field.number === 1) type = Number(field.value);
    else if (field.number === 2) {
      for (const dim of protoFields(field.bytes)) if (dim.number === 1) shape.push(readDimension(dim.bytes));
    }
  }
  return { kind: "tensor", type, shape };
}

function readDimension(bytes: Uint8Array): number {
  for (const field of protoFields(bytes)) {
    if (field.number === 1) return Number(BigInt.asIntN(64, field.value));
  }
  return -1; // a name, or nothing
}

function tensorInfo(value: Value, side: "input" | "output"): TensorInfo {
  const datatype = value.kind === "tensor" ? DATATYPES[value.type]?.name : undefined;
  if (datatype === undefined) {
    const message = `${side} "${value.name.slice(0, 80)}" is not a tensor of a supported type`;
    throw scoringErrors.error("not_a_tensor", message, { place: value.name.slice(0, 80) });
  }
  return { name: value.name, datatype, shape: value.shape };
}

const refuseOperator = (message: string, place?: string) => scoringErrors.error("operator_refused", message, { place });
