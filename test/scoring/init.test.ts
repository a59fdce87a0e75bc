import { expect, test } from "bun:test";
import type { Row } from "../../src/base/row.ts";
import type { ViewShape } from "../../src/contract/streams.ts";
import { guardrailVerdicts, judge, planGuardrails } from "../../src/scoring/guardrails.ts";
import { initManifest, initPackage } from "../../src/scoring/init.ts";
import { loadModel } from "../../src/scoring/loaded.ts";
import { checkView, readPackage } from "../../src/scoring/package.ts";
import { codeOf, expected, fixture, handClock, testEngine, VIEW_DIGEST, viewShape } from "./support.ts";

const engine = testEngine();
const options = { name: "mine", viewDigest: VIEW_DIGEST, label: { name: "late" } };
const samples = expected.mixed.map(({ features }) => features as Row);

test("a pipeline with numbers and text becomes a package that loads", () => {
  const files = initPackage(fixture("mixed.onnx"), viewShape, options, samples, engine);
  const pack = readPackage(files);
  expect(pack.golden).toHaveLength(samples.length);
  expect(pack.manifest.inputs.map(({ name, features }) => [name, features.map((feature) => feature.name)])).toEqual([
    ["numeric", ["a", "b", "c", "d"]],
    ["carrier", ["carrier"]],
  ]);
  expect(pack.manifest.score).toMatchObject({
    name: "p_late",
    output: "probabilities",
    column: 1,
    type: "probability",
  });
  expect(checkView(pack.manifest, "flights", VIEW_DIGEST, viewShape.features)).toEqual([]);
  const model = loadModel("mine", pack, engine, handClock());
  expect(model.manifest.version).toBe("1.0.0");
});

test("a model of one float input takes the numbers of the view, or the features named", () => {
  const manifest = initManifest(fixture("trees.onnx"), viewShape, options);
  expect(manifest.inputs[0]!.features.map(({ name }) => name)).toEqual(["a", "b", "c", "d"]);
  expect(manifest.inputs[0]!.features[0]!.null).toBe("nan");
  const named = initManifest(fixture("linear.onnx"), viewShape, { ...options, features: ["c", "a", "b"] });
  expect(named.inputs[0]!.features.map(({ name }) => name)).toEqual(["c", "a", "b"]);
  expect(named.score).toMatchObject({ output: "sum", column: 0, type: "number" });
});

test("what can't be told is said", () => {
  expect(() => initManifest(fixture("linear.onnx"), viewShape, options)).toThrow("takes 3 columns and the view has 4");
  expect(() => initManifest(fixture("linear.onnx"), viewShape, { ...options, features: ["x"] })).toThrow(
    "has no feature",
  );
  expect(codeOf(() => initManifest(fixture("zipmap.onnx"), viewShape, options))).toBe("scoring.not_a_tensor");
  const many: ViewShape = { ...viewShape, features: [] };
  expect(codeOf(() => initManifest(fixture("identity.onnx"), many, options))).toBe("scoring.graph_mismatch");
});

const rule = (when: string, then: "flag" | "block") => ({ when, then });

test("the guardrails that hold in a commit make one verdict each, which names at most ten scores", () => {
  const config = { low: rule("c <= 0", "flag"), absurd: rule("score > 0.9", "block"), never: rule("c > 9", "flag") };
  const guardrails = planGuardrails("mine", config, viewShape.features);
  const flagsOf = (i: number) => [...(i % 2 === 0 ? ["low"] : []), ...(i === 3 ? ["absurd: overflow"] : [])];
  const rows = Array.from({ length: 30 }, (_, i) => ({ score_id: `s${i}`, flags: JSON.stringify(flagsOf(i)) }));
  const refused = { score_id: "r", flags: JSON.stringify(["rejected: scoring.null: low is null"]) };
  const verdicts = guardrailVerdicts(guardrails, "mine", [...rows, refused], 7);
  const common = { kind: "guardrail", subject: "mine", at: 7 };
  expect(verdicts).toEqual([
    {
      ...common,
      name: "low",
      outcome: "flag",
      severity: "warn",
      value: 15,
      detail: JSON.stringify({ scores: Array.from({ length: 10 }, (_, i) => `s${2 * i}`) }),
    },
    { ...common, name: "absurd", outcome: "block", severity: "block", value: 1, detail: '{"scores":["s3"]}' },
  ]);
  expect(guardrailVerdicts(guardrails, "mine", [refused], 7)).toEqual([]);
});

test("guardrails are expressions over the features and the score", () => {
  const config = {
    empty: rule("a is null and b is null", "flag"),
    absurd: rule("c <= 0 or score > 0.9", "block"),
  };
  const guardrails = planGuardrails("mine", config, viewShape.features);
  const row = { a: 1, b: 2, c: 3, d: 4, carrier: "AA" };
  expect(judge(guardrails, row, 0.5)).toEqual({ flags: [], blocked: false });
  expect(judge(guardrails, { ...row, a: null, b: null }, 0.5)).toEqual({ flags: ["empty"], blocked: false });
  expect(judge(guardrails, row, 0.95)).toEqual({ flags: ["absurd"], blocked: true });
  expect(judge(guardrails, { ...row, a: null, b: null, c: null }, 0.5).flags).toEqual(["empty"]);
  expect(() => planGuardrails("mine", { x: rule("nothing > 1", "flag") }, viewShape.features)).toThrow();
  expect(() => planGuardrails("mine", { x: rule("a + 1", "flag") }, viewShape.features)).toThrow();
});
