import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { MlpeError } from "../../src/base/errors.ts";
import { checkOnnx } from "../../src/scoring/onnx_check.ts";

// Fixtures are real files made by fixtures/make.py; damage is done to their bytes here.
const fixture = (name: string) => new Uint8Array(readFileSync(join(import.meta.dir, "fixtures", name)));

function codeOf(act: () => unknown): string {
  try {
    act();
  } catch (error) {
    if (error instanceof MlpeError) return error.code;
    throw error;
  }
  return "accepted";
}

test("what a scikit-learn pipeline says of itself", () => {
  const info = checkOnnx(fixture("mixed.onnx"));
  expect(info.inputs).toEqual([
    { name: "numeric", datatype: "FP32", shape: [-1, 4] },
    { name: "carrier", datatype: "BYTES", shape: [-1, 1] },
  ]);
  expect(info.outputs.map((output) => [output.name, output.datatype])).toEqual([
    ["label", "INT64"],
    ["probabilities", "FP32"],
  ]);
  expect(info.opsets["ai.onnx.ml"]).toBeGreaterThan(0);
});

const REFUSED: readonly (readonly [string, string])[] = [
  ["external.onnx", "scoring.external_data"],
  ["external_nested.onnx", "scoring.external_data"],
  ["huge_output.onnx", "scoring.model_too_large"],
  ["huge_hidden.onnx", "scoring.model_too_large"],
  ["custom_domain.onnx", "scoring.operator_refused"],
  ["random.onnx", "scoring.operator_refused"],
  ["zipmap.onnx", "scoring.not_a_tensor"],
];
for (const [name, code] of REFUSED) {
  test(`${name} is refused with ${code}`, () => expect(codeOf(() => checkOnnx(fixture(name)))).toBe(code));
}

test("limits hold", () => {
  const limits = { modelBytes: 1e6, tensorBytes: 1e6, nodes: 1000, depth: 4 };
  expect(codeOf(() => checkOnnx(fixture("trees.onnx"), { ...limits, modelBytes: 100 }))).toBe(
    "scoring.model_too_large",
  );
  expect(codeOf(() => checkOnnx(fixture("mixed.onnx"), { ...limits, nodes: 1 }))).toBe("scoring.model_too_large");
  expect(codeOf(() => checkOnnx(fixture("linear.onnx"), { ...limits, tensorBytes: 8 }))).toBe(
    "scoring.model_too_large",
  );
});

test("random bytes and damaged models give a stable code, never another error", () => {
  const good = fixture("mixed.onnx");
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => codeOf(() => checkOnnx(bytes)).startsWith("scoring.")),
  );
  fc.assert(
    fc.property(fc.nat(good.length - 1), fc.nat(255), (at, byte) => {
      const bad = good.slice();
      bad[at] = byte;
      expect(codeOf(() => checkOnnx(bad))).toMatch(/^(scoring\.\w+|accepted)$/);
    }),
    { numRuns: 500 },
  );
  for (const length of [0, 1, 10, good.length - 1]) {
    expect(codeOf(() => checkOnnx(good.subarray(0, length)))).toBe("scoring.not_onnx");
  }
});
