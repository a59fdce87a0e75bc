import { formatInstant, type Micros } from "../base/time.ts";
import { batchOf } from "../contract/batch.ts";
import { LINEAGE, lineageContract } from "../contract/streams.ts";
import type { Append } from "../store/port.ts";
import {
  type ColumnLineage,
  type InputDataset,
  inputDataset,
  type OutputDataset,
  outputDataset,
  runFacet,
} from "./facets.ts";

/**
 * OpenLineage run events (core schema 2-0-2, https://openlineage.io/spec/2-0-2/OpenLineage.json), built as plain values.
 * Each run is one START and one terminal event (COMPLETE or FAIL) with the same run id. An event is appended in the same
 * commit as the act it describes.
 */
export type { ColumnLineage, InputDataset, OutputDataset };

/** A job of ours by name: `mlpe` names, such as `ingest.flights` or `fuse.flight_delay`, in the site's namespace. */
export interface JobName {
  readonly namespace: string;
  readonly name: string;
}

export interface RunFacts {
  /** A UUID, one for each run; version 7 sorts by time. */
  readonly run: string;
  readonly job: JobName;
  readonly at: Micros;
  /** What the job does, upper case: INGEST, FUSE, SCORE, EXPORT. */
  readonly jobType: string;
  readonly processing?: "BATCH" | "STREAMING";
  readonly inputs?: readonly InputDataset[];
  readonly outputs?: readonly OutputDataset[];
  /** The run that this one is part of. */
  readonly parent?: { readonly run: string; readonly job: JobName };
  /** The scheduled time of the run: start inclusive, end exclusive. */
  readonly nominalTime?: { readonly start: Micros; readonly end?: Micros };
  readonly engine: { readonly name: string; readonly version: string };
}

export interface FailedRunFacts extends RunFacts {
  /** A message for people, without stack trace or data values. */
  readonly error: string;
}

export type EventType = "START" | "COMPLETE" | "FAIL";

/** One event as it goes over the wire. */
export interface RunEvent {
  readonly eventType: EventType;
  readonly eventTime: string;
  readonly producer: string;
  readonly schemaURL: string;
  readonly run: { readonly runId: string; readonly facets: Readonly<Record<string, unknown>> };
  readonly job: JobName & { readonly facets: Readonly<Record<string, unknown>> };
  readonly inputs: readonly unknown[];
  readonly outputs: readonly unknown[];
}

const SCHEMA_URL = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent";

export const startEvent = (facts: RunFacts): RunEvent => eventOf("START", facts, {});
export const completeEvent = (facts: RunFacts): RunEvent => eventOf("COMPLETE", facts, {});

/** The terminal event of a run that failed; what it read and wrote before may still be listed. */
export function failEvent(facts: FailedRunFacts): RunEvent {
  const producer = producerOf(facts);
  const errorMessage = runFacet(producer, "errorMessage", { message: facts.error, programmingLanguage: "TypeScript" });
  return eventOf("FAIL", facts, { errorMessage });
}

/** The events as rows of the `lineage` stream, in the order given. */
export function lineageAppend(events: readonly RunEvent[], at: readonly Micros[] | Micros): Append {
  const rows = events.map((event, index) => ({
    run_id: event.run.runId,
    job: `${event.job.namespace}/${event.job.name}`,
    event_type: event.eventType,
    event: JSON.stringify(event),
    at: typeof at === "number" ? at : at[index]!,
  }));
  return { stream: LINEAGE, batch: batchOf(lineageContract, rows) };
}

const producerOf = (facts: RunFacts) => `urn:mlpe:${facts.engine.name}:${facts.engine.version}`;

function eventOf(eventType: EventType, facts: RunFacts, more: Readonly<Record<string, unknown>>): RunEvent {
  const producer = producerOf(facts);
  return {
    eventType,
    eventTime: formatInstant(facts.at),
    producer,
    schemaURL: SCHEMA_URL,
    run: { runId: facts.run, facets: { ...runFacets(facts, producer), ...more } },
    job: {
      ...facts.job,
      facets: {
        jobType: runFacet(producer, "jobType", {
          processingType: facts.processing ?? "BATCH",
          integration: "MLPE",
          jobType: facts.jobType,
        }),
      },
    },
    inputs: (facts.inputs ?? []).map((dataset) => inputDataset(producer, dataset)),
    outputs: (facts.outputs ?? []).map((dataset) => outputDataset(producer, dataset)),
  };
}

function runFacets(facts: RunFacts, producer: string): Readonly<Record<string, unknown>> {
  const facets: Record<string, unknown> = {
    processing_engine: runFacet(producer, "processing_engine", {
      version: facts.engine.version,
      name: facts.engine.name,
      openlineageAdapterVersion: facts.engine.version,
    }),
  };
  if (facts.parent) {
    facets.parent = runFacet(producer, "parent", {
      run: { runId: facts.parent.run },
      job: { namespace: facts.parent.job.namespace, name: facts.parent.job.name },
    });
  }
  if (facts.nominalTime) {
    const { start, end } = facts.nominalTime;
    facets.nominalTime = runFacet(producer, "nominalTime", {
      nominalStartTime: formatInstant(start),
      ...(end === undefined ? {} : { nominalEndTime: formatInstant(end) }),
    });
  }
  return facets;
}
