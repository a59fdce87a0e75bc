import { scoringErrors } from "./errors.ts";
import { type Datatype, elementCount, type Tensor, type TensorData, type TensorInfo } from "./tensor.ts";

/**
 * One tensor of a JSON request, against what the model says of that input. Nothing is coerced: a value that the datatype
 * can't hold exactly (beyond rounding of floats) is an error that names its index. Throws `scoring.request_*`.
 */
export function oipTensor(
  input: Readonly<Record<string, unknown>>,
  info: TensorInfo,
  place: string,
  maxElements: number,
): Tensor {
  checkDatatype(input.datatype, info, place);
  const shape = readShape(input.shape, info, place);
  const count = elementCount(shape);
  if (count === undefined || count > maxElements) {
    const message = `shape [${shape}] of "${info.name}" has more than ${maxElements} elements`;
    throw scoringErrors.error("request_too_large", message, { place: `${place}.shape` });
  }
  if (count === 0) throw invalid(`shape [${shape}] of "${info.name}" is empty`, `${place}.shape`);
  if (input.data === undefined) throw invalid(`"${info.name}" has no data`, place);
  if (!Array.isArray(input.data)) throw invalid(`the data of "${info.name}" is not a list`, `${place}.data`);
  const data = newData(info.datatype, count);
  const sink: Sink = { data, info, at: 0, place: `${place}.data` };
  if (Array.isArray(input.data[0])) fillNested(input.data, shape, 0, sink);
  else fillFlat(input.data, count, sink);
  return { datatype: info.datatype, shape, data };
}

const DATATYPES: ReadonlySet<string> = new Set([
  ...["BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64"],
  ...["FP16", "FP32", "FP64", "BYTES", "BF16"],
]);

function checkDatatype(datatype: unknown, info: TensorInfo, place: string): void {
  const at = `${place}.datatype`;
  if (typeof datatype !== "string" || !DATATYPES.has(datatype)) {
    const shown = JSON.stringify(datatype)?.slice(0, 40) ?? "missing";
    throw invalid(`the datatype of "${info.name}" is ${shown}, which is none of ${[...DATATYPES].join(", ")}`, at);
  }
  if (datatype === "FP16" || datatype === "BF16") {
    const message = `"${info.name}" is sent as ${datatype}, which JSON does not carry`;
    throw scoringErrors.error("request_unsupported", message, { place: at });
  }
  if (datatype !== info.datatype) throw invalid(`"${info.name}" is ${info.datatype}, not ${datatype}`, at);
}

function readShape(shape: unknown, info: TensorInfo, place: string): readonly number[] {
  const at = `${place}.shape`;
  if (!Array.isArray(shape)) throw invalid(`"${info.name}" has no shape`, at);
  if (shape.length > 32 || !shape.every((size) => Number.isSafeInteger(size) && size >= 0)) {
    throw invalid(`the shape of "${info.name}" is not a list of whole numbers from 0 to 2^53`, at);
  }
  const fits = shape.length === info.shape.length && info.shape.every((size, i) => size === -1 || size === shape[i]);
  if (!fits) throw invalid(`"${info.name}" takes the shape [${info.shape}], not [${shape.slice(0, 32)}]`, at);
  return shape as number[];
}

interface Sink {
  readonly data: TensorData;
  readonly info: TensorInfo;
  readonly place: string;
  at: number;
}

function fillFlat(values: readonly unknown[], count: number, sink: Sink): void {
  if (values.length !== count) {
    const message = `"${sink.info.name}" has ${values.length} values and its shape asks for ${count}`;
    throw invalid(message, sink.place);
  }
  for (const value of values) put(value, sink);
}

function fillNested(values: readonly unknown[], shape: readonly number[], depth: number, sink: Sink): void {
  if (values.length !== shape[depth]) {
    const message = `a list at depth ${depth + 1} of "${sink.info.name}" has ${values.length} items, not ${shape[depth]}`;
    throw invalid(message, sink.place);
  }
  const last = depth === shape.length - 1;
  for (const value of values) {
    if (last) put(value, sink);
    else if (Array.isArray(value)) fillNested(value, shape, depth + 1, sink);
    else throw invalid(`"${sink.info.name}" mixes lists and values at depth ${depth + 1}`, sink.place);
  }
}

function put(value: unknown, sink: Sink): void {
  const { info, at } = sink;
  const cell = READ[info.datatype](value);
  if (cell === undefined) {
    const shown = (JSON.stringify(value) ?? "nothing").slice(0, 60);
    const message = `"${info.name}" holds ${shown} at ${at}, which is no ${info.datatype}${hint(value, info.datatype)}`;
    throw invalid(message, `${sink.place}[${at}]`);
  }
  (sink.data as (number | bigint | string)[])[at] = cell;
  sink.at = at + 1;
}

function hint(value: unknown, datatype: Datatype): string {
  if (value === null) return "; null is not a number, and NaN can't be said in JSON";
  if (datatype.endsWith("INT64") && typeof value === "number" && Math.abs(value) > Number.MAX_SAFE_INTEGER) {
    return "; numbers beyond 2^53 lose bits in JSON";
  }
  return "";
}

type Read = (value: unknown) => number | bigint | string | undefined;

const integer =
  (low: number, high: number): Read =>
  (value) =>
    typeof value === "number" && Number.isInteger(value) && value >= low && value <= high ? value : undefined;

const big =
  (low: number): Read =>
  (value) =>
    typeof value === "number" && Number.isSafeInteger(value) && value >= low ? BigInt(value) : undefined;

const READ: Readonly<Record<Datatype, Read>> = {
  BOOL: (value) => (typeof value === "boolean" ? Number(value) : undefined),
  UINT8: integer(0, 0xff),
  UINT16: integer(0, 0xffff),
  UINT32: integer(0, 0xffff_ffff),
  UINT64: big(0),
  INT8: integer(-0x80, 0x7f),
  INT16: integer(-0x8000, 0x7fff),
  INT32: integer(-0x8000_0000, 0x7fff_ffff),
  INT64: big(-Number.MAX_SAFE_INTEGER),
  FP16: () => undefined,
  // 1e40 is a number, and Infinity as FP32.
  FP32: (value) => (typeof value === "number" && Number.isFinite(Math.fround(value)) ? value : undefined),
  FP64: (value) => (typeof value === "number" && Number.isFinite(value) ? value : undefined),
  BYTES: (value) => (typeof value === "string" && value.isWellFormed() ? value : undefined),
};

function newData(datatype: Datatype, count: number): TensorData {
  switch (datatype) {
    case "FP32":
      return new Float32Array(count);
    case "FP64":
      return new Float64Array(count);
    case "INT8":
      return new Int8Array(count);
    case "INT16":
      return new Int16Array(count);
    case "INT32":
      return new Int32Array(count);
    case "INT64":
      return new BigInt64Array(count);
    case "UINT16":
    case "FP16":
      return new Uint16Array(count);
    case "UINT32":
      return new Uint32Array(count);
    case "UINT64":
      return new BigUint64Array(count);
    case "BOOL":
    case "UINT8":
      return new Uint8Array(count);
    case "BYTES":
      return new Array<string>(count);
  }
}

const invalid = (message: string, place: string) => scoringErrors.error("request_invalid", message, { place });
