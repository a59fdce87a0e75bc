import { expect, test } from "bun:test";
import { createConnector } from "../../src/connectors/registry.ts";
import { verifyLedger } from "../../src/ingestion/ledger.ts";
import { planSource } from "../../src/ingestion/plan.ts";
import { createIngestState } from "../../src/ingestion/state.ts";
import { stepSource } from "../../src/ingestion/step.ts";
import { MemoryStore } from "../support/memory_store.ts";
import { FLIGHT_ROUTES, fileSource, nycDatasets, ROOT, streamRows, tickingClock } from "./harness.ts";

const BAD = `${ROOT}examples/nycflights/bad/`;

interface Expected {
  readonly file: string;
  readonly record: number;
  readonly dataset: string;
  readonly code: string;
  readonly field: string | null;
  readonly rule: string;
}

/** Ingests the files of bad rows and compares what was quarantined with what is written beside them. */
async function ingestBad() {
  const clock = tickingClock();
  const store = new MemoryStore(clock);
  const state = createIngestState();
  const datasets = await nycDatasets();
  const plans = [];
  const quarantined: Expected[] = [];
  for (const [file, routes] of [
    ["flights.csv", FLIGHT_ROUTES],
    ["flights.jsonl", FLIGHT_ROUTES],
    ["weather.csv", { weather: {} }],
  ] as const) {
    const name = file.replace(".", "_");
    const config = fileSource(BAD + file, { routes });
    const plan = planSource(name, config, datasets);
    const connector = createConnector(name, config, { clock, resolve: (path) => path, expectations: [] });
    while ((await stepSource({ store, plan, connector, state, clock })) !== "end") {}
    plans.push(plan);
    for (const dataset of Object.keys(routes)) {
      for (const row of await streamRows(store, `quarantine/${dataset}`)) {
        if (row.source !== name) continue;
        const { index, code, field, rule } = row as unknown as { index: number } & Expected;
        quarantined.push({ file, record: index, dataset, code, field, rule });
      }
    }
  }
  return { store, plans, quarantined };
}

const key = (one: Expected) => JSON.stringify([one.file, one.record, one.dataset]);

test("every bad row is quarantined with the reason written beside it, and no good row is", async () => {
  const expected = (await Bun.file(`${BAD}expected.jsonl`).text())
    .trim()
    .split("\n")
    .map((line) => {
      const { file, record, dataset, code, field, rule } = JSON.parse(line) as Expected;
      return { file, record, dataset, code, field, rule };
    });
  const { quarantined } = await ingestBad();
  const sorted = (list: readonly Expected[]) => [...list].sort((a, b) => (key(a) < key(b) ? -1 : 1));
  expect(sorted(quarantined)).toEqual(sorted(expected));
  expect(new Set(expected.map((one) => `${one.file} ${one.record}`)).size).toBeGreaterThanOrEqual(25);
});

test("the good rows among them are curated, and the ledger adds up", async () => {
  const { store, plans } = await ingestBad();
  const report = await verifyLedger(store, plans);
  expect(report.problems).toEqual([]);
  const line = (source: string, dataset: string) =>
    report.lines.find((one) => one.source === source && one.dataset === dataset)!;
  expect(line("flights_csv", "departures")).toMatchObject({ received: 35, dropped: 1, reasons: { not_departed: 1 } });
  expect(line("flights_csv", "schedule").curated).toBe(12);
  expect(line("flights_jsonl", "departures")).toMatchObject({ curated: 3, dropped: 1 });
  expect(line("weather_csv", "weather").curated).toBe(2);
  const schedule = await streamRows(store, "curated/schedule");
  expect(schedule.map((row) => row.tailnum)).toContain('N14 "228"');
  expect(schedule.map((row) => row.tailnum)).toContain("N142\n28");
});

test("a quarantined record keeps what was received, and no message shows a value", async () => {
  const { store } = await ingestBad();
  const rows = await streamRows(store, "quarantine/departures");
  const late = rows.find((row) => row.field === "dep_delay" && row.rule === "number")!;
  expect(JSON.parse(late.record as string)).toMatchObject({ dep_delay: "late", origin: "EWR" });
  expect(late.value_digest).toHaveLength(32);
  expect(late.message).not.toContain('late"');
  expect(late.message).toBe("dep_delay is text, not a number");
});
