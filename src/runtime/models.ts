import type { Row } from "../base/row.ts";
import type { Micros } from "../base/time.ts";
import { batchOf } from "../contract/batch.ts";
import type { Manifest } from "../contract/model_package.ts";
import { featuresStream, scoresContract, scoresStream, VERDICTS, verdictContract } from "../contract/streams.ts";
import { readDeployments } from "../delivery/promote.ts";
import type { ViewPlan } from "../fusion/types.ts";
import { loadPackageFiles } from "../scoring/artifacts.ts";
import { scoringErrors } from "../scoring/errors.ts";
import { guardrailVerdicts, planGuardrails } from "../scoring/guardrails.ts";
import type { ScoreAct } from "../scoring/job.ts";
import { scoreReader, stepScore } from "../scoring/job.ts";
import { type LoadedModel, loadModel } from "../scoring/loaded.ts";
import { checkView, type ModelPackage, readPackage } from "../scoring/package.ts";
import type { ScoreRole } from "../scoring/score_rows.ts";
import { openEngine as openOrt } from "../scoring/session.ts";
import type { Engine as Ort } from "../scoring/tensor.ts";
import type { Append } from "../store/port.ts";
import type { Engine } from "./engine.ts";
import { lineageOf, scoreLineage } from "./lineage.ts";
import type { Step } from "./loop.ts";
import { type Project, viewOfModel } from "./project.ts";

/** What scoring needs of one configured model, whichever package is live. */
export interface ModelContext {
  readonly name: string;
  readonly plan: ViewPlan;
  readonly contract: ReturnType<typeof scoresContract>;
  readonly guardrails: ReturnType<typeof planGuardrails>;
}

export function modelContext({ project }: Engine, name: string): ModelContext {
  const plan = viewOfModel(project, name);
  const guardrails = planGuardrails(name, project.config.models[name]!.guardrails, plan.shape.features);
  return { name, plan, contract: scoresContract(name, plan.shape), guardrails };
}

/** Where a compiled executable unpacks ONNX Runtime. */
export const runtimePath = ({ dataDirectory }: Pick<Project, "dataDirectory">): string => `${dataDirectory}/runtime`;

/** ONNX Runtime for this thread; its files are unpacked beside the data where the executable carries them. */
export const openOnnx = ({ project }: Engine): Ort => openOrt(runtimePath(project));

/** A package's files as a checked package for this model. Throws where it was trained on another view. */
export function readModelPackage(files: ReadonlyMap<string, Uint8Array>, { plan }: ModelContext): ModelPackage {
  const pack = readPackage(files);
  const problems = checkView(pack.manifest, plan.name, plan.digest, plan.shape.features);
  const [first] = problems;
  if (first)
    throw scoringErrors.error("view_mismatch", first.message, { place: first.place, fix: first.fix, problems });
  return pack;
}

/** The package of that digest from the log, loaded and its golden rows checked. */
export async function loadStored(
  engine: Engine,
  context: ModelContext,
  ort: Ort,
  digest: string,
): Promise<LoadedModel> {
  const pack = readModelPackage(await loadPackageFiles(engine.store, digest), context);
  return loadModel(context.name, pack, ort, engine.world.clock);
}

/** The decision threshold that the live package states; undefined where nothing is live, or it states none. */
export async function liveThreshold({ store }: Engine, model: string): Promise<number | undefined> {
  const live = (await readDeployments(store)).get(model)?.live;
  return live ? readPackage(await loadPackageFiles(store, live.digest)).manifest.score.threshold : undefined;
}

export const featuresOf = (manifest: Manifest): string[] =>
  manifest.inputs.flatMap((input) => input.features.map(({ name }) => name));

export interface ScoreJob {
  readonly model: LoadedModel;
  readonly role: ScoreRole;
  readonly from?: Micros;
  readonly to?: Micros;
  /** Where to go on reading; default one for the model and role. A job over a period of its own has a reader of its own. */
  readonly reader?: string;
}

/** features -> scores: the batch job over feature rows not yet read. */
export function scoreStep(engine: Engine, context: ModelContext, job: () => ScoreJob | undefined): Step {
  const { world, store } = engine;
  return {
    name: `score.${context.name}`,
    reads: [featuresStream(context.plan.name)],
    writes: [scoresStream(context.name)],
    async turn() {
      const startedAt = world.clock.now();
      const current = job();
      if (!current) return "idle";
      const { plan, contract, guardrails } = context;
      const extra = ({ rows }: ScoreAct) =>
        rows.length === 0 ? [] : actOfScoring(engine, context, current.model, rows, startedAt);
      return stepScore({
        store,
        clock: world.clock,
        random: world.random,
        shape: plan.shape,
        contract,
        generation: plan.contract.generation,
        guardrails,
        ...current,
        extra,
      });
    },
  };
}

/** The reader of a job over a period: the same period of the same package goes on where it stopped. */
export function periodReader(job: ScoreJob): string {
  const period = `${job.from ?? ""}..${job.to ?? ""}`;
  return `${scoreReader(job.model, job.role)}/${job.model.digest.slice(7, 23)}/${period}`;
}

/** What belongs into the commit of scores beside them: what guardrails said of them, and lineage. */
export function actOfScoring(
  engine: Engine,
  context: ModelContext,
  model: LoadedModel,
  rows: readonly Row[],
  startedAt: Micros,
): Append[] {
  const verdicts = guardrailVerdicts(context.guardrails, context.name, rows, engine.world.clock.now());
  const judged = verdicts.length === 0 ? [] : [{ stream: VERDICTS, batch: batchOf(verdictContract, verdicts) }];
  return [...judged, scoresLineage(engine, context, model, rows, startedAt)];
}

/** In OpenLineage a model is an input dataset whose version is its digest. */
function scoresLineage(
  engine: Engine,
  context: ModelContext,
  model: LoadedModel,
  rows: readonly Row[],
  startedAt: Micros,
): Append {
  const { plan, contract, name } = context;
  return lineageOf(engine.world, engine.project, {
    job: `score.${name}`,
    jobType: "SCORE",
    startedAt,
    inputs: [
      { name: featuresStream(plan.name), contract: plan.contract, version: plan.digest, read: { rows: rows.length } },
      { name: `model/${name}`, version: model.digest },
    ],
    outputs: [
      {
        name: scoresStream(name),
        contract,
        version: contract.fingerprint,
        written: { rows: rows.length },
        columns: scoreLineage(engine.project, plan, featuresOf(model.manifest)),
      },
    ],
  });
}
