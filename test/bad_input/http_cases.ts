/** One wrong request, and what the server must answer. */
export interface HttpCase {
  readonly name: string;
  /** `POST /v1/...` */
  readonly ask: string;
  /** JSON unless it is text or bytes already. */
  readonly body?: unknown;
  readonly headers?: Readonly<Record<string, string>>;
  readonly status: number;
  readonly code: string;
  readonly says: readonly string[];
}

const INFER = "POST /v2/models/load/infer";
const x = (change: object = {}) => ({ name: "x", datatype: "FP32", shape: [1, 3], data: [1, 2, 3], ...change });

const infer = (name: string, body: unknown, ...says: readonly string[]): HttpCase => ({
  name: `infer: ${name}`,
  ask: INFER,
  body,
  status: 400,
  code: "scoring.request_invalid",
  says,
});
const tensor = (name: string, change: object, ...says: readonly string[]) =>
  infer(name, { inputs: [x(change)] }, ...says);

/** A name twice in one object, and NaN: JSON.stringify can write neither. */
const raw = (data: string) => `{"inputs":[{"name":"x","datatype":"FP32","shape":[1,3],"data":${data}}]}`;

export const inferCases: readonly HttpCase[] = [
  tensor("more values than the shape", { data: [1, 2, 3, 4] }, "inputs[0].data", "4 values", "3"),
  tensor("fewer values than the shape", { data: [1, 2] }, "inputs[0].data", "2 values"),
  tensor("another width", { shape: [1, 4], data: [1, 2, 3, 4] }, "inputs[0].shape", "[1,4]"),
  tensor("another rank", { shape: [3] }, "inputs[0].shape"),
  tensor("a negative dimension", { shape: [-1, 3] }, "inputs[0].shape"),
  tensor("a dimension that is no whole number", { shape: [1.5, 3] }, "inputs[0].shape"),
  tensor("no rows", { shape: [0, 3], data: [] }, "inputs[0].shape"),
  tensor("no shape", { shape: undefined }, "inputs[0].shape"),
  tensor("another datatype", { datatype: "INT64" }, "inputs[0].datatype", "FP32"),
  tensor("an unknown datatype", { datatype: "FLOAT" }, "inputs[0].datatype", "FLOAT"),
  tensor("NaN as a text", { data: [1, "NaN", 3] }, "inputs[0].data[1]", "NaN"),
  tensor("null", { data: [1, null, 3] }, "inputs[0].data[1]", "null"),
  infer("1e40 as FP32", raw("[1, 2, 1e40]"), "inputs[0].data[2]", "FP32"),
  infer("null and 1e40 in one", raw("[null, 2, 1e40]"), "inputs[0].data[0]", "null"),
  infer("a bare NaN", raw("[1, NaN, 3]"), "body", "JSON"),
  infer("a bare Infinity", raw("[1, -Infinity, 3]"), "body", "JSON"),
  tensor("a boolean", { data: [1, true, 3] }, "inputs[0].data[1]"),
  tensor("a map for a value", { data: [1, {}, 3] }, "inputs[0].data[1]"),
  tensor(
    "ragged lists",
    {
      shape: [2, 3],
      data: [
        [1, 2, 3],
        [4, 5],
      ],
    },
    "inputs[0].data",
  ),
  tensor("lists and values mixed", { shape: [2, 3], data: [[1, 2, 3], 4, 5, 6] }, "inputs[0].data"),
  tensor("no data", { data: undefined }, "inputs[0]"),
  tensor("data that is no list", { data: "1,2,3" }, "inputs[0].data"),
  infer("an input twice", { inputs: [x(), x()] }, "inputs[1]", "twice"),
  infer("an unknown input", { inputs: [x({ name: "y" })] }, "inputs[0]", '"y"', '"x"'),
  infer("an input without a name", { inputs: [x({ name: undefined })] }, "inputs[0]", "name"),
  infer("no inputs", { inputs: [] }, "inputs"),
  infer("inputs that are a map", { inputs: { x: 1 } }, "inputs"),
  infer("an unknown output", { inputs: [x()], outputs: [{ name: "no_such" }] }, "outputs[0]", "no_such"),
  infer("an output twice", { inputs: [x()], outputs: [{ name: "sum" }, { name: "sum" }] }, "outputs[1]", "twice"),
  infer("an id that is no text", { id: 7, inputs: [x()] }, "id"),
  infer("a list", [x()], "the request"),
  infer("a number", "7", "the request"),
  infer("no JSON", "{ inputs: ", "body", "JSON"),
  infer("an empty body", "", "body", "JSON"),
  infer("JSON nested without end", `${"[".repeat(20_000)}${"]".repeat(20_000)}`, "body", "deeper"),
  {
    name: "infer: binary tensors",
    ask: INFER,
    body: { inputs: [x({ data: undefined, parameters: { binary_data_size: 12 } })] },
    status: 501,
    code: "scoring.request_unsupported",
    says: ["inputs[0]", "JSON"],
  },
  {
    name: "infer: more elements than may be",
    ask: INFER,
    body: { inputs: [x({ shape: [90_000_000, 3] })] },
    status: 413,
    code: "scoring.request_too_large",
    says: ["inputs[0].shape"],
  },
  {
    name: "infer: an unknown model",
    ask: "POST /v2/models/laod/infer",
    body: { inputs: [x()] },
    status: 404,
    code: "runtime.unknown_model",
    says: ["laod", "load"],
  },
  {
    name: "infer: an unknown version",
    ask: "POST /v2/models/load/versions/9/infer",
    body: { inputs: [x()] },
    status: 404,
    code: "scoring.unknown_version",
    says: ["9"],
  },
  {
    name: "metadata of an unknown model",
    ask: "GET /v2/models/laod",
    status: 404,
    code: "runtime.unknown_model",
    says: ["laod"],
  },
];
