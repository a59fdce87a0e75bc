import type { Clock } from "../../src/base/clock.ts";
import type { Row } from "../../src/base/row.ts";
import type { DatasetConfig, SourceConfig } from "../../src/config/schema.ts";
import { rowsOf } from "../../src/contract/batch.ts";
import { contractOf, parseContract } from "../../src/contract/contract.ts";
import type { Connector, Next, Page, PageFormat } from "../../src/contract/page.ts";
import { type DatasetPlan, planDataset, planSource, type SourcePlan } from "../../src/ingestion/plan.ts";
import type { Store } from "../../src/store/port.ts";

export const ROOT = new URL("../../", import.meta.url).pathname;

/** A clock that moves a millisecond each time it is read. */
export function tickingClock(): Clock {
  let now = 1_700_000_000_000_000;
  return {
    now: () => {
      now += 1_000;
      return now;
    },
  };
}

export async function nycDatasets(): Promise<Map<string, DatasetPlan>> {
  const scheduled = "time_hour + minutes(minute)";
  const configs: Record<string, DatasetConfig> = {
    schedule: { contract: "", static: false, set: { scheduled } },
    departures: {
      contract: "",
      static: false,
      set: { scheduled, departed: "time_hour + minutes(minute + dep_delay)" },
    },
    weather: { contract: "", static: false, available: "time_hour + minutes(51)" },
    planes: { contract: "", static: true },
    airports: { contract: "", static: true },
  };
  const plans = new Map<string, DatasetPlan>();
  for (const [name, config] of Object.entries(configs)) {
    const place = `schemas/nycflights/${name}.avsc`;
    plans.set(name, planDataset(name, config, parseContract(await Bun.file(ROOT + place).text(), place)));
  }
  return plans;
}

export function fileSource(path: string, rest: Partial<SourceConfig> = {}): SourceConfig {
  return { connector: "file", path, ...rest } as SourceConfig;
}

export const FLIGHT_ROUTES = {
  schedule: {},
  departures: { where: "dep_delay is not null", otherwise: "drop: not_departed" },
};

const instant = { type: "long", logicalType: "timestamp-micros" };

/** Readings of a device: the record id is `id`, so that a correction can move both the entity and the event time. */
export function readingsPlan(recordId: unknown = ["id"]): DatasetPlan {
  const contract = contractOf(
    {
      type: "record",
      name: "readings",
      entity: ["device"],
      eventTime: "at",
      recordId,
      fields: [
        { name: "id", type: "int" },
        { name: "device", type: "string" },
        { name: "at", type: instant },
        { name: "value", type: ["null", "double"], default: null },
      ],
    },
    "readings.avsc",
  );
  return planDataset("readings", { contract: "", static: false }, contract);
}

export function readingsSource(name = "devices", dataset = readingsPlan()): SourcePlan {
  return planSource(name, fileSource("x.jsonl", { dataset: "readings" }), new Map([["readings", dataset]]));
}

export const encode = (text: string): Uint8Array => new TextEncoder().encode(text);

/** A page of JSON lines. */
export function linesPage(
  cursor: string,
  rows: readonly unknown[],
  format: PageFormat = { kind: "jsonl", line: 1 },
): Page {
  const payload = encode(rows.map((row) => `${JSON.stringify(row)}\n`).join(""));
  return { kind: "page", payload, format, cursor, receivedAt: 1_700_000_000_000_000 };
}

/** A connector over pages in memory: the cursor is the number of pages read. */
export function pagesConnector(pages: readonly (readonly unknown[])[], finite = true): Connector {
  let at = 0;
  return {
    open: async (cursor) => {
      at = cursor === "" ? 0 : Number(cursor.replace("end", ""));
    },
    next: async (): Promise<Next> => {
      const rows = pages[at];
      if (rows) return linesPage(String(++at), rows);
      return finite ? { kind: "end", cursor: `${at}end` } : { kind: "wait" };
    },
    ack: async () => {},
    close: async () => {},
  };
}

/** All rows of a stream in the order of their sequences, tombstones marked. */
export async function streamRows(store: Store, stream: string): Promise<(Row & { readonly tombstone: boolean })[]> {
  const found: { sequence: number; row: Row & { readonly tombstone: boolean } }[] = [];
  for await (const stored of store.scan(stream)) {
    rowsOf(stored.batch).forEach((row, i) => {
      found.push({ sequence: stored.sequences[i]!, row: { ...row, tombstone: stored.tombstones[i] === 1 } });
    });
  }
  return found.sort((a, b) => a.sequence - b.sequence).map(({ row }) => row);
}
