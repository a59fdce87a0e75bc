import fc from "fast-check";
import type { Row, Value } from "../../src/base/row.ts";
import { rowAt } from "../../src/contract/batch.ts";
import type { Store } from "../../src/store/port.ts";
import { type Change, contracts, DAWN, type DatasetName, HOUR, MINUTE } from "./flights.ts";

/** The view of flights.ts, as slowly and plainly as it can be said: filters and sorts over arrays of rows. */

const idOf = (dataset: DatasetName, row: Row): string =>
  JSON.stringify((contracts[dataset].recordId as readonly string[]).map((name) => row[name]));

/** The latest version of each record, without the withdrawn ones. */
export function latest(changes: readonly Change[], dataset: DatasetName): Row[] {
  const rows = new Map<string, Row | null>();
  for (const change of changes) {
    if (change.dataset === dataset) rows.set(idOf(dataset, change.row), change.withdrawn ? null : change.row);
  }
  return [...rows.values()].filter((row) => row !== null);
}

const number = (value: Value | undefined): number => value as number;

/** Event time, then record id. */
function inOrder(dataset: DatasetName, rows: readonly Row[]): Row[] {
  const { eventTime, recordId } = contracts[dataset] as { eventTime?: string; recordId: readonly string[] };
  const names = [...(eventTime ? [eventTime] : []), ...recordId];
  return [...rows].sort((a, b) => {
    for (const name of names) if (a[name] !== b[name]) return a[name]! < b[name]! ? -1 : 1;
    return 0;
  });
}

export function asOfOf(spine: Row): number | null {
  return spine.lead === null ? null : number(spine.scheduled) - number(spine.lead) * MINUTE;
}

export function oracleFeatures(changes: readonly Change[], spine: Row, at: number): Record<string, Value> {
  const weather = inOrder("weather", latest(changes, "weather"))
    .filter((row) => spine.origin !== null && row.origin === spine.origin)
    .filter((row) => number(row.time_hour) >= at - 3 * HOUR && number(row.time_hour) <= at)
    .filter((row) => number(row.time_hour) + 51 * MINUTE <= at)
    .at(-1);
  const plane = latest(changes, "planes").find((row) => spine.tailnum !== null && row.tailnum === spine.tailnum);
  const departures = inOrder("departures", latest(changes, "departures"));
  const within = (hours: number) => (row: Row) =>
    number(row.departed) > at - hours * HOUR && number(row.departed) <= at;
  const origin = departures.filter(within(3)).filter((row) => row.origin === spine.origin);
  const carrier = departures
    .filter(within(6))
    .filter((row) => row.carrier === spine.carrier)
    .filter((row) => row.dep_delay !== null && number(row.dep_delay) > 0)
    .filter((row) => !(row.carrier === spine.carrier && row.flight === spine.flight))
    .slice(-3);
  const delays = (rows: readonly Row[]) =>
    rows.flatMap((row) => (row.dep_delay === null ? [] : [number(row.dep_delay)]));
  const mean = (values: readonly number[]) =>
    values.length === 0 ? null : values.reduce((a, b) => a + b, 0) / values.length;
  const values = delays(origin);
  const nulled = spine.origin === null;
  const delay = nulled ? null : mean(values);
  const carrierDelay = mean(delays(carrier));
  const spread = () => Math.sqrt(values.reduce((sum, value) => sum + (value - delay!) ** 2, 0) / (values.length - 1));
  return {
    distance: spine.distance!,
    carrier: spine.carrier!,
    wind: weather?.wind ?? null,
    weather_age: weather ? (at - number(weather.time_hour)) / HOUR : null,
    seats: plane?.seats ?? null,
    delay,
    n: nulled ? null : origin.length,
    known: nulled ? null : values.length,
    total: nulled || values.length === 0 ? null : values.reduce((a, b) => a + b * 2, 0),
    low: nulled || values.length === 0 ? null : Math.min(...values),
    high: nulled || values.length === 0 ? null : Math.max(...values),
    spread: nulled || values.length < 2 ? null : spread(),
    carrier_delay: carrierDelay,
    carrier_n: carrier.length,
    trend: delay === null || carrierDelay === null ? null : delay - carrierDelay,
    time_weather: weather?.time_hour ?? null,
    time_plane: null,
  };
}

/** All feature rows of the view, by record id. */
export function oracleRows(changes: readonly Change[]): Map<string, Record<string, Value>> {
  const rows = latest(changes, "schedule").flatMap((spine) => {
    const at = asOfOf(spine);
    if (at === null) return [];
    const keys = { key_carrier: spine.carrier!, key_flight: spine.flight!, key_scheduled: spine.scheduled!, as_of: at };
    return [[idOf("schedule", spine), { ...keys, ...oracleFeatures(changes, spine, at) }] as const];
  });
  return new Map(rows);
}

/** Feature rows as the store holds them: the latest version of each, without the position. */
export async function storedRows(store: Store): Promise<Map<string, Record<string, Value>>> {
  const rows = new Map<string, { sequence: number; row: Record<string, Value> | null }>();
  for await (const stored of store.scan("features/flight_delay")) {
    for (let i = 0; i < stored.batch.length; i++) {
      const { position: _, ...row } = rowAt(stored.batch, i);
      const id = JSON.stringify([row.key_carrier, row.key_flight, row.key_scheduled]);
      const sequence = stored.sequences[i]!;
      if ((rows.get(id)?.sequence ?? -1) < sequence) rows.set(id, { sequence, row: stored.tombstones[i] ? null : row });
    }
  }
  return new Map([...rows].flatMap(([id, { row }]) => (row ? [[id, row] as const] : [])));
}

/** Whole-number delays make every sum exact; only the spread may differ in the last bits. */
export function comparable(rows: ReadonlyMap<string, Record<string, Value>>): Record<string, Record<string, Value>> {
  const round = (row: Record<string, Value>) =>
    row.spread === null || row.spread === undefined ? row : { ...row, spread: Math.round(Number(row.spread) * 1e9) };
  return Object.fromEntries([...rows].sort(([a], [b]) => (a < b ? -1 : 1)).map(([id, row]) => [id, round(row)]));
}

const slot = fc.integer({ min: 0, max: 24 }).map((quarter) => DAWN + quarter * 15 * MINUTE);
const carrier = fc.constantFrom("AA", "UA");
const flight = fc.integer({ min: 1, max: 2 });
const origin = fc.constantFrom("EWR", "JFK", null);

const draft = fc.oneof(
  {
    weight: 3,
    arbitrary: fc.record({
      dataset: fc.constant("schedule" as const),
      row: fc.record({
        carrier,
        flight,
        scheduled: slot,
        origin,
        tailnum: fc.constantFrom("N1", "N2", "N3", null),
        distance: fc.constantFrom(0, 200.5, 2475),
        lead: fc.constantFrom(30, 60, 60, 90, null),
      }),
    }),
  },
  {
    weight: 5,
    arbitrary: fc.record({
      dataset: fc.constant("departures" as const),
      row: fc.record({
        carrier,
        flight,
        scheduled: slot,
        departed: slot,
        origin,
        dep_delay: fc.option(fc.integer({ min: -20, max: 60 }), { freq: 5 }),
      }),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      dataset: fc.constant("weather" as const),
      row: fc.record({
        origin: fc.constantFrom("EWR", "JFK"),
        time_hour: slot.map((at) => at - (at % HOUR)),
        wind: fc.option(fc.integer({ min: 0, max: 30 }), { freq: 6 }),
      }),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      dataset: fc.constant("planes" as const),
      row: fc.record({ tailnum: fc.constantFrom("N1", "N2"), seats: fc.option(fc.integer({ min: 2, max: 400 })) }),
    }),
  },
);

/** Changes as ingestion writes them: a withdrawal names a live row; a correction that moves a row in time withdraws it first. Groups stay in one commit. */
export const changeGroups = fc
  .array(fc.record({ change: draft, withdraw: fc.integer({ min: 0, max: 7 }).map((n) => n === 0) }), {
    minLength: 1,
    maxLength: 70,
    size: "max",
  })
  .map((drafts) => {
    const live = new Map<string, Row>();
    const groups: Change[][] = [];
    for (const { change, withdraw } of drafts) {
      const id = change.dataset + idOf(change.dataset, change.row);
      const old = live.get(id);
      if (withdraw && !old) continue;
      if (withdraw) {
        groups.push([{ dataset: change.dataset, row: old!, withdrawn: true }]);
        live.delete(id);
        continue;
      }
      const { eventTime } = contracts[change.dataset] as { eventTime?: string };
      const moved = old && eventTime && old[eventTime] !== (change.row as Row)[eventTime];
      groups.push([...(moved ? [{ dataset: change.dataset, row: old, withdrawn: true }] : []), change]);
      live.set(id, change.row);
    }
    return groups;
  });
