/** Tensor element types, by their Open Inference Protocol names. */
export type Datatype =
  | "BOOL"
  | "UINT8"
  | "UINT16"
  | "UINT32"
  | "UINT64"
  | "INT8"
  | "INT16"
  | "INT32"
  | "INT64"
  | "FP16"
  | "FP32"
  | "FP64"
  | "BYTES";

export type TensorData =
  | Float32Array
  | Float64Array
  | Int8Array
  | Int16Array
  | Int32Array
  | BigInt64Array
  | Uint8Array
  | Uint16Array
  | Uint32Array
  | BigUint64Array
  | readonly string[];

/** A dense tensor, row-major. BOOL data is bytes 0 and 1; FP16 data is the raw 16 bits of each number. */
export interface Tensor {
  readonly datatype: Datatype;
  readonly shape: readonly number[];
  readonly data: TensorData;
}

/** What a graph says of one of its inputs or outputs: -1 is a free dimension. */
export interface TensorInfo {
  readonly name: string;
  readonly datatype: Datatype;
  readonly shape: readonly number[];
}

export type Tensors = Readonly<Record<string, Tensor>>;

/** A model that can be run. `run` is synchronous: it holds its thread for as long as the model takes. */
export interface Session {
  readonly inputs: readonly TensorInfo[];
  readonly outputs: readonly TensorInfo[];
  run(feeds: Tensors): Tensors;
  dispose(): void;
}

/** Opens models; carries what decides the bits of a score besides the model: engine, version, processor features. */
export interface Engine {
  readonly version: string;
  readonly cpu: string;
  /** Threads inside one run: pinned to 1, because tree ensembles give other bits with more. */
  readonly threads: 1;
  open(model: Uint8Array): Session;
}

/** The number of elements of a shape without free dimensions; undefined where it is negative or beyond 2^53. */
export function elementCount(shape: readonly number[]): number | undefined {
  let count = 1;
  for (const size of shape) {
    if (!Number.isSafeInteger(size) || size < 0) return undefined;
    count *= size;
    if (!Number.isSafeInteger(count)) return undefined;
  }
  return count;
}
