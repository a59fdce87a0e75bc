import { Tensor as OrtTensor } from "onnxruntime-common";
import { MlpeError } from "../base/errors.ts";
import { scoringErrors } from "./errors.ts";
import { type BindingInfo, type BindingSession, loadRuntime, type OrtRuntime } from "./session_runtime.ts";
import type { Datatype, Engine, Session, Tensor, TensorData, TensorInfo, Tensors } from "./tensor.ts";

/** By ONNX element type (TensorProto.DataType). */
const DATATYPES: Readonly<Record<number, Datatype>> = {
  1: "FP32",
  2: "UINT8",
  3: "INT8",
  4: "UINT16",
  5: "INT16",
  6: "INT32",
  7: "INT64",
  8: "BYTES",
  9: "BOOL",
  10: "FP16",
  11: "FP64",
  12: "UINT32",
  13: "UINT64",
};

const ORT_TYPES = {
  FP32: "float32",
  FP64: "float64",
  FP16: "float16",
  INT8: "int8",
  INT16: "int16",
  INT32: "int32",
  INT64: "int64",
  UINT8: "uint8",
  UINT16: "uint16",
  UINT32: "uint32",
  UINT64: "uint64",
  BOOL: "bool",
  BYTES: "string",
} as const satisfies Record<Datatype, string>;

const FROM_ORT: Readonly<Record<string, Datatype>> = Object.fromEntries(
  Object.entries(ORT_TYPES).map(([datatype, type]) => [type, datatype as Datatype]),
);

/**
 * The ONNX Runtime engine of this thread. `directory` is a private folder that the engine's files may be unpacked into.
 * Throws `scoring.engine_failed`.
 */
export function openEngine(directory: string): Engine {
  const runtime = loadRuntime(directory);
  return {
    version: `onnxruntime ${runtime.version}`,
    cpu: runtime.cpu,
    threads: 1,
    open: (model) => openSession(runtime, model),
  };
}

/** A session over the model's bytes, which `checkOnnx` has passed. Throws `scoring.model_rejected`. */
function openSession(runtime: OrtRuntime, model: Uint8Array): Session {
  const native = new runtime.binding.InferenceSession();
  try {
    native.loadModel(model.buffer, model.byteOffset, model.byteLength, sessionOptions(runtime));
    const inputs = native.inputMetadata.map(infoOf);
    const outputs = native.outputMetadata.map(infoOf);
    return { inputs, outputs, run: (feeds) => run(native, outputs, feeds), dispose: () => native.dispose() };
  } catch (cause) {
    if (cause instanceof MlpeError) throw cause;
    throw scoringErrors.error("model_rejected", `ONNX Runtime refused the model: ${engineMessage(cause)}`, { cause });
  }
}

function sessionOptions(runtime: OrtRuntime): object {
  return {
    executionProviders: ["cpu"],
    intraOpNumThreads: 1,
    interOpNumThreads: 1,
    executionMode: "sequential",
    graphOptimizationLevel: "all",
    // Plans are kept per input shape without a bound; batch sizes vary, so memory would grow.
    enableMemPattern: false,
    logSeverityLevel: 4,
    extra: {
      session: {
        intra_op: { allow_spinning: "0" },
        inter_op: { allow_spinning: "0" },
        model_external_initializers_file_folder_path: runtime.emptyDirectory,
      },
    },
  };
}

function run(native: BindingSession, outputs: readonly TensorInfo[], feeds: Tensors): Tensors {
  const given: Record<string, OrtTensor> = {};
  for (const [name, tensor] of Object.entries(feeds)) given[name] = toOrt(tensor);
  const fetches = Object.fromEntries(outputs.map((output) => [output.name, null]));
  let results: Readonly<Record<string, OrtTensor>>;
  try {
    results = native.run(given, fetches, {});
  } catch (cause) {
    throw scoringErrors.error("run_failed", `the model could not be run: ${engineMessage(cause)}`, { cause });
  }
  const tensors: Record<string, Tensor> = {};
  for (const { name } of outputs) tensors[name] = fromOrt(name, results[name]!);
  return tensors;
}

function toOrt(tensor: Tensor): OrtTensor {
  return new OrtTensor(ORT_TYPES[tensor.datatype], tensor.data as never, tensor.shape);
}

function fromOrt(name: string, tensor: OrtTensor): Tensor {
  const datatype = FROM_ORT[tensor.type];
  if (datatype === undefined) {
    throw scoringErrors.error("model_rejected", `output "${name}" has the type ${tensor.type}`, { place: name });
  }
  return { datatype, shape: tensor.dims, data: tensor.data as TensorData };
}

function infoOf(info: BindingInfo): TensorInfo {
  const datatype = info.isTensor ? DATATYPES[info.type] : undefined;
  if (datatype === undefined) {
    const message = `"${info.name}" is not a tensor of a supported type`;
    throw scoringErrors.error("not_a_tensor", message, { place: info.name });
  }
  return { name: info.name, datatype, shape: info.shape.map((size) => (size < 0 ? -1 : size)) };
}

/** The engine's own words, on one line and bounded, without the paths of its source files. */
function engineMessage(cause: unknown): string {
  const text = cause instanceof Error ? cause.message : String(cause);
  return text
    .replace(/\/[^\s:]*\//g, "")
    .replace(/\s+/g, " ")
    .slice(0, 400);
}
