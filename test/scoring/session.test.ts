import { expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { codeOf, fixture, fixturePath, testEngine } from "./support.ts";

const engine = testEngine();

test("a model runs in a process of its own, in its main thread and in a Worker", async () => {
  const directory = mkdtempSync(join(tmpdir(), "mlpe-engine-"));
  try {
    const child = Bun.spawn([process.execPath, fixturePath("engine_main.ts"), directory, fixturePath("linear.onnx")], {
      env: {},
      stderr: "pipe",
    });
    const [output, errors] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
    expect(errors).toBe("");
    expect(JSON.parse(output)).toMatchObject({ sum: 321, inWorker: 654, version: "onnxruntime 1.30.0" });
  } finally {
    rmSync(directory, { recursive: true });
  }
}, 30_000);

test("the engine says what decides the bits", () => {
  expect(engine.version).toBe("onnxruntime 1.30.0");
  expect(engine.cpu).toStartWith(process.arch);
  expect(engine.threads).toBe(1);
});

test("a model that the engine refuses, and inputs that a model refuses, are errors without paths", () => {
  expect(codeOf(() => engine.open(new Uint8Array([1, 2, 3])))).toBe("scoring.model_rejected");
  expect(codeOf(() => engine.open(fixture("external.onnx")))).toBe("scoring.model_rejected");
  expect(codeOf(() => engine.open(fixture("zipmap.onnx")))).toBe("scoring.not_a_tensor");
  const session = engine.open(fixture("linear.onnx"));
  const wrong = { x: { datatype: "FP32", shape: [1, 2], data: new Float32Array(2) } } as const;
  expect(codeOf(() => session.run(wrong))).toBe("scoring.run_failed");
  try {
    session.run({});
    expect.unreachable();
  } catch (error) {
    expect((error as Error).message).not.toContain("/");
  }
  session.dispose();
});
