import { mkdtempSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Clock } from "../../src/base/clock.ts";
import { sha256Hex } from "../../src/base/digest.ts";
import { MlpeError } from "../../src/base/errors.ts";
import type { GoldenRow } from "../../src/contract/model_package.ts";
import type { ViewShape } from "../../src/contract/streams.ts";
import { openEngine } from "../../src/scoring/session.ts";
import type { Engine } from "../../src/scoring/tensor.ts";

export const fixture = (name: string) => new Uint8Array(readFileSync(join(import.meta.dir, "fixtures", name)));
export const fixturePath = (name: string) => join(import.meta.dir, "fixtures", name);

/** The real engine: it is used where the package manager put it, so the directory stays empty. */
export const testEngine = (): Engine => openEngine(mkdtempSync(join(tmpdir(), "mlpe-scoring-")));

/** A clock that stands until it is told. */
export function handClock(start = 1_700_000_000_000_000): Clock & { time: number } {
  return {
    time: start,
    now() {
      return this.time;
    },
  };
}

export const VIEW_DIGEST = `sha256:${"ab".repeat(32)}`;

const encode = (value: unknown) => new TextEncoder().encode(JSON.stringify(value));

interface Expected {
  readonly mixed: readonly GoldenRow[];
  readonly mixed_unknown: readonly GoldenRow[];
  readonly trees: readonly GoldenRow[];
}
/** Scores that scikit-learn gave. */
export const expected = JSON.parse(readFileSync(fixturePath("expected.json"), "utf8")) as Expected;

export type Draft = Record<string, unknown>;

const numeric = (names: readonly string[], policy?: unknown) =>
  names.map((name) => ({ name, ...(policy === undefined ? {} : { null: policy }) }));

const probabilities = {
  outputs: [
    { name: "label", datatype: "INT64", shape: [-1] },
    { name: "probabilities", datatype: "FP32", shape: [-1, 2] },
  ],
  score: { name: "p_late", output: "probabilities", column: 1, type: "probability", threshold: 0.5 },
};

const KINDS = {
  mixed: {
    golden: [...expected.mixed, ...expected.mixed_unknown],
    inputs: [
      { name: "numeric", datatype: "FP32", shape: [-1, 4], features: numeric(["a", "b", "c", "d"], "reject") },
      {
        name: "carrier",
        datatype: "BYTES",
        shape: [-1, 1],
        features: [{ name: "carrier", null: "reject", categories: ["AA", "B6", "UA"], unknown: "pass" }],
      },
    ],
    ...probabilities,
  },
  trees: {
    golden: expected.trees,
    inputs: [{ name: "X", datatype: "FP32", shape: [-1, 4], features: numeric(["a", "b", "c", "d"]) }],
    ...probabilities,
  },
  linear: {
    golden: [{ features: { a: 1, b: 2, c: 3 }, score: 321 }],
    inputs: [{ name: "x", datatype: "FP32", shape: [-1, 3], features: numeric(["a", "b", "c"], "reject") }],
    outputs: [{ name: "sum", datatype: "FP32", shape: [-1, 1] }],
    score: { name: "sum", output: "sum", type: "number" },
  },
};

/** The files of a good package; `change` may spoil the manifest before its bytes are written. */
export function packageFiles(
  kind: keyof typeof KINDS,
  change: (manifest: Draft) => void = () => {},
  extra: Readonly<Record<string, Uint8Array>> = {},
): Map<string, Uint8Array> {
  const { golden, inputs, outputs, score } = structuredClone(KINDS[kind]);
  const model = fixture(`${kind}.onnx`);
  const files = new Map<string, Uint8Array>([
    ["model.onnx", model],
    ["golden.jsonl", new TextEncoder().encode(golden.map((row) => JSON.stringify(row)).join("\n"))],
    ["README.md", new TextEncoder().encode("A model card.\n")],
    ...Object.entries(extra),
  ]);
  const digests = [...files].map(([path, bytes]) => [path, `sha256:${sha256Hex(bytes)}`]);
  const manifest: Draft = {
    manifest: "mlpe.model/v1",
    name: kind,
    version: "1.0.0",
    model: { file: "model.onnx", sha256: sha256Hex(model), format: "onnx", opset: 17 },
    view: { name: "flights", digest: VIEW_DIGEST },
    inputs,
    outputs,
    score,
    golden: { file: "golden.jsonl", rows: golden.length, atol: 1e-6, rtol: 1e-5 },
    card: "README.md",
    files: Object.fromEntries(digests),
  };
  change(manifest);
  files.set("model.json", encode(manifest));
  return files;
}

/** The view that the packages above were trained on. */
export const viewShape: ViewShape = {
  view: "flights",
  keys: [{ name: "flight", type: "int", nullable: false, classification: "internal" }],
  entity: ["flight"],
  features: [
    ...["a", "b", "c", "d"].map((name) => ({ name, type: "double" as const })),
    { name: "carrier", type: "string" },
  ],
  inputs: ["weather"],
};

/** The code of the MlpeError that `act` throws; anything else thrown fails the test. */
export function codeOf(act: () => unknown): string {
  try {
    act();
  } catch (error) {
    if (error instanceof MlpeError) return error.code;
    throw error;
  }
  return "none";
}
