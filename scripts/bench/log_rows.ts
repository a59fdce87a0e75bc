import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock } from "../../src/base/clock.ts";
import { systemRandom } from "../../src/base/random.ts";
import { type Batch, batchOf, sliceRows } from "../../src/contract/batch.ts";
import { streamContract } from "../../src/contract/contract.ts";
import { LINEAGE, lineageContract } from "../../src/contract/streams.ts";
import type { CommitRequest } from "../../src/store/port.ts";
import type { OpenOptions } from "../../src/store/store.ts";
import { more, type Result } from "./bench.ts";

/** Six columns, as a sensor or a ledger would have them. */
const readingContract = streamContract({
  name: "readings",
  fields: { place: "string", at: "timestamp", reading: "double", count: "long", amount: "double", kind: "string" },
  entity: ["place"],
  eventTime: "at",
  recordId: ["place", "at"],
});

export const STREAM = "curated/readings";
export const BATCH_ROWS = 65_536;
export const START = 1_700_000_000_000_000;
/** Microseconds between two rows, about. */
export const STEP = 20_000;
const PLACES = 2_000;
const KINDS = ["arrival", "departure", "delay", "gate", "weather", "crew", "fuel", "other"];

export const placeName = (place: number) => `P${String(place).padStart(6, "0")}`;
const PLACE_NAMES = Array.from({ length: PLACES }, (_, place) => placeName(place));

/** Rows `from` up to `to` of the one endless series; few places have most of the rows. */
function readings(from: number, to: number): Batch {
  const length = to - from;
  const places = new Int32Array(length);
  const times = new Float64Array(length);
  const values = new Float64Array(length);
  const counts = new Float64Array(length);
  const amounts = new Float64Array(length);
  const kinds = new Int32Array(length);
  for (let i = 0; i < length; i++) {
    const chance = chanceOf(from + i);
    places[i] = Math.floor(PLACES * chance(0) ** 4);
    times[i] = START + (from + i) * STEP + Math.floor(chance(1) * 10 * STEP); // a little out of order
    values[i] = Math.round(chance(2) * 100_000) / 100;
    counts[i] = Math.floor(chance(3) * 500);
    amounts[i] = Math.round(chance(4) * 1_000_000) / 100;
    kinds[i] = Math.floor(chance(5) * KINDS.length);
  }
  return {
    contract: readingContract,
    length,
    columns: [
      { kind: "text", codes: places, dictionary: PLACE_NAMES },
      { kind: "number", values: times },
      { kind: "number", values },
      { kind: "number", values: counts },
      { kind: "number", values: amounts },
      { kind: "text", codes: kinds, dictionary: KINDS },
    ],
  };
}

/** Numbers in [0, 1) that the row's number alone decides. */
function chanceOf(row: number): (which: number) => number {
  return (which) => {
    let mixed = Math.imul(row ^ (which * 0x9e3779b9), 0x85ebca6b);
    mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35);
    mixed = Math.imul(mixed ^ (mixed >>> 16), 0x27d4eb2f);
    return ((mixed ^ (mixed >>> 15)) >>> 0) / 2 ** 32;
  };
}

/** The rows in batches of `size`. */
export function batchesOf(rows: number, size: number, from = 0): Batch[] {
  const made: Batch[] = [];
  for (let at = 0; at < rows; at += BATCH_ROWS) {
    const whole = readings(from + at, from + Math.min(rows, at + BATCH_ROWS));
    for (let i = 0; i < whole.length; i += size) made.push(sliceRows(whole, i, Math.min(whole.length, i + size)));
  }
  return made;
}

/** A commit as a step of the pipeline makes it: the rows, a run of lineage, where the source and a reader stand. */
export function commitOf(batch: Batch, index: number): CommitRequest {
  const event = (eventType: string) => ({
    run_id: `01890000-0000-7000-8000-${String(index).padStart(12, "0")}`,
    job: "ingest.readings",
    event_type: eventType,
    event: JSON.stringify({ ...EVENT, eventType, run: { runId: index, facets: { rows: batch.length } } }),
    at: START + index,
  });
  const lineage = batchOf(lineageContract, [event("START"), event("COMPLETE")]);
  return {
    appends: [
      { stream: STREAM, batch },
      { stream: LINEAGE, batch: lineage },
    ],
    cursors: { readings: `{"file":"readings.csv","offset":${index * 1_000}}` },
    readers: { "fuse/readings": index },
  };
}

const EVENT = {
  eventTime: "2023-11-14T22:13:20.000000Z",
  producer: "https://example.org/mlpe",
  schemaURL: "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent",
  job: { namespace: "bench", name: "ingest.readings", facets: {} },
  inputs: [{ namespace: "bench", name: "source/readings", facets: {} }],
  outputs: [{ namespace: "bench", name: STREAM, facets: { schema: { fields: readingContract.fields } } }],
};

export interface Place {
  readonly directory: string;
  readonly options: OpenOptions;
  remove(): void;
}

/** A new temporary place for a store in a thread of its own. */
export function newPlace(): Place {
  const directory = mkdtempSync(join(tmpdir(), "mlpe-bench-log-"));
  return {
    directory,
    options: {
      directory: join(directory, "data"),
      keys: { provider: "file", path: join(directory, "key") },
      clock: systemClock,
      random: systemRandom,
      thread: true,
    },
    remove: () => rmSync(directory, { recursive: true, force: true }),
  };
}

export function bytesUnder(directory: string): number {
  return readdirSync(directory, { recursive: true, withFileTypes: true }).reduce(
    (sum, entry) => sum + (entry.isFile() ? statSync(join(entry.parentPath, entry.name)).size : 0),
    0,
  );
}

/** Bytes that this process has handed to write calls so far; 0 where the system does not say. */
export function bytesWritten(): number {
  try {
    return Number(/^wchar: (\d+)$/m.exec(readFileSync("/proc/self/io", "utf8"))?.[1] ?? 0);
  } catch {
    return 0;
  }
}

export async function seconds(work: () => unknown): Promise<number> {
  const from = performance.now();
  await work();
  return (performance.now() - from) / 1000;
}

/** Runs `count` pieces of work in order, at most `most` of them not finished. */
export async function inFlight(count: number, work: (i: number) => Promise<unknown>, most: number): Promise<void> {
  let next = 0;
  const worker = async () => {
    while (next < count) await work(next++);
  };
  await Promise.all(Array.from({ length: most }, worker));
}

export const perSecond = (name: string, ours: number, rival: number, rivalName: string): Result =>
  more(name, "rows/s", ours, rival, rivalName);

export function quantile(values: readonly number[], part: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))]!;
}
