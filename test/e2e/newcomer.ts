import { mkdirSync, mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { seededRandom } from "../../src/base/random.ts";
import { formatInstant, MICROS_PER_DAY, MICROS_PER_HOUR, parseInstant } from "../../src/base/time.ts";

/**
 * A newcomer's own problem: two CSV files that are in no example, one with awkward names and texts, and a config over
 * the contracts that `mlpe contract infer` proposes. Whoever has a program can take the walk with it.
 */
export interface NewcomerHome {
  readonly directory: string;
  /** Rows of readings.csv that can be read; one more can't. */
  readonly readings: number;
  /** Rows of failures.csv. */
  readonly failures: number;
}

const READINGS = 160;
const START = parseInstant("2024-01-01T06:00:00Z")!;

/** Makes the directory with the CSV files and the config; `model.onnx` is a graph that takes four numbers as 32-bit floats. */
export function makeNewcomerHome(onnx: Uint8Array): NewcomerHome {
  const directory = mkdtempSync(join(tmpdir(), "mlpe-newcomer-"));
  const random = seededRandom(11);
  const readings = ["Pump No.,site,read at,flow (l/s),heat,noise,wear"];
  const failures = ["pump,found_at,failed"];
  for (let i = 0; i < READINGS; i++) {
    const at = START + i * 6 * MICROS_PER_HOUR;
    const [flow, heat, noise, wear] = [0, 1, 2, 3].map(() => ((random.next() - 0.5) * 3).toFixed(4));
    const site = ['"Harbour, north"', '"The ""old"" mill"', "Quarry"][i % 3];
    const noiseText = i % 10 === 3 ? "NA" : noise;
    readings.push(`${String(i).padStart(4, "0")},${site},${formatInstant(at)},${flow},${heat},${noiseText},${wear}`);
    if (i % 8 === 5) continue; // never looked at again: stays unlabelled
    const failed = Number(flow) + Number(heat) > 0;
    failures.push(`${String(i).padStart(4, "0")},${formatInstant(at + 2 * MICROS_PER_DAY)},${failed}`);
  }
  readings.push("9999,Quarry,yesterday,1,2,3,4");
  const files = {
    "readings.csv": `${readings.join("\r\n")}\r\n`,
    "failures.csv": `${failures.join("\n")}\n`,
    "mlpe.yaml": CONFIG,
    "model.onnx": onnx,
  };
  mkdirSync(join(directory, "keys"));
  for (const [name, content] of Object.entries(files)) writeFileSync(join(directory, name), content);
  return { directory, readings: READINGS, failures: failures.length - 1 };
}

const CONFIG = `
site: newcomer
keys: { path: keys/store.key }
sources:
  readings: { connector: file, path: readings.csv, dataset: readings }
  failures: { connector: file, path: failures.csv, dataset: failures }
datasets:
  readings:
    contract: readings.avsc
    rename: { Pump_No: "Pump No.", read_at: read at, flow_l_s: flow (l/s) }
  failures: { contract: failures.avsc }
views:
  pump_failure:
    spine: readings
    windows:
      lately: { from: failures, by: { Pump_No: pump }, window: 30d, values: { n: count(*) } }
    features: { flow: flow_l_s, heat: heat, noise: noise, wear: wear, lately: lately.n }
    label:
      failed: { from: failures, by: { Pump_No: pump }, value: failed }
trust: [trust.pem]
models:
  pump_failure: { artifact: package }
`;
