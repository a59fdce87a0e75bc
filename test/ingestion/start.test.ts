/** What opening a source reads: not the whole history. */
import { expect, test } from "bun:test";
import { type Batch, batchOf } from "../../src/contract/batch.ts";
import type { Connector } from "../../src/contract/page.ts";
import {
  CONTROL,
  controlContract,
  LEDGER,
  landingContract,
  landingStream,
  ledgerContract,
} from "../../src/contract/streams.ts";
import { planSource } from "../../src/ingestion/plan.ts";
import { createIngestState, nextLandingSequence } from "../../src/ingestion/state.ts";
import { stepSource } from "../../src/ingestion/step.ts";
import type { ScanOptions, Store } from "../../src/store/port.ts";
import { MemoryStore } from "../support/memory_store.ts";
import { fileSource, nycDatasets, tickingClock } from "./harness.ts";

const page = (source: string, cursor: string, received: number) => ({
  appends: [
    {
      stream: landingStream(source),
      batch: batchOf(landingContract, [{ payload: new Uint8Array(0), format: "json", cursor, received_at: 1 }]),
    },
    { stream: LEDGER, batch: batchOf(ledgerContract, [line(source, received)]) },
  ],
});
const line = (source: string, received: number) => ({
  source,
  dataset: "planes",
  received,
  curated: received,
  corrected: 0,
  duplicate: 0,
  quarantined: 0,
  dropped: 0,
  reasons: "{}",
  at: 1,
});

/** The store, and the scans made of it with the rows they gave. */
function watched(store: MemoryStore) {
  const scans: { stream: string; options: ScanOptions; rows: number }[] = [];
  const scan: Store["scan"] = async function* (stream, options = {}) {
    const entry = { stream, options, rows: 0 };
    scans.push(entry);
    for await (const part of store.scan(stream, options)) {
      entry.rows += (part.batch as Batch).length;
      yield part;
    }
  };
  const { head, commitAt, cursor, position, streams } = store;
  const commit: Store["commit"] = (request) => store.commit(request);
  return { scans, store: { ...store, head, commitAt, cursor, position, streams, commit, scan } as unknown as Store };
}

test("a connector is told of as many of the newest pages as it remembers, oldest first", async () => {
  const memory = new MemoryStore(tickingClock());
  await memory.commit(page("s", "old", 9));
  for (let i = 0; i < 13_000; i++) await memory.commit({ appends: [], readers: { other: i } });
  for (let i = 1; i <= 5; i++) await memory.commit(page(i === 3 ? "another" : "s", `c${i}`, i));
  const { scans, store } = watched(memory);
  const told: [string, number][] = [];
  const connector: Connector = {
    promises: { replayable: false, ordered: true, acknowledges: true, finite: false },
    open: async () => {},
    next: async () => ({ kind: "wait" }),
    ack: async () => {},
    remembers: 3,
    remember: (cursor, { counts }) => void told.push([cursor, counts.planes!.received]),
    ready: async () => {},
    close: async () => {},
  } as Connector;
  const plan = planSource("s", fileSource("x", { dataset: "planes" }), await nycDatasets());
  const state = createIngestState();
  expect(await stepSource({ store, plan, connector, state, clock: tickingClock() })).toBe("idle");
  expect(told).toEqual([
    ["c2", 2],
    ["c4", 4],
    ["c5", 5],
  ]);
  expect(state.sources.get("s")).toMatchObject({ nextLanding: 5, ended: false });
  const old = scans.filter(({ options }) => (options.after ?? 0) === 0 && options.upTo !== undefined);
  expect(old).toEqual([]); // the first page lies further back than anyone looked
});

test("where landing goes on is known without reading it, and control is read once for all sources", async () => {
  const memory = new MemoryStore(tickingClock());
  for (let i = 0; i < 5; i++) await memory.commit(page("a", `c${i}`, i));
  const end = { kind: "end_of_input", subject: "b", body: "{}", at: 1 };
  await memory.commit({ appends: [{ stream: CONTROL, batch: batchOf(controlContract, [end]) }] });
  const { scans, store } = watched(memory);
  expect([await nextLandingSequence(store, "a"), await nextLandingSequence(store, "none")]).toEqual([5, 0]);
  expect(scans).toEqual([]);
  const state = createIngestState();
  const datasets = await nycDatasets();
  const clock = tickingClock();
  for (const name of ["a", "b"]) {
    const connector = { open: async () => {}, next: async () => ({ kind: "wait" }) } as unknown as Connector;
    const plan = planSource(name, fileSource("x", { dataset: "planes" }), datasets);
    await stepSource({ store, plan, connector, state, clock });
  }
  expect([...state.sources].map(([name, { ended }]) => [name, ended])).toEqual([
    ["a", false],
    ["b", true],
  ]);
  expect(scans.map(({ stream }) => stream)).toEqual([CONTROL]);
});
