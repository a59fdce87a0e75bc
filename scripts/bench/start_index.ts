import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Batch } from "../../src/contract/batch.ts";
import { contractOf } from "../../src/contract/contract.ts";
import { curatedStream } from "../../src/contract/streams.ts";
import { less, median, type Result } from "./bench.ts";
import { holds, opened } from "./start_holds.ts";

const ENTITIES = 1_000_000;
const VALUES = 12;
const BATCH_ROWS = 8_192;
const RUNS = 3;

const names = Array.from({ length: VALUES }, (_, i) => `v${i}`);

const SCHEMA = {
  type: "record",
  name: "devices",
  entity: ["device"],
  eventTime: "at",
  recordId: ["device"],
  fields: [
    { name: "device", type: "string" },
    { name: "at", type: { type: "long", logicalType: "timestamp-micros" } },
    ...names.map((name) => ({ name, type: ["null", "double"], default: null })),
  ],
};

/** A project of one view over one dataset: an entity a row. Nothing scores, nothing comes in. */
const CONFIG = `site: bench
keys: { provider: file, path: ./key }
sources: { devices: { connector: http_push, dataset: devices } }
datasets: { devices: { contract: devices.avsc } }
views:
  device:
    spine: devices
    features: { ${names.map((name) => `${name}: ${name}`).join(", ")} }
`;

/** Starts the program on a data directory; answers the milliseconds until it was ready, once it has stopped. */
export type StartOnce = (config: string, data: string) => Promise<{ milliseconds: number; residentBytes: number }>;

/**
 * The online index of a million entities of 12 values: start to ready from where it was saved, against folding the same
 * log; and how long each way of folding holds the thread.
 */
export async function indexFigures(start: StartOnce, tell: (line: string) => void): Promise<Result[]> {
  const directory = mkdtempSync(join(tmpdir(), "mlpe-bench-"));
  const data = join(directory, "data");
  try {
    tell(`preparing ${ENTITIES} entities`);
    await prepare(directory, data);
    const config = join(directory, "mlpe.yaml");
    const [saved, anew, resident]: [number[], number[], number[]] = [[], [], []];
    for (let tries = 0; saved.length < RUNS && tries < RUNS * 3; tries++) {
      tell(`start with ${ENTITIES} entities, ${saved.length + 1} of ${RUNS}`);
      rmSync(join(data, "folds"), { recursive: true, force: true });
      anew.push((await start(config, data)).milliseconds);
      if (!existsSync(join(data, "folds")) || readdirSync(join(data, "folds")).length === 0) continue;
      const started = await start(config, data);
      saved.push(started.milliseconds);
      resident.push(started.residentBytes / 2 ** 20);
    }
    if (saved.length < RUNS) throw new Error("the index was not saved");
    const floor = "folding the same log";
    return [
      less("1 M entities: start to ready", "ms", median(saved), median(anew), floor),
      less(
        "1 M entities: resident when ready",
        "MiB",
        median(resident),
        (ENTITIES * (VALUES + 2) * 8) / 2 ** 20,
        "its numbers alone",
      ),
      ...(await holds(directory, config, data, tell)),
    ];
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

async function prepare(directory: string, data: string): Promise<void> {
  writeFileSync(join(directory, "mlpe.yaml"), CONFIG);
  writeFileSync(join(directory, "devices.avsc"), JSON.stringify(SCHEMA));
  mkdirSync(data, { mode: 0o700 });
  const contract = contractOf(SCHEMA, "devices");
  const store = await opened(data, { provider: "file", path: join(directory, "key") });
  for (let from = 0; from < ENTITIES; from += BATCH_ROWS) {
    const batch = devices(contract, from, Math.min(ENTITIES, from + BATCH_ROWS));
    await store.commit({ appends: [{ stream: curatedStream("devices"), batch }] });
  }
  await store.compact();
  await store.close();
}

function devices(contract: Batch["contract"], from: number, to: number): Batch {
  const length = to - from;
  const column = (v: number) => {
    const values = new Float64Array(length);
    for (let i = 0; i < length; i++) values[i] = Math.round(Math.abs(Math.sin((from + i) * (v + 1))) * 1e6) / 100;
    return { kind: "number" as const, values };
  };
  const dictionary = Array.from({ length }, (_, i) => `device-${(from + i).toString(36).padStart(6, "0")}`);
  return {
    contract,
    length,
    columns: [
      { kind: "text", codes: Int32Array.from({ length }, (_, i) => i), dictionary },
      { kind: "number", values: Float64Array.from({ length }, (_, i) => 1_700_000_000_000_000 + from + i) },
      ...names.map((_, v) => column(v)),
    ],
  };
}
