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

const SCORE = "POST /v1/score/load";
const ROW = { sensor: "s1", place: "north", at: "2024-01-01T11:30:00Z", temperature: 4 };

const score = (name: string, body: unknown, status: number, code: string, ...says: readonly string[]): HttpCase => ({
  name: `score: ${name}`,
  ask: SCORE,
  body,
  status,
  code,
  says,
});

export const scoreCases: readonly HttpCase[] = [
  score("an unknown entity", { entities: [{ sensor: "s9" }] }, 404, "request.unknown_entity", "entities[0]"),
  score("an entity without its key", { entities: [{}] }, 400, "request.bad_value", "entities[0].sensor"),
  score(
    "an entity whose key is null",
    { entities: [{ sensor: null }] },
    400,
    "request.bad_value",
    "entities[0].sensor",
  ),
  score(
    "an entity whose key is of another type",
    { entities: [{ sensor: { a: 1 } }] },
    400,
    "request.bad_value",
    "entities[0].sensor",
  ),
  score(
    "an entity with an unknown key",
    { entities: [{ sensr: "s1" }] },
    400,
    "request.unknown_field",
    "entities[0].sensr",
    "sensor",
  ),
  score("an entity that is a text", { entities: ["s1"] }, 400, "request.bad_request", "entities[0]"),
  score("no entities", { entities: [] }, 400, "request.bad_request", "entities"),
  score("entities that are a map", { entities: { sensor: "s1" } }, 400, "request.bad_request", "entities"),
  score("entities and rows", { entities: [{ sensor: "s1" }], rows: [ROW] }, 400, "request.bad_request", "body"),
  score("neither entities nor rows", {}, 400, "request.bad_request", "body"),
  score(
    "something unknown beside them",
    { entities: [{ sensor: "s1" }], colour: "blue" },
    400,
    "request.bad_request",
    "colour",
  ),
  score(
    "a row with an unknown field",
    { rows: [{ ...ROW, warmth: 3 }] },
    400,
    "request.unknown_field",
    "rows[0].warmth",
  ),
  score(
    "a row with a value of another type",
    { rows: [{ ...ROW, temperature: "warm" }] },
    400,
    "request.bad_value",
    "rows[0].temperature",
  ),
  score(
    "a row with a local time",
    { rows: [{ ...ROW, at: "2024-01-01T11:30:00" }] },
    400,
    "request.bad_value",
    "rows[0].at",
  ),
  score(
    "a row without a key",
    { rows: [{ place: "north", at: ROW.at, temperature: 4 }] },
    400,
    "request.bad_value",
    "rows[0].sensor",
  ),
  score(
    "an instant that is none",
    { at: "yesterday", entities: [{ sensor: "s1" }] },
    400,
    "request.bad_value",
    "at",
    "yesterday",
  ),
  score("an instant that is a list", { at: [], entities: [{ sensor: "s1" }] }, 400, "request.bad_value", "at"),
  score("an id that is empty", { id: "", entities: [{ sensor: "s1" }] }, 400, "request.bad_request", "id"),
  score(
    "too many at once",
    { entities: Array.from({ length: 10_001 }, () => ({})) },
    413,
    "request.too_many",
    "entities",
    "10001",
  ),
  score("a list", [ROW], 400, "request.bad_request", "body"),
  score("no JSON", "{", 400, "request.not_json", "body"),
  score(
    "JSON nested without end",
    `{"entities":${"[".repeat(5_000)}${"]".repeat(5_000)}}`,
    400,
    "request.bad_request",
    "entities[0]",
  ),
  score(
    "an instant beyond any number",
    '{"at":12345678901234567890,"entities":[{"sensor":"s1"}]}',
    400,
    "request.bad_value",
    "at",
    "12345678901234567890",
  ),
  {
    name: "score: an unknown model",
    ask: "POST /v1/score/laod",
    body: {},
    status: 404,
    code: "runtime.unknown_model",
    says: ["laod", "load"],
  },
  { name: "an unknown score", ask: "GET /v1/scores/none", status: 404, code: "runtime.unknown_score", says: ["none"] },
  {
    name: "labels that are no list",
    ask: "POST /v1/labels/load",
    body: { labels: 1 },
    status: 400,
    code: "feedback.bad_labels",
    says: ["labels"],
  },
  {
    name: "labels: no JSON",
    ask: "POST /v1/labels/load",
    body: "[1,",
    status: 400,
    code: "request.not_json",
    says: ["body"],
  },
  {
    name: "labels: too many",
    ask: "POST /v1/labels/load",
    body: Array.from({ length: 10_001 }, () => 1),
    status: 413,
    code: "feedback.too_many",
    says: ["10001"],
  },
  {
    name: "labels of an unknown model",
    ask: "POST /v1/labels/laod",
    body: [],
    status: 404,
    code: "runtime.unknown_model",
    says: ["laod"],
  },
];

const PUSH = "POST /v1/sources/events/rows";
const EVENT = { id: "e1", at: "2024-01-01T10:00:00Z", size: 1 };

export const otherCases: readonly HttpCase[] = [
  {
    name: "push: an unknown source",
    ask: "POST /v1/sources/evnts/rows",
    body: [EVENT],
    status: 404,
    code: "runtime.unknown_source",
    says: ["evnts"],
  },
  {
    name: "push: a source that reads a file",
    ask: "POST /v1/sources/places/rows",
    body: [EVENT],
    status: 404,
    code: "runtime.unknown_source",
    says: ["places"],
  },
  {
    name: "push: no JSON",
    ask: PUSH,
    body: "[{",
    status: 400,
    code: "connectors.bad_body",
    says: ["sources.events", "JSON"],
  },
  {
    name: "push: no rows",
    ask: PUSH,
    body: [],
    status: 400,
    code: "connectors.bad_body",
    says: ["sources.events", "no rows"],
  },
  {
    name: "push: an empty body",
    ask: PUSH,
    body: "",
    status: 400,
    code: "connectors.bad_body",
    says: ["sources.events"],
  },
  {
    name: "push: CSV",
    ask: PUSH,
    body: "id,at,size\n",
    status: 400,
    code: "connectors.bad_body",
    says: ["sources.events"],
  },
  {
    name: "push: too many rows",
    ask: PUSH,
    body: `[${"0,".repeat(10_000)}0]`,
    status: 413,
    code: "connectors.too_many_rows",
    says: ["10001"],
  },
  {
    name: "push: a key that is none",
    ask: PUSH,
    body: [EVENT],
    headers: { "idempotency-key": "a key" },
    status: 400,
    code: "connectors.bad_key",
    says: ["sources.events"],
  },
  {
    name: "push: a key that is too long",
    ask: PUSH,
    body: [EVENT],
    headers: { "idempotency-key": "k".repeat(201) },
    status: 400,
    code: "connectors.bad_key",
    says: ["sources.events"],
  },
  {
    name: "promote: no directory",
    ask: "POST /v1/models/load/promote",
    body: {},
    status: 400,
    code: "request.bad_request",
    says: ["directory"],
  },
  {
    name: "promote: a directory that is absent",
    ask: "POST /v1/models/load/promote",
    body: { directory: "/no/such/directory" },
    status: 404,
    code: "cli.no_such_file",
    says: ["/no/such/directory"],
  },
  {
    name: "rollback: nothing to roll back to",
    ask: "POST /v1/models/load/rollback",
    status: 409,
    code: "delivery.nothing_to_roll_back",
    says: ["load"],
  },
  {
    name: "rollforward: nothing to undo",
    ask: "POST /v1/models/load/rollforward",
    status: 409,
    code: "delivery.nothing_to_roll_forward",
    says: ["load"],
  },
  {
    name: "rollback of an unknown model",
    ask: "POST /v1/models/laod/rollback",
    status: 404,
    code: "runtime.unknown_model",
    says: ["laod"],
  },
  {
    name: "performance of an unknown model",
    ask: "GET /v1/models/laod/performance",
    status: 404,
    code: "runtime.unknown_model",
    says: ["laod"],
  },
  {
    name: "an address where nothing is",
    ask: "GET /v1/nothing",
    status: 404,
    code: "server.not_found",
    says: ["/v1/nothing"],
  },
  {
    name: "the wrong method",
    ask: "GET /v1/score/load",
    status: 405,
    code: "server.wrong_method",
    says: ["GET", "/v1/score/load", "POST"],
  },
  {
    name: "a body over the limit",
    ask: SCORE,
    body: " ".repeat(300_000),
    status: 413,
    code: "server.body_too_large",
    says: ["262144"],
  },
];
