import { isFiniteSource } from "../connectors/registry.ts";
import { batchOf } from "../contract/batch.ts";
import type { Connector } from "../contract/page.ts";
import { curatedStream, ERASURES, VERDICTS, verdictContract } from "../contract/streams.ts";
import type { IngestResult } from "../ingestion/ingest.ts";
import type { SourcePlan } from "../ingestion/plan.ts";
import { type Extra, stepSource } from "../ingestion/step.ts";
import type { Assertion } from "../lineage/facets.ts";
import { runChecks } from "../quality/checks.ts";
import type { ErasedEntities } from "../store/erased.ts";
import type { Engine } from "./engine.ts";
import { curatedLineage, lineageOf, sourceDataset } from "./lineage.ts";
import type { Step } from "./loop.ts";

/** land -> decode -> validate -> normalise -> check -> route: one page of a source, one commit. */
export function ingestStep(
  engine: Engine,
  plan: SourcePlan,
  connector: Connector,
  { pageBytes: maxBytes }: { readonly pageBytes?: number } = {},
): Step {
  const { world, store, ingestState } = engine;
  const erased = erasedEntitiesOf(engine);
  return {
    name: `ingest.${plan.name}`,
    reads: [sourceDataset(plan.name)],
    writes: plan.routes.map((route) => curatedStream(route.dataset.name)),
    waitsBelow: isFiniteSource(plan.config) ? "soft" : "hard", // a finite source can be read again from its cursor
    forget() {
      const source = ingestState.sources.get(plan.name);
      if (source) source.mayHaveMoved = true;
      for (const { dataset } of plan.routes) ingestState.datasets.delete(dataset.name);
    },
    turn: () => {
      const startedAt = world.clock.now();
      const assertions = new Map<string, readonly Assertion[]>();
      const extra = (result: IngestResult | null, phase: "judge" | "commit" | "end"): Extra => {
        if (result === null || phase === "end") return { appends: [] };
        if (phase === "judge") return judge(engine, result, assertions);
        return { appends: [ingestLineage(engine, plan, result, startedAt, assertions)] };
      };
      return stepSource({
        store,
        plan,
        connector,
        state: ingestState,
        clock: world.clock,
        extra,
        erased,
        ...(maxBytes === undefined ? {} : { maxBytes }),
      });
    },
  };
}

/** What was erased, read again once more was. */
function erasedEntitiesOf({ store }: Engine): () => Promise<ErasedEntities | undefined> {
  let known: { readonly rows: number; readonly erased: ErasedEntities | undefined } | undefined;
  return async () => {
    const rows = (await store.streams()).find(({ stream }) => stream === ERASURES)?.rows ?? 0;
    if (known?.rows !== rows) known = { rows, erased: rows === 0 ? undefined : await store.erased() };
    return known.erased;
  };
}

/** The checks of each dataset on the rows that would be curated: verdict rows, and which datasets are blocked. */
function judge(engine: Engine, result: IngestResult, assertions: Map<string, readonly Assertion[]>): Extra {
  const blocked = new Map<string, string>();
  const verdicts = result.routes.flatMap((route) => {
    const checks = engine.project.checks.get(route.dataset.name);
    if (!checks || route.rows.length === 0) return [];
    const judged = runChecks(checks, route.rows, engine.world.clock.now());
    if (judged.blocked !== undefined) blocked.set(route.dataset.name, judged.blocked);
    assertions.set(route.dataset.name, judged.assertions);
    return [...judged.verdictRows];
  });
  const appends = verdicts.length === 0 ? [] : [{ stream: VERDICTS, batch: batchOf(verdictContract, verdicts) }];
  return { appends, blocked };
}

function ingestLineage(
  engine: Engine,
  plan: SourcePlan,
  result: IngestResult,
  startedAt: number,
  assertions: ReadonlyMap<string, readonly Assertion[]>,
) {
  return lineageOf(engine.world, engine.project, {
    job: `ingest.${plan.name}`,
    jobType: "INGEST",
    startedAt,
    inputs: [{ name: sourceDataset(plan.name), read: { bytes: result.page.payload.length } }],
    outputs: plan.routes.map((route) => {
      const { dataset } = route;
      const rows = result.routes.find((candidate) => candidate.dataset === dataset)?.rows.length ?? 0;
      return {
        name: curatedStream(dataset.name),
        contract: dataset.contract,
        version: dataset.contract.fingerprint,
        written: { rows },
        columns: curatedLineage(engine.project, plan.name, route),
        ...(assertions.has(dataset.name) ? { assertions: assertions.get(dataset.name)! } : {}),
      };
    }),
  });
}
