import { expect, test } from "bun:test";
import Ajv2020 from "ajv/dist/2020";
import addFormats from "ajv-formats";
import { rowsOf } from "../../src/contract/batch.ts";
import { streamContract } from "../../src/contract/contract.ts";
import {
  completeEvent,
  failEvent,
  lineageAppend,
  type RunEvent,
  type RunFacts,
  startEvent,
} from "../../src/lineage/events.ts";

// Every event is judged by the vendored OpenLineage schemas: the core schema, then each facet by its own _schemaURL.
const ROOT = `${import.meta.dir}/../../schemas/openlineage`;
const CORE = "https://openlineage.io/spec/2-0-2/OpenLineage.json";

async function schemas(): Promise<Ajv2020> {
  const ajv = new Ajv2020({ strict: false, allErrors: true });
  addFormats(ajv);
  ajv.addSchema(await Bun.file(`${ROOT}/OpenLineage.json`).json());
  for await (const path of new Bun.Glob("facets/*/*.json").scan(ROOT)) {
    const schema = await Bun.file(`${ROOT}/${path}`).json();
    expect(schema.$id).toBe(`https://openlineage.io/spec/${path}`);
    ajv.addSchema(schema);
  }
  return ajv;
}

/** Every problem of the event, as texts. */
async function problems(event: unknown): Promise<string[]> {
  const ajv = await schemas();
  const found: string[] = [];
  const judge = (reference: string, value: unknown) => {
    const validate = ajv.getSchema(reference);
    if (!validate) throw new Error(`no schema ${reference}`);
    if (!validate(value))
      found.push(...(validate.errors ?? []).map((e) => `${reference}${e.instancePath} ${e.message}`));
  };
  judge(CORE, event);
  judge(`${CORE}#/$defs/RunEvent`, event);
  const walk = (value: unknown): void => {
    if (value === null || typeof value !== "object") return;
    const url = (value as Record<string, unknown>)._schemaURL;
    if (typeof url === "string") {
      judge(url, value);
      if (url.includes("1-2-0/ColumnLineage")) judge(url.replace("1-2-0", "1-1-0"), value);
    }
    for (const item of Object.values(value)) walk(item);
  };
  walk(event);
  return found;
}

const contract = streamContract({
  name: "weather",
  fields: { origin: "string", time_hour: "timestamp", wind_speed: "double?" },
  eventTime: "time_hour",
  recordId: ["origin", "time_hour"],
});

const facts: RunFacts = {
  run: "0190163d-8694-739b-aea5-966c26f8ad90",
  job: { namespace: "ewr-01", name: "fuse.flight_delay" },
  at: 1_700_000_000_123_456,
  jobType: "FUSE",
  engine: { name: "mlpe", version: "0.1.0" },
  parent: { run: "0190163d-8694-739b-aea5-966c26f8ad91", job: { namespace: "ewr-01", name: "schedule.hourly" } },
  nominalTime: { start: 1_700_000_000_000_000, end: 1_700_003_600_000_000 },
  inputs: [
    {
      namespace: "ewr-01",
      name: "curated/weather",
      contract,
      version: "17",
      dataSource: { name: "weather", uri: "file:///data/weather.csv" },
      read: { rows: 26_115, bytes: 1_000, files: 1 },
      assertions: [{ assertion: "expect_column_values_to_not_be_null", success: true, column: "origin" }],
    },
  ],
  outputs: [
    {
      namespace: "ewr-01",
      name: "features/flight_delay",
      contract,
      written: { rows: 10 },
      assertions: [
        { assertion: "expect_table_row_count_to_be_between", success: false, severity: "block", failures: 3 },
      ],
      columns: [
        {
          field: "wind",
          expression: "weather.wind_speed * 2",
          from: [
            { namespace: "ewr-01", name: "curated/weather", field: "wind_speed", kind: "transformation" },
            { namespace: "ewr-01", name: "curated/weather", field: "origin", kind: "join" },
            { namespace: "ewr-01", name: "curated/weather", field: "origin", kind: "filter" },
          ],
        },
      ],
    },
  ],
};

test("START, COMPLETE and FAIL events with every facet are valid OpenLineage 2-0-2", async () => {
  for (const event of [startEvent(facts), completeEvent(facts), failEvent({ ...facts, error: "weather is away" })]) {
    expect(await problems(event)).toEqual([]);
  }
  const bare: RunFacts = { run: facts.run, job: facts.job, at: 0, jobType: "INGEST", engine: facts.engine };
  expect(await problems(startEvent(bare))).toEqual([]);
});

test("the judge refuses what is not OpenLineage, in the core and in a facet", async () => {
  const good = completeEvent(facts) as unknown as Record<string, unknown>;
  expect(await problems({ ...good, run: { runId: "17", facets: {} } })).not.toEqual([]);
  expect(await problems({ ...good, eventTime: "yesterday" })).not.toEqual([]);
  const broken = structuredClone(good) as { outputs: { outputFacets: { outputStatistics: { rowCount: unknown } } }[] };
  broken.outputs[0]!.outputFacets.outputStatistics.rowCount = "ten";
  expect(await problems(broken)).not.toEqual([]);
});

test("column lineage keeps one entry an input field, with all the ways it is used", () => {
  const event = completeEvent(facts);
  const output = event.outputs[0] as {
    facets: { columnLineage: { fields: Record<string, { inputFields: unknown[] }> } };
  };
  expect(output.facets.columnLineage.fields.wind!.inputFields).toEqual([
    {
      namespace: "ewr-01",
      name: "curated/weather",
      field: "wind_speed",
      transformations: [
        { type: "DIRECT", subtype: "TRANSFORMATION", description: "weather.wind_speed * 2", masking: false },
      ],
    },
    {
      namespace: "ewr-01",
      name: "curated/weather",
      field: "origin",
      transformations: [
        { type: "INDIRECT", subtype: "JOIN", masking: false },
        { type: "INDIRECT", subtype: "FILTER", masking: false },
      ],
    },
  ]);
});

test("events become rows of the lineage stream and come back whole", () => {
  const events: RunEvent[] = [startEvent(facts), completeEvent(facts)];
  const append = lineageAppend(events, facts.at);
  expect(append.stream).toBe("lineage");
  const rows = rowsOf(append.batch);
  expect(rows.map((row) => row.event_type)).toEqual(["START", "COMPLETE"]);
  expect(rows.map((row) => JSON.parse(row.event as string))).toEqual(events as unknown[]);
});
