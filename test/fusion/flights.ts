import type { Clock } from "../../src/base/clock.ts";
import type { Row } from "../../src/base/row.ts";
import { MICROS_PER_HOUR, MICROS_PER_MINUTE } from "../../src/base/time.ts";
import { configSchema, type DatasetConfig, type ViewConfig } from "../../src/config/schema.ts";
import { batchOf } from "../../src/contract/batch.ts";
import { type Contract, streamContract } from "../../src/contract/contract.ts";
import { CONTROL, controlContract, curatedStream } from "../../src/contract/streams.ts";
import type { DatasetPlan } from "../../src/fusion/draft.ts";
import type { Feed } from "../../src/fusion/watermark.ts";
import type { Append, Store } from "../../src/store/port.ts";

/** A small world of flights: a spine, an endless or finite stream of departures, weather with its own available time, planes without time. */
export const HOUR = MICROS_PER_HOUR;
export const MINUTE = MICROS_PER_MINUTE;
export const DAWN = Date.UTC(2013, 0, 1) * 1000;

export const contracts = {
  schedule: streamContract({
    name: "schedule",
    fields: {
      carrier: "string",
      flight: "int",
      scheduled: "timestamp",
      origin: "string?",
      tailnum: "string?",
      distance: "double",
      lead: "int?",
    },
    entity: ["carrier", "flight"],
    eventTime: "scheduled",
    recordId: ["carrier", "flight", "scheduled"],
  }),
  departures: streamContract({
    name: "departures",
    fields: {
      carrier: "string",
      flight: "int",
      scheduled: "timestamp",
      departed: "timestamp",
      origin: "string?",
      dep_delay: "double?",
    },
    entity: ["carrier", "flight"],
    eventTime: "departed",
    recordId: ["carrier", "flight", "scheduled"],
  }),
  weather: streamContract({
    name: "weather",
    fields: { origin: "string", time_hour: "timestamp", wind: "double?" },
    entity: ["origin"],
    eventTime: "time_hour",
    recordId: ["origin", "time_hour"],
  }),
  planes: streamContract({
    name: "planes",
    fields: { tailnum: "string", seats: "int?" },
    entity: ["tailnum"],
    recordId: ["tailnum"],
  }),
} satisfies Record<string, Contract>;

export type DatasetName = keyof typeof contracts;

export const VIEW = {
  spine: "schedule",
  as_of: "scheduled - minutes(lead)",
  joins: {
    weather: { from: "weather", by: ["origin"], max_age: "3h" },
    plane: { from: "planes", by: ["tailnum"] },
  },
  windows: {
    origin_3h: {
      from: "departures",
      by: ["origin"],
      window: "3h",
      values: {
        delay: "avg(dep_delay)",
        n: "count(*)",
        known: "count(dep_delay)",
        total: "sum(dep_delay * 2)",
        low: "min(dep_delay)",
        high: "max(dep_delay)",
        spread: "std(dep_delay)",
      },
    },
    carrier_6h: {
      from: "departures",
      by: ["carrier"],
      window: "6h",
      where: "dep_delay > 0",
      exclude_current: true,
      rows: 3,
      values: { delay: "avg(dep_delay)", n: "count(*)" },
    },
  },
  features: {
    distance: "distance",
    carrier: "carrier",
    wind: "weather.wind",
    weather_age: "age_hours(weather)",
    seats: "plane.seats",
    delay: "origin_3h.delay",
    n: "origin_3h.n",
    known: "origin_3h.known",
    total: "origin_3h.total",
    low: "origin_3h.low",
    high: "origin_3h.high",
    spread: "origin_3h.spread",
    carrier_delay: "carrier_6h.delay",
    carrier_n: "carrier_6h.n",
    trend: "origin_3h.delay - carrier_6h.delay",
  },
  label: { late: { from: "departures", by: ["carrier", "flight", "scheduled"], value: "dep_delay > 15" } },
};

export function viewConfig(view: object = VIEW): ViewConfig {
  const config = configSchema.parse({ site: "test", keys: { path: "k" }, views: { flight_delay: view } });
  return config.views.flight_delay!;
}

export function datasetPlans(available?: string): Map<string, DatasetPlan> {
  const datasets = Object.fromEntries(
    Object.entries(contracts).map(([name]) => {
      const extra =
        name === "weather" ? { available: available ?? "time_hour + minutes(51)" } : { static: name === "planes" };
      return [name, { contract: `${name}.avsc`, ...extra }];
    }),
  );
  const config = configSchema.parse({ site: "test", keys: { path: "k" }, datasets });
  return new Map(
    Object.entries(contracts).map(([name, contract]) => [
      name,
      { contract, config: config.datasets[name] as DatasetConfig },
    ]),
  );
}

export const finiteFeeds: readonly Feed[] = [
  { name: "flights", finite: true, lateness: 0, idleAfter: 0, datasets: ["schedule", "departures"] },
  { name: "weather", finite: true, lateness: 0, idleAfter: 0, datasets: ["weather"] },
  { name: "planes", finite: true, lateness: 0, idleAfter: 0, datasets: ["planes"] },
];

export const endlessFeeds: readonly Feed[] = finiteFeeds.map((feed) => ({
  ...feed,
  finite: feed.name === "planes",
  lateness: 30 * MINUTE,
  idleAfter: MINUTE,
}));

/** A clock that a test sets. */
export function testClock(): Clock & { at: number } {
  const clock = { at: DAWN, now: () => clock.at };
  return clock;
}

/** A row of a dataset, or the withdrawal of one. */
export interface Change {
  readonly dataset: DatasetName;
  readonly row: Row;
  readonly withdrawn?: boolean;
}

/** One commit of those changes, in their order within each dataset. */
export async function commitChanges(store: Store, changes: readonly Change[]): Promise<void> {
  const appends: Append[] = [];
  for (const [name, contract] of Object.entries(contracts)) {
    const mine = changes.filter((change) => change.dataset === name);
    if (mine.length === 0) continue;
    const batch = batchOf(
      contract,
      mine.map((change) => change.row),
    );
    appends.push({
      stream: curatedStream(name),
      batch,
      tombstones: Uint8Array.from(mine, (change) => (change.withdrawn ? 1 : 0)),
    });
  }
  await store.commit({ appends });
}

export async function endInput(store: Store, ...sources: string[]): Promise<void> {
  const rows = sources.map((subject) => ({ kind: "end_of_input", subject, body: "{}", at: DAWN }));
  await store.commit({ appends: [{ stream: CONTROL, batch: batchOf(controlContract, rows) }] });
}
