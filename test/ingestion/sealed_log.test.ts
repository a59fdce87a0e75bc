import { expect, test } from "bun:test";
import { createConnector } from "../../src/connectors/registry.ts";
import { verifyLedger } from "../../src/ingestion/ledger.ts";
import { planSource } from "../../src/ingestion/plan.ts";
import { createIngestState } from "../../src/ingestion/state.ts";
import { stepSource } from "../../src/ingestion/step.ts";
import type { Store } from "../../src/store/port.ts";
import { openStore } from "../../src/store/store.ts";
import { MemoryStore } from "../support/memory_store.ts";
import { storeHome } from "../support/store_home.ts";
import { FLIGHT_ROUTES, fileSource, nycDatasets, ROOT, streamRows, tickingClock } from "./harness.ts";

const SOURCES = [
  ["planes", fileSource(`${ROOT}examples/nycflights/data/planes.csv.zst`, { dataset: "planes" })],
  ["bad", fileSource(`${ROOT}examples/nycflights/bad/flights.csv`, { routes: FLIGHT_ROUTES })],
  ["again", fileSource(`${ROOT}examples/nycflights/bad/flights.csv`, { routes: FLIGHT_ROUTES })],
] as const;
const STREAMS = ["curated/planes", "curated/schedule", "curated/departures", "quarantine/departures"];

/** Steps each source to its end, in pages of 16 KiB; `restart` is asked after every step for the store to go on with. */
async function ingest(first: Store, restart: (store: Store) => Promise<Store>) {
  const clock = tickingClock();
  let store = first;
  const datasets = await nycDatasets();
  const plans = SOURCES.map(([name, config]) => planSource(name, config, datasets));
  for (const [i, [name, config]] of SOURCES.entries()) {
    for (let step = ""; step !== "end"; ) {
      const connector = createConnector(name, config, { clock, resolve: (path) => path, expectations: [] });
      const input = { store, plan: plans[i]!, connector, state: createIngestState(), clock, maxBytes: 1 << 14 };
      step = await stepSource(input);
      await connector.close();
      store = await restart(store);
    }
  }
  return { store, plans };
}

const plain = (rows: readonly Record<string, unknown>[]) =>
  rows.map((row) => JSON.stringify(row, (key, value) => (key === "received_at" ? 0 : value)));

test("on the sealed log, closed and opened after every page, the streams are those of one run in memory", async () => {
  const home = storeHome();
  try {
    const memory = await ingest(new MemoryStore(tickingClock()), async (store) => store);
    let steps = 0;
    const sealed = await ingest(await openStore(home.options), async (store) => {
      if (++steps % 3 !== 0) return store;
      await store.close();
      return openStore(home.options);
    });
    for (const stream of STREAMS) {
      const rows = plain(await streamRows(sealed.store, stream));
      expect(rows).toEqual(plain(await streamRows(memory.store, stream)));
      expect(rows.length).toBeGreaterThan(5);
    }
    const report = await verifyLedger(sealed.store, sealed.plans);
    expect(report.problems).toEqual([]);
    expect(report.lines).toEqual((await verifyLedger(memory.store, memory.plans)).lines);
    expect(report.lines.find((line) => line.source === "again" && line.dataset === "schedule")).toMatchObject({
      curated: 0,
      duplicate: 12,
    });
    await sealed.store.close();
  } finally {
    home.remove();
  }
});
