import { expect, test } from "bun:test";
import type { MlpeError } from "../../src/base/errors.ts";
import { checkView, packageDigest, readPackage } from "../../src/scoring/package.ts";
import { codeOf, type Draft, fixture, packageFiles, VIEW_DIGEST, viewShape } from "./support.ts";

// Each case takes a good package and spoils one thing of it.
test("a good package is read whole", () => {
  const files = packageFiles("mixed");
  const pack = readPackage(files);
  expect(pack.digest).toMatch(/^sha256:[0-9a-f]{64}$/);
  expect(pack.golden).toHaveLength(20);
  expect(pack.card).toBe("A model card.\n");
  expect(pack.signature).toBeNull();
});

test("the digest covers every file but the signature", () => {
  const files = packageFiles("mixed");
  const digest = packageDigest(files);
  expect(packageDigest(new Map([...files].reverse()))).toBe(digest);
  expect(packageDigest(new Map([...files, ["signature.json", new Uint8Array([1])]]))).toBe(digest);
  expect(packageDigest(new Map([...files, ["README.md", new Uint8Array([1])]]))).not.toBe(digest);
  expect(packageDigest(new Map([...files, ["model.json", new Uint8Array([1])]]))).not.toBe(digest);
});

type Input = { name: string; datatype: string; shape: number[]; features: Draft[] };
const inputs = (manifest: Draft) => manifest.inputs as Input[];
const score = (manifest: Draft) => manifest.score as Draft;

const SPOILED: readonly (readonly [string, (manifest: Draft) => void, string])[] = [
  ["an unknown key", (m) => (m.surprise = 1), "manifest_invalid"],
  ["another manifest version", (m) => (m.manifest = "mlpe.model/v9"), "manifest_invalid"],
  ["no inputs", (m) => (m.inputs = []), "manifest_invalid"],
  ["a view digest that is none", (m) => ((m.view as Draft).digest = "abc"), "manifest_invalid"],
  ["a file that is absent", (m) => ((m.files as Draft)["x.txt"] = VIEW_DIGEST), "package_missing_file"],
  ["a wrong digest", (m) => ((m.files as Draft)["README.md"] = VIEW_DIGEST), "package_digest"],
  ["a wrong model digest", (m) => ((m.model as Draft).sha256 = "0".repeat(64)), "package_digest"],
  ["a file outside", (m) => ((m.files as Draft)["../secret"] = VIEW_DIGEST), "package_path"],
  ["an absolute file", (m) => ((m.files as Draft)["/etc/passwd"] = VIEW_DIGEST), "package_path"],
  ["an unlisted file", (m) => delete (m.files as Draft)["README.md"], "package_unlisted"],
  ["a model file outside", (m) => ((m.model as Draft).file = "../model.onnx"), "package_missing_file"],
  ["an input the graph lacks", (m) => (inputs(m)[0]!.name = "other"), "graph_mismatch"],
  ["another datatype", (m) => (inputs(m)[0]!.datatype = "FP64"), "graph_mismatch"],
  ["another width", (m) => (inputs(m)[0]!.shape = [-1, 5]), "graph_mismatch"],
  ["a feature too few", (m) => inputs(m)[0]!.features.pop(), "graph_mismatch"],
  ["a feature twice", (m) => (inputs(m)[0]!.features[1]!.name = "a"), "graph_mismatch"],
  ["NaN in text", (m) => (inputs(m)[1]!.features[0]!.null = "nan"), "graph_mismatch"],
  ["text in a number", (m) => (inputs(m)[0]!.features[0]!.null = { value: "x" }), "graph_mismatch"],
  ["categories of a number", (m) => (inputs(m)[0]!.features[0]!.categories = ["x"]), "graph_mismatch"],
  ["an input left out", (m) => (m.inputs = inputs(m).slice(0, 1)), "graph_mismatch"],
  ["a score from no output", (m) => (score(m).output = "nothing"), "graph_mismatch"],
  ["a score column outside", (m) => (score(m).column = 2), "graph_mismatch"],
  ["a score column not said", (m) => delete score(m).column, "graph_mismatch"],
  ["other golden rows", (m) => ((m.golden as Draft).rows = 3), "golden_invalid"],
];
for (const [name, spoil, code] of SPOILED) {
  test(`${name} is refused with ${code}`, () =>
    expect(codeOf(() => readPackage(packageFiles("mixed", spoil)))).toBe(`scoring.${code}`));
}

test("a package without a manifest, or with one that is no JSON", () => {
  expect(codeOf(() => readPackage(new Map()))).toBe("scoring.package_missing_file");
  const broken = new Map([["model.json", new TextEncoder().encode("{")]]);
  expect(codeOf(() => readPackage(broken))).toBe("scoring.manifest_invalid");
});

test("paths that lead out of the package are refused before anything is read", () => {
  for (const path of ["../x", "a/../../x", "/x", "a//b", "a\\b", "", ".hidden", "a/./b", "\0", "C:x", "x\n"]) {
    expect(codeOf(() => readPackage(new Map([[path, new Uint8Array()]])))).toBe("scoring.package_path");
  }
});

test("a model that must not be loaded is refused by the package too", () => {
  const files = packageFiles("linear", () => {}, { "model.onnx": fixture("external.onnx") });
  expect(codeOf(() => readPackage(files))).toBe("scoring.package_digest");
});

test("several problems are reported together", () => {
  const files = packageFiles("mixed", (m) => {
    inputs(m)[0]!.datatype = "FP64";
    score(m).output = "nothing";
  });
  try {
    readPackage(files);
    expect.unreachable();
  } catch (error) {
    expect((error as MlpeError).problems.length).toBeGreaterThan(1);
  }
});

test("a package trained on another view says what differs", () => {
  const { manifest } = readPackage(packageFiles("mixed"));
  expect(checkView(manifest, "flights", VIEW_DIGEST, viewShape.features)).toEqual([]);
  expect(checkView(manifest, "flights", VIEW_DIGEST.replace("sha256:", ""), viewShape.features)).toEqual([]);
  const other = `sha256:${"cd".repeat(32)}`;
  const changed = viewShape.features
    .filter(({ name }) => name !== "b")
    .map((feature) => (feature.name === "carrier" ? { ...feature, type: "int" as const } : feature));
  const problems = checkView(manifest, "flights", other, [...changed, { name: "extra", type: "double" }]);
  const messages = problems.map(({ message }) => message).join("\n");
  expect(problems.every(({ code }) => code === "scoring.view_mismatch")).toBe(true);
  expect(messages).toContain('has no feature "b"');
  expect(messages).toContain('"carrier" is a int now and feeds a BYTES');
  expect(messages).toContain("extra");
  expect(messages).toContain("sha256:abababababab");
  const silent = checkView(manifest, "flights", other, viewShape.features);
  expect(silent.map(({ message }) => message).join()).toContain("an expression, a window or a contract changed");
  expect(checkView(manifest, "other", VIEW_DIGEST, viewShape.features)).toHaveLength(1);
});
