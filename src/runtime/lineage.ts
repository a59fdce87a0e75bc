import { uuid7 } from "../base/ids.ts";
import type { Micros } from "../base/time.ts";
import type { World } from "../base/world.ts";
import { curatedStream, featuresStream } from "../contract/streams.ts";
import type { ViewPlan } from "../fusion/types.ts";
import type { DatasetPlan, RoutePlan } from "../ingestion/plan.ts";
import {
  type ColumnLineage,
  completeEvent,
  failEvent,
  type InputDataset,
  lineageAppend,
  type OutputDataset,
  startEvent,
} from "../lineage/events.ts";
import type { Append } from "../store/port.ts";
import type { Step } from "./loop.ts";
import type { Project } from "./project.ts";
import { VERSION } from "./version.ts";

/** What a run did. A run is one commit, so its two events are in it or it never was. */
export interface Act {
  /** `ingest.flights`, `fuse.flight_delay`, `score.flight_delay`, `export.flight_delay`. */
  readonly job: string;
  readonly jobType: "INGEST" | "FUSE" | "SCORE" | "EXPORT";
  readonly startedAt: Micros;
  readonly inputs: readonly Omit<InputDataset, "namespace">[];
  readonly outputs: readonly Omit<OutputDataset, "namespace">[];
}

const namespaceOf = (project: Project): string => project.config.lineage.namespace ?? project.config.site;

/** The START and COMPLETE events of an act, to be committed with it. */
export function lineageOf(world: World, project: Project, act: Act): Append {
  const facts = factsOf(world, project, act);
  const finishedAt = Math.max(world.clock.now(), act.startedAt);
  const events = [startEvent({ ...facts, at: act.startedAt }), completeEvent({ ...facts, at: finishedAt })];
  return lineageAppend(events, [act.startedAt, finishedAt]);
}

const STEP_JOBS: Readonly<Record<string, Act["jobType"]>> = { ingest: "INGEST", fuse: "FUSE", score: "SCORE" };

/**
 * The START and FAIL events of a turn that could not go on: a commit of their own, for of the turn nothing is committed.
 * Undefined for steps that are no runs. `error` is a message for people, without data values.
 */
export function failureLineage(
  world: World,
  project: Project,
  { name, reads, writes }: Pick<Step, "name" | "reads" | "writes">,
  startedAt: Micros,
  error: string,
): Append | undefined {
  const jobType = STEP_JOBS[name.slice(0, name.indexOf("."))];
  if (!jobType) return undefined;
  const named = (streams: readonly string[]) => streams.map((stream) => ({ name: stream }));
  const facts = factsOf(world, project, { job: name, jobType, inputs: named(reads), outputs: named(writes) });
  const failedAt = Math.max(world.clock.now(), startedAt);
  const events = [startEvent({ ...facts, at: startedAt }), failEvent({ ...facts, at: failedAt, error })];
  return lineageAppend(events, [startedAt, failedAt]);
}

function factsOf(world: World, project: Project, act: Omit<Act, "startedAt">) {
  const namespace = namespaceOf(project);
  return {
    run: uuid7(world.clock, world.random),
    job: { namespace, name: act.job },
    jobType: act.jobType,
    processing: act.jobType === "EXPORT" ? ("BATCH" as const) : ("STREAMING" as const),
    inputs: act.inputs.map((dataset) => ({ namespace, ...dataset })),
    outputs: act.outputs.map((dataset) => ({ namespace, ...dataset })),
    engine: { name: "mlpe", version: VERSION },
  };
}

/** Where each field of a curated dataset comes from: source columns, through the `set` expressions where there are any. */
export function curatedLineage(project: Project, source: string, route: RoutePlan): ColumnLineage[] {
  const namespace = namespaceOf(project);
  const dataset: DatasetPlan = route.dataset;
  const from = (field: string, kind: "identity" | "transformation") => {
    const at = dataset.contract.fields.findIndex((candidate) => candidate.name === field);
    return { namespace, name: sourceDataset(source), field: dataset.sourceNames[at] ?? field, kind };
  };
  const outputs = [...(route.step?.program.outputs ?? []), ...(dataset.available?.program.outputs ?? [])];
  const computed = new Map(outputs.map((output) => [output.name, output]));
  return dataset.contract.fields.map(({ name }) => {
    const output = computed.get(name);
    if (!output) return { field: name, from: [from(name, "identity")] };
    return {
      field: name,
      from: output.columns.map((column) => from(column, "transformation")),
      expression: output.canonical,
    };
  });
}

/** Where each feature comes from: derived by the view's plan from the syntax trees. */
export function featureLineage(project: Project, plan: ViewPlan): ColumnLineage[] {
  const namespace = namespaceOf(project);
  const indirect = plan.indirect.map(({ dataset, field, kind }) => ({
    namespace,
    name: curatedStream(dataset),
    field,
    kind,
  }));
  return plan.program.outputs.map((output) => ({
    field: output.name,
    from: [
      ...(plan.lineage.get(output.name) ?? []).map(({ dataset, field, kind }) => ({
        namespace,
        name: curatedStream(dataset),
        field,
        kind,
      })),
      ...indirect,
    ],
    expression: output.canonical,
  }));
}

/** The score is a transformation of every feature the model reads; the feature values in the row are the features. */
export function scoreLineage(project: Project, plan: ViewPlan, modelFeatures: readonly string[]): ColumnLineage[] {
  const namespace = namespaceOf(project);
  const name = featuresStream(plan.name);
  return [
    {
      field: "score",
      from: modelFeatures.map((field) => ({ namespace, name, field, kind: "transformation" as const })),
    },
    ...plan.shape.features.map((feature) => ({
      field: feature.name,
      from: [{ namespace, name, field: feature.name, kind: "identity" as const }],
    })),
  ];
}

export const sourceDataset = (source: string): string => `source/${source}`;
