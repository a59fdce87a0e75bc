import { expect, test } from "bun:test";
import type { MlpeError } from "../../src/base/errors.ts";
import type { DatasetConfig, SourceConfig } from "../../src/config/schema.ts";
import { contractOf } from "../../src/contract/contract.ts";
import type { Page } from "../../src/contract/page.ts";
import { ingestPage } from "../../src/ingestion/ingest.ts";
import { AVAILABLE_FIELD, planDataset, planSource } from "../../src/ingestion/plan.ts";
import { createIngestState } from "../../src/ingestion/state.ts";
import { encode, fileSource, linesPage, readingsPlan } from "./harness.ts";

const instant = { type: "long", logicalType: "timestamp-micros" };
const contract = (properties = {}) =>
  contractOf(
    {
      type: "record",
      name: "rows",
      recordId: ["id"],
      ...properties,
      fields: [
        { name: "id", type: "int" },
        { name: "at", type: ["null", instant] },
        { name: "kind", type: { type: "enum", name: "kind", symbols: ["A", "B"] }, default: "A" },
        { name: "note", type: ["null", "string"], default: null },
      ],
    },
    "rows.avsc",
  );
const dataset = (rest: Partial<DatasetConfig>): DatasetConfig => ({ contract: "rows.avsc", static: true, ...rest });
const plan = (config: Partial<DatasetConfig>, properties = {}) =>
  planDataset("rows", dataset(config), contract(properties));
const source = (config: Partial<SourceConfig>, rows = plan({})) =>
  planSource("in", fileSource("x.csv", config), new Map([["rows", rows]]));

function failure(act: () => unknown): { code: string; place: string | undefined } {
  try {
    act();
  } catch (error) {
    const { code, place } = error as MlpeError;
    return { code, place };
  }
  return { code: "none", place: undefined };
}

test("what a config gets wrong has a code and a place", () => {
  const table: [() => unknown, string, string][] = [
    [() => plan({ rename: { nope: "x" } }), "ingestion.unknown_field", "datasets.rows.rename.nope"],
    [() => plan({ set: { nope: "1" } }), "ingestion.unknown_field", "datasets.rows.set.nope"],
    [() => plan({ static: false }), "ingestion.no_event_time", "datasets.rows"],
    [() => source({}), "ingestion.no_route", "sources.in"],
    [() => source({ dataset: "other" }), "ingestion.no_route", "sources.in"],
    [
      () => source({ routes: { rows: { where: "id > 1", otherwise: "keep" } } }),
      "ingestion.bad_otherwise",
      "sources.in.routes.rows.otherwise",
    ],
  ];
  for (const [act, code, place] of table) expect(failure(act)).toEqual({ code, place });
  expect(failure(() => source({ routes: { rows: { where: "id" } } })).code).toStartWith("expression.");
  expect(failure(() => source({ routes: { rows: { where: "nope > 1" } } })).code).toStartWith("expression.");
});

test("`static` takes the event time away, `available` adds a field where the contract names none", () => {
  expect(plan({}, { eventTime: "at" }).contract.eventTime).toBeUndefined();
  const added = plan({ static: false, available: "at + minutes(5)" }, { eventTime: "at" }).contract;
  expect(added.availableTime).toBe(AVAILABLE_FIELD);
  expect(added.fields.at(-1)).toMatchObject({ name: AVAILABLE_FIELD, type: "timestamp", nullable: false });
});

const csvPage = (header: string[], text: string): Page => ({
  kind: "page",
  payload: encode(text),
  format: { kind: "csv", header, delimiter: ",", nulls: [""], headed: false, line: 2 },
  cursor: "1",
  receivedAt: 0,
});

test("a header without a needed column is one error, not an error a row; names can be mapped", () => {
  const page = csvPage(["id", "when"], "1,2024-01-01T00:00:00Z\n");
  const ingest = (config: Partial<DatasetConfig>) =>
    ingestPage(source({ dataset: "rows" }, plan(config)), createIngestState(), page, 0).routes[0]!;
  expect(failure(() => ingest({}))).toEqual({ code: "ingestion.missing_column", place: "line 1" });
  expect(failure(() => ingest({ rename: { at: "When" } }))).toEqual({
    code: "ingestion.missing_column",
    place: "line 1",
  });
  expect(ingest({ rename: { at: "when" } }).rows).toEqual([{ id: 1, at: 1704067200000000, kind: "A", note: null }]);
});

test("`where` sees coerced values, and rows it does not take are dropped with their reason", () => {
  const routed = source({ routes: { rows: { where: "id >= 2", otherwise: "drop: small" } } });
  const rows = [{ id: "1", kind: "C" }, { id: "1" }, { id: "2", kind: "B" }, { id: 3, kind: null }];
  const [route] = ingestPage(routed, createIngestState(), linesPage("1", rows), 0).routes;
  expect(route!.counts).toMatchObject({ received: 4, quarantined: 1, dropped: 1, curated: 2 });
  expect(route!.reasons).toEqual({ small: 1 });
  expect(route!.rejects[0]).toMatchObject({ code: "ingestion.unknown_symbol", field: "kind", rule: "enum", index: 0 });
  expect(route!.rows.map((row) => row.kind)).toEqual(["B", "A"]);
});

test("a computed value outside its type is quarantined, not bent", () => {
  const rows = plan({ set: { kind: "case when id > 1 then 'C' else 'B' end" } });
  const result = ingestPage(
    source({ dataset: "rows" }, rows),
    createIngestState(),
    linesPage("1", [{ id: 1 }, { id: 2 }]),
    0,
  );
  expect(result.routes[0]!.rows.map((row) => row.kind)).toEqual(["B"]);
  expect(result.routes[0]!.rejects[0]).toMatchObject({ code: "ingestion.unknown_symbol", field: "kind", rule: "enum" });
});

test("a record's fields are its own: what every object inherits is no field", () => {
  const result = ingestPage(
    planSource("in", fileSource("x", { dataset: "readings" }), new Map([["readings", readingsPlan()]])),
    createIngestState(),
    linesPage("1", [{ toString: 1, id: 1 }]),
    0,
  );
  expect(result.routes[0]!.rejects[0]).toMatchObject({ field: "device", rule: "not_null" });
});
