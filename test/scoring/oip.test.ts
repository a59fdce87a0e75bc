import { expect, test } from "bun:test";
import fc from "fast-check";
import { inferJson, modelMetadata, parseInfer, serverMetadata, serverReady } from "../../src/scoring/oip.ts";
import { checkOnnx } from "../../src/scoring/onnx_check.ts";
import { codeOf, fixture, testEngine } from "./support.ts";

// The graph of `identity.onnx` gives each of its twelve inputs back, so an answer shows what arrived. Cases below are
// bodies as a client would send them, most of them wrong in one way.
const engine = testEngine();
const info = checkOnnx(fixture("mixed.onnx"));
const session = engine.open(fixture("mixed.onnx"));
const answer = { model: "mixed", version: "1.0.0", id: null };
const bytes = (text: string) => new TextEncoder().encode(text);

type Body = Record<string, unknown>;
const numeric: Body = { name: "numeric", shape: [2, 4], datatype: "FP32", data: [1, 2, 3, 4, 5, 6, 7, 8] };
const carrier: Body = { name: "carrier", shape: [2, 1], datatype: "BYTES", data: ["AA", "UA"] };
const good: Body = { id: "r-1", inputs: [numeric, carrier] };
const withNumeric = (change: Body): Body => ({ ...good, inputs: [{ ...numeric, ...change }, carrier] });

test("a good request is answered, its id echoed", () => {
  const request = parseInfer(bytes(JSON.stringify(good)), info);
  const response = JSON.parse(inferJson(session, request, { ...answer, id: request.id }));
  expect(response).toMatchObject({ model_name: "mixed", model_version: "1.0.0", id: "r-1" });
  expect(response.outputs.map(({ name, shape, datatype }: Body) => [name, shape, datatype])).toEqual([
    ["label", [2], "INT64"],
    ["probabilities", [2, 2], "FP32"],
  ]);
  expect(response.outputs[1].data).toHaveLength(4);
});

test("nested data is the flat data, and outputs come as they are asked for", () => {
  const nested = withNumeric({
    data: [
      [1, 2, 3, 4],
      [5, 6, 7, 8],
    ],
  });
  const outputs = [{ name: "probabilities", parameters: { binary_data: false } }];
  const flat = inferJson(session, parseInfer(bytes(JSON.stringify({ ...good, outputs })), info), answer);
  expect(inferJson(session, parseInfer(bytes(JSON.stringify({ ...nested, outputs })), info), answer)).toBe(flat);
  expect(JSON.parse(flat).outputs.map(({ name }: Body) => name)).toEqual(["probabilities"]);
});

const json = (body: unknown) => JSON.stringify(body);
const INVALID = "request_invalid";
const MALFORMED: readonly (readonly [string, string, string])[] = [
  ["no JSON", "{", INVALID],
  ["an empty body", "", INVALID],
  ["a list", "[]", INVALID],
  ["null", "null", INVALID],
  ["an id that is a number", json({ ...good, id: 7 }), INVALID],
  ["an id without an end", json({ ...good, id: "x".repeat(1000) }), INVALID],
  ["parameters that are a list", json({ ...good, parameters: [] }), INVALID],
  ["no inputs", json({}), INVALID],
  ["inputs that are empty", json({ inputs: [] }), INVALID],
  ["inputs that are an object", json({ inputs: {} }), INVALID],
  ["an input that is null", json({ inputs: [null] }), INVALID],
  ["an input without a name", json(withNumeric({ name: undefined })), INVALID],
  ["an unknown input", json(withNumeric({ name: "numbers" })), INVALID],
  ["an input named like a prototype", json(withNumeric({ name: "__proto__" })), INVALID],
  ["an input left out", json({ inputs: [numeric] }), INVALID],
  ["an input twice", json({ inputs: [numeric, numeric, carrier] }), INVALID],
  ["no datatype", json(withNumeric({ datatype: undefined })), INVALID],
  ["an unknown datatype", json(withNumeric({ datatype: "FLOAT" })), INVALID],
  ["another datatype", json(withNumeric({ datatype: "FP64" })), INVALID],
  ["FP16 in JSON", json(withNumeric({ datatype: "FP16" })), "request_unsupported"],
  ["BF16 in JSON", json(withNumeric({ datatype: "BF16" })), "request_unsupported"],
  ["no shape", json(withNumeric({ shape: undefined })), INVALID],
  ["a shape of text", json(withNumeric({ shape: "2,4" })), INVALID],
  ["a negative dimension", json(withNumeric({ shape: [-2, 4] })), INVALID],
  ["a dimension that is no whole number", json(withNumeric({ shape: [2.5, 4] })), INVALID],
  ["another rank", json(withNumeric({ shape: [8] })), INVALID],
  ["another width", json(withNumeric({ shape: [4, 2] })), INVALID],
  ["a shape whose product overflows", json(withNumeric({ shape: [9007199254740991, 4] })), "request_too_large"],
  ["a shape above the limit", json(withNumeric({ shape: [1_000_000_000, 4] })), "request_too_large"],
  ["no rows", json(withNumeric({ shape: [0, 4], data: [] })), INVALID],
  ["rows that differ between inputs", json(withNumeric({ shape: [1, 4], data: [1, 2, 3, 4] })), INVALID],
  ["no data", json(withNumeric({ data: undefined })), INVALID],
  ["data that is text", json(withNumeric({ data: "1,2" })), INVALID],
  ["too little data", json(withNumeric({ data: [1, 2, 3] })), INVALID],
  ["too much data", json(withNumeric({ data: new Array(9).fill(1) })), INVALID],
  [
    "ragged data",
    json(
      withNumeric({
        data: [
          [1, 2, 3, 4],
          [5, 6, 7],
        ],
      }),
    ),
    INVALID,
  ],
  [
    "data nested too deep",
    json(
      withNumeric({
        data: [
          [
            [1, 2, 3, 4],
            [5, 6, 7, 8],
          ],
        ],
      }),
    ),
    INVALID,
  ],
  ["data half nested", json(withNumeric({ data: [[1, 2, 3, 4], 5, 6, 7, 8] })), INVALID],
  ["null, NaN and 1e40 in one", json(withNumeric({ data: [1, null, 3, 4, 5, 6, 1e40, 8] })), INVALID],
  ["null in numbers", json(withNumeric({ data: [1, 2, 3, 4, 5, 6, 7, null] })), INVALID],
  ["NaN as a word", json(good).replace("8]", "NaN]"), INVALID],
  ["1e40 as FP32", json(withNumeric({ data: [1, 2, 3, 4, 5, 6, 7, 1e40] })), INVALID],
  ["1e400", json(good).replace("8]", "1e400]"), INVALID],
  ["text in numbers", json(withNumeric({ data: [1, 2, 3, 4, 5, 6, 7, "8"] })), INVALID],
  ["booleans in numbers", json(withNumeric({ data: [1, 2, 3, 4, 5, 6, 7, true] })), INVALID],
  ["numbers in text", json({ inputs: [numeric, { ...carrier, data: ["AA", 7] }] }), INVALID],
  ["null in text", json({ inputs: [numeric, { ...carrier, data: ["AA", null] }] }), INVALID],
  ["half a character", json(good).replace('"AA"', '"\\ud800"'), INVALID],
  ["outputs that are an object", json({ ...good, outputs: {} }), INVALID],
  ["an unknown output", json({ ...good, outputs: [{ name: "odds" }] }), INVALID],
  ["an output twice", json({ ...good, outputs: [{ name: "label" }, { name: "label" }] }), INVALID],
  ["an output without a name", json({ ...good, outputs: [{}] }), INVALID],
  [
    "a classification",
    json({ ...good, outputs: [{ name: "label", parameters: { classification: 2 } }] }),
    "request_unsupported",
  ],
  [
    "a binary output",
    json({ ...good, outputs: [{ name: "label", parameters: { binary_data: true } }] }),
    "request_unsupported",
  ],
  ["binary outputs", json({ ...good, parameters: { binary_data_output: true } }), "request_unsupported"],
  [
    "a binary input",
    json(withNumeric({ data: undefined, parameters: { binary_data_size: 32 } })),
    "request_unsupported",
  ],
  ["brackets without an end", "[".repeat(100_000), INVALID],
  ["objects nested beyond 100", `${`{"a":`.repeat(101)}1${"}".repeat(101)}`, INVALID],
];
for (const [name, body, code] of MALFORMED) {
  test(`${name}: ${code}`, () => expect(codeOf(() => parseInfer(bytes(body), info))).toBe(`scoring.${code}`));
}

test("a binary header, bytes that are no UTF-8, and a body above the limit", () => {
  expect(codeOf(() => parseInfer(bytes(json(good)), info, "10"))).toBe("scoring.request_unsupported");
  expect(codeOf(() => parseInfer(new Uint8Array([0x22, 0xff, 0x22]), info))).toBe("scoring.request_invalid");
  const limits = { bodyBytes: 10, elements: 100, depth: 100 };
  expect(codeOf(() => parseInfer(bytes(json(good)), info, null, limits))).toBe("scoring.request_too_large");
  const few = { bodyBytes: 1e6, elements: 9, depth: 100 };
  expect(codeOf(() => parseInfer(bytes(json(good)), info, null, few))).toBe("scoring.request_too_large");
});

test("any JSON is answered or refused with a code, never another error", () => {
  fc.assert(
    fc.property(fc.json(), (text) => {
      expect(codeOf(() => parseInfer(bytes(text), info))).toMatch(/^scoring\.request_/);
    }),
  );
});

const whole = (low: number, high: number) => fc.integer({ min: low, max: high });
const INT_MAX = Number.MAX_SAFE_INTEGER;
const VALUES: Readonly<Record<string, fc.Arbitrary<unknown>>> = {
  BOOL: fc.boolean(),
  UINT8: whole(0, 255),
  UINT16: whole(0, 65_535),
  UINT32: whole(0, 4_294_967_295),
  UINT64: whole(0, INT_MAX),
  INT8: whole(-128, 127),
  INT16: whole(-32_768, 32_767),
  INT32: whole(-2_147_483_648, 2_147_483_647),
  INT64: whole(-INT_MAX, INT_MAX),
  FP32: fc.float({ noNaN: true, noDefaultInfinity: true }),
  FP64: fc.double({ noNaN: true, noDefaultInfinity: true }),
  BYTES: fc.string({ unit: "grapheme" }),
};

test("every datatype goes through the engine and comes back as it was", () => {
  const graph = checkOnnx(fixture("identity.onnx"));
  const identity = engine.open(fixture("identity.onnx"));
  const row = fc.record(
    Object.fromEntries(Object.entries(VALUES).map(([type, value]) => [type, fc.tuple(value, value)])),
  );
  fc.assert(
    fc.property(fc.array(row, { minLength: 1, maxLength: 4 }), (rows) => {
      const inputs = graph.inputs.map(({ name, datatype }) => ({
        name,
        datatype,
        shape: [rows.length, 2],
        data: rows.map((values) => values[datatype]),
      }));
      const response = JSON.parse(inferJson(identity, parseInfer(bytes(json({ inputs })), graph), answer));
      response.outputs.forEach((output: Body, i: number) => {
        expect(output.name).toBe(`${inputs[i]!.name}_out`);
        // JSON has one zero.
        expect(output.data).toEqual(inputs[i]!.data.flat().map((value) => (Object.is(value, -0) ? 0 : value)));
      });
    }),
    { numRuns: 50 },
  );
});

test("whole numbers beyond 2^53 are refused coming in and exact going out", () => {
  const graph = checkOnnx(fixture("identity.onnx"));
  const input = { name: "int64", shape: [1, 2], datatype: "INT64", data: [0, 2 ** 53] };
  const only = { inputs: graph.inputs.filter(({ name }) => name === "int64"), outputs: [] };
  expect(codeOf(() => parseInfer(bytes(json({ inputs: [input] })), only))).toBe("scoring.request_invalid");
  const results = { y: { datatype: "INT64", shape: [1], data: new BigInt64Array([9007199254740993n]) } } as const;
  const fake = { inputs: [], outputs: [], run: () => results, dispose() {} };
  const text = inferJson(fake, { id: null, feeds: {}, outputs: ["y"] }, answer);
  expect(text).toContain("[9007199254740993]");
});

test("an output that JSON can't say is an error, not null", () => {
  const linear = engine.open(fixture("linear.onnx"));
  const input = { name: "x", shape: [1, 3], datatype: "FP32", data: [3e38, 3e38, 3e38] };
  const request = parseInfer(bytes(json({ inputs: [input] })), checkOnnx(fixture("linear.onnx")));
  expect(codeOf(() => inferJson(linear, request, answer))).toBe("scoring.bad_output");
});

test("metadata documents", () => {
  expect(modelMetadata({ name: "mixed", versions: ["1.0.0"], ...info })).toMatchObject({
    name: "mixed",
    versions: ["1.0.0"],
    platform: "onnx_onnxv1",
    inputs: [
      { name: "numeric", datatype: "FP32", shape: [-1, 4] },
      { name: "carrier", datatype: "BYTES" },
    ],
  });
  expect(serverMetadata("0.1.0")).toEqual({ name: "mlpe", version: "0.1.0", extensions: [] });
  expect(serverReady(true)).toEqual({ ready: true, live: true });
});
