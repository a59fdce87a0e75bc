import { readFileSync } from "node:fs";
import { join } from "node:path";
import { sha256Hex } from "../../src/base/digest.ts";
import { systemRandom } from "../../src/base/random.ts";
import { generateSigningKey } from "../../src/delivery/sign.ts";
import { createDesk, type Desk } from "../support/world.ts";

/** A value that stands in the environment and must never be printed. */
export const SECRET = "s3cr3t-7f1c9a";

export const CONFIG = `site: test
keys: { provider: file, path: key }
data: data
listen: { host: 127.0.0.1, port: 0, max_body: 262144 }
sources:
  readings: { connector: file, path: readings.csv, dataset: readings }
  places: { connector: file, path: places.csv, dataset: places }
  events: { connector: http_push, dataset: events }
datasets:
  readings: { contract: readings.avsc }
  places: { contract: places.avsc, static: true }
  events: { contract: events.avsc }
views:
  load:
    spine: readings
    joins:
      place: { from: places, by: [place] }
    windows:
      hour: { from: readings, by: [place], window: 1h, values: { n: count(*) } }
    features:
      a: temperature
      b: double(place.height)
      c: hour.n
trust: [public.pem]
models:
  load: { artifact: package }
checks:
  readings:
    - { expect_column_values_to_not_be_null: { column: sensor }, severity: warn }
notify: { ops: { webhook: "\${WEBHOOK:-}" } }
`;

const TIMESTAMP = { type: "long", logicalType: "timestamp-micros" };

export const READINGS = {
  type: "record",
  name: "readings",
  fields: [
    { name: "sensor", type: "string" },
    { name: "place", type: "string" },
    { name: "at", type: TIMESTAMP },
    { name: "temperature", type: ["null", "double"] },
  ],
  entity: ["sensor"],
  eventTime: "at",
  recordId: ["sensor", "at"],
};

const PLACES = {
  type: "record",
  name: "places",
  fields: [
    { name: "place", type: "string" },
    { name: "height", type: "int" },
  ],
  entity: ["place"],
  recordId: ["place"],
};

const EVENTS = {
  type: "record",
  name: "events",
  fields: [
    { name: "id", type: "string" },
    { name: "at", type: TIMESTAMP },
    { name: "size", type: "int" },
  ],
  entity: ["id"],
  eventTime: "at",
  recordId: ["id"],
};

export const READINGS_CSV = [
  "sensor,place,at,temperature",
  "s1,north,2024-01-01T10:00:00Z,1.5",
  "s2,north,2024-01-01T10:30:00Z,2.5",
  "s1,south,2024-01-01T11:00:00Z,NA",
  "",
].join("\n");

/** A good project: every case takes it and spoils one thing. */
export function createProject(): Desk {
  const desk = createDesk({ API_TOKEN: SECRET });
  desk.write("mlpe.yaml", CONFIG);
  desk.write("readings.avsc", JSON.stringify(READINGS));
  desk.write("places.avsc", JSON.stringify(PLACES));
  desk.write("events.avsc", JSON.stringify(EVENTS));
  desk.write("readings.csv", READINGS_CSV);
  desk.write("places.csv", "place,height\nnorth,10\nsouth,20\n");
  const { privatePem, publicPem } = generateSigningKey(systemRandom);
  desk.write("private.pem", privatePem, 0o600);
  desk.write("public.pem", publicPem);
  return desk;
}

/** The config with one piece of its text replaced; the piece must be there. */
export function edited(find: string, replacement: string): string {
  if (!CONFIG.includes(find)) throw new Error(`the config has no ${find}`);
  return CONFIG.replace(find, () => replacement);
}

const fixtures = join(import.meta.dir, "../scoring/fixtures");
export const onnx = (name: string): Uint8Array => new Uint8Array(readFileSync(join(fixtures, name)));

export interface PackageDraft {
  readonly version?: string;
  readonly viewName?: string;
  readonly viewDigest?: string;
  readonly model?: Uint8Array;
  readonly features?: readonly string[];
  /** Spoils the manifest before it is written. */
  readonly manifest?: (manifest: Record<string, unknown>) => void;
  readonly golden?: number;
}

/** Writes a package of the model a + 10 b + 100 c for the view `load`. */
export async function writePackage(desk: Desk, directory: string, draft: PackageDraft = {}): Promise<void> {
  const digest = draft.viewDigest ?? (await viewDigest(desk));
  const model = draft.model ?? onnx("linear.onnx");
  const golden = JSON.stringify({ features: { a: 1, b: 2, c: 3 }, score: draft.golden ?? 321 });
  const features = (draft.features ?? ["a", "b", "c"]).map((name) => ({ name, null: "reject" }));
  const manifest: Record<string, unknown> = {
    manifest: "mlpe.model/v1",
    name: "load",
    version: draft.version ?? "1.0.0",
    model: { file: "model.onnx", sha256: sha256Hex(model), format: "onnx", opset: 17 },
    view: { name: draft.viewName ?? "load", digest },
    inputs: [{ name: "x", datatype: "FP32", shape: [-1, 3], features }],
    outputs: [{ name: "sum", datatype: "FP32", shape: [-1, 1] }],
    score: { name: "sum", output: "sum", type: "number" },
    golden: { file: "golden.jsonl", rows: 1, atol: 1e-6, rtol: 1e-5 },
    files: { "model.onnx": `sha256:${sha256Hex(model)}`, "golden.jsonl": `sha256:${sha256Hex(golden)}` },
  };
  draft.manifest?.(manifest);
  desk.write(`${directory}/model.onnx`, model);
  desk.write(`${directory}/golden.jsonl`, golden);
  desk.write(`${directory}/model.json`, JSON.stringify(manifest));
}

async function viewDigest(desk: Desk): Promise<string> {
  const { output } = await desk.run("validate", "--json");
  return (JSON.parse(output) as { views: { digest: string }[] }).views[0]!.digest;
}

/** A command that a case needs to have gone well. */
export async function must(desk: Desk, ...args: readonly string[]): Promise<void> {
  const { exit, errors } = await desk.run(...args);
  if (exit !== 0) throw new Error(`mlpe ${args.join(" ")} gave ${exit}: ${errors}`);
}

/** A project that has read its sources, with a live signed package, which is also in `package`, and scores. */
export async function createDelivered(): Promise<Desk> {
  const desk = createProject();
  await must(desk, "ingest");
  await writePackage(desk, "package");
  await must(desk, "model", "sign", "package", "--key", "private.pem");
  await must(desk, "promote", "load", "package");
  await must(desk, "score", "load");
  return desk;
}
