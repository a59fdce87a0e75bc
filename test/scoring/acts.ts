import { seededRandom } from "../../src/base/random.ts";
import type { Row } from "../../src/base/row.ts";
import { batchOf, rowsOf } from "../../src/contract/batch.ts";
import { featuresContract, featuresStream, scoresContract } from "../../src/contract/streams.ts";
import type { Program } from "../../src/expression/types.ts";
import { type Guardrails, NO_GUARDRAILS } from "../../src/scoring/guardrails.ts";
import { loadModel } from "../../src/scoring/loaded.ts";
import { readPackage } from "../../src/scoring/package.ts";
import { emptyRequestMemory } from "../../src/scoring/requests.ts";
import type { ScoreRequest } from "../../src/scoring/score.ts";
import { MemoryStore } from "../support/memory_store.ts";
import { handClock, packageFiles, testEngine, viewShape } from "./support.ts";

// The real engine and the plain store. A "restart" is a new memory folded from the same store.
export const engine = testEngine();
export const HOUR = 3_600_000_000;

export function world() {
  const clock = handClock();
  const store = new MemoryStore(clock);
  const files = packageFiles("trees");
  const model = loadModel("late", readPackage(files), engine, clock);
  const contract = scoresContract("late", viewShape);
  return { clock, store, files, model, contract, random: seededRandom(1), guardrails: NO_GUARDRAILS };
}
export type World = ReturnType<typeof world>;

export const T = 1_600_000_000_000_000;
export const feature = (flight: number, values: Row = {}): Row => ({
  key_flight: flight,
  as_of: T + flight * HOUR,
  a: flight / 10,
  b: null,
  c: -1.25,
  d: 0.5,
  carrier: "AA",
  time_weather: T - HOUR,
  position: 3,
  ...values,
});

const featureStream = featuresContract(viewShape);
export const addFeatures = (store: MemoryStore, rows: readonly Row[], tombstones?: Uint8Array) =>
  store.commit({
    appends: [
      { stream: featuresStream("flights"), batch: batchOf(featureStream, rows), ...(tombstones ? { tombstones } : {}) },
    ],
  });

export async function stored(store: MemoryStore, stream: string): Promise<Row[]> {
  const rows: Row[] = [];
  for await (const part of store.scan(stream)) rows.push(...rowsOf(part.batch));
  return rows;
}

export function request(made: World, rows: readonly Row[], change: Partial<ScoreRequest> = {}): ScoreRequest {
  return {
    ...made,
    shape: viewShape,
    memory: emptyRequestMemory(),
    mode: "rows",
    role: "live",
    hindsight: false,
    features: () => rows,
    ...change,
  };
}

/** Guardrails over a program written by hand: the expression room has its own tests. */
export function handGuardrails(
  then: "flag" | "block",
  holds: (a: number, score: number) => boolean | null,
): Guardrails {
  const program: Program = {
    outputs: [],
    inputs: ["a", "score"],
    evaluate: ([a, score]) => ({ values: [holds(a as number, score as number)], failures: [] }),
    close() {},
  };
  return { names: ["rule"], actions: [then], program };
}
