import { MlpeError } from "../base/errors.ts";
import type { Row, Value } from "../base/row.ts";
import { type Batch, valueAt } from "../contract/batch.ts";
import { scoresStream } from "../contract/streams.ts";
import type { Deployed } from "../delivery/deployments.ts";
import type { LabelledScore } from "../delivery/gates.ts";
import { type Flipped, flip, type Promotion, promote, readDeployments } from "../delivery/promote.ts";
import { outcomesOf } from "../feedback/performance.ts";
import { hasPackage, loadPackageFiles, storePackage } from "../scoring/artifacts.ts";
import { goldenResults, type LoadedModel, loadModel } from "../scoring/loaded.ts";
import { readPackage } from "../scoring/package.ts";
import type { Engine as Ort } from "../scoring/tensor.ts";
import { scoreRows } from "../scoring/tensors.ts";
import type { Engine } from "./engine.ts";
import { runtimeErrors } from "./errors.ts";
import { loadStored, type ModelContext, readModelPackage } from "./models.ts";
import { viewOfModel } from "./project.ts";

export interface PackagePromotion extends Promotion {
  readonly model: string;
  readonly digest: string;
  readonly version: string;
}

export interface PromoteChoices {
  /** Promote although too few labelled requests are stored to compare on. */
  readonly acceptInconclusive?: boolean;
}

/**
 * Takes a package through signature, smoke and regression to the live role of its model. Its files are stored in the log
 * once the signature holds, before the pointer moves. A refusal is a result, committed with its figures.
 */
export async function promotePackage(
  engine: Engine,
  context: ModelContext,
  ort: Ort,
  files: ReadonlyMap<string, Uint8Array>,
  choices: PromoteChoices = {},
): Promise<PackagePromotion> {
  const { store, world, project } = engine;
  const pack = readModelPackage(files, context);
  const { digest, manifest } = pack;
  let loaded: LoadedModel | undefined;
  const load = () => {
    loaded ??= loadModel(context.name, pack, ort, world.clock);
    return loaded;
  };
  try {
    const promotion = await promote({
      store,
      clock: world.clock,
      candidate: {
        model: context.name,
        digest,
        version: manifest.version,
        signature: pack.signature,
        gate: manifest.gate,
      },
      trusted: project.trust,
      acceptInconclusive: choices.acceptInconclusive ?? false,
      async runGolden() {
        const model = load();
        if (!(await hasPackage(store, digest))) {
          for (const append of storePackage(files)) await store.commit({ appends: [append] });
        }
        const { atol, rtol } = manifest.golden ?? { atol: 0, rtol: 0 };
        return { results: goldenResults(model, pack.golden), atol, rtol };
      },
      // Requests that another version of the view fused say nothing about this package: then there is nothing to compare on.
      storedScores: async (live, limit) =>
        (await viewOf(engine, live)) === manifest.view.digest ? labelledScores(engine, context, live, limit) : [],
      scoreCandidate: (rows) => scoreInSlices(load(), rows),
    });
    return { ...promotion, model: context.name, digest, version: manifest.version };
  } finally {
    loaded?.session.dispose();
  }
}

/**
 * Rollback or rollforward of a model. The target is loaded first, which compares its view and its golden rows: where it
 * can't be, `runtime.not_loadable` is thrown and the pointer stays.
 */
export function flipPackage(
  engine: Engine,
  context: ModelContext,
  ort: Ort,
  direction: "rollback" | "rollforward",
): Promise<Flipped> {
  const { store, world } = engine;
  const check = async (to: Deployed, from: Deployed) => {
    try {
      (await loadStored(engine, context, ort, to.digest)).session.dispose();
    } catch (cause) {
      if (!(cause instanceof MlpeError)) throw cause;
      throw notLoadable(context, to, from, cause);
    }
  };
  return flip({ store, clock: world.clock, model: context.name, direction, check });
}

function notLoadable(context: ModelContext, to: Deployed, from: Deployed, cause: MlpeError): MlpeError {
  const view = cause.code.endsWith(".view_mismatch");
  const why = view ? `it was trained on another view than "${context.plan.name}" is now` : cause.message;
  const stay = `Stay on ${from.version}, which is live`;
  const fix = view ? `${stay}, or go back to the view that ${to.version} was trained on.` : `${stay}.`;
  const message = `${context.name} ${to.version} can't be made live: ${why}; nothing was changed`;
  return runtimeErrors.error("not_loadable", message, { place: `models.${context.name}`, fix, cause });
}

/** The digest of the view that a stored package was trained on. */
async function viewOf({ store }: Engine, { digest }: Deployed): Promise<string> {
  return readPackage(await loadPackageFiles(store, digest)).manifest.view.digest;
}

/** So many rows are scored before others have a turn: promotion may run in the thread that serves. */
const SLICE_ROWS = 64;

async function scoreInSlices(model: LoadedModel, rows: readonly Row[]): Promise<(number | null)[]> {
  const scores: (number | null)[] = [];
  for (let at = 0; at < rows.length; at += SLICE_ROWS) {
    scores.push(...scoreRows(model, rows.slice(at, at + SLICE_ROWS)).scores);
    await new Promise((resolve) => setImmediate(resolve));
  }
  return scores;
}

/** The newest stored scores of the live package whose outcome is known, with the feature values they were made from. */
async function labelledScores(
  { store }: Engine,
  context: ModelContext,
  live: Deployed,
  limit: number,
): Promise<LabelledScore[]> {
  const outcomes = await outcomesOf(store, context.name, { digest: live.digest });
  const wanted = new Map<number, { liveScore: number; label: number }>();
  for (let i = outcomes.scores.length - 1; i >= 0 && wanted.size < limit; i--) {
    const label = outcomes.labels[i]!;
    if (!Number.isNaN(label)) wanted.set(outcomes.sequences[i]!, { liveScore: outcomes.scores[i]!, label });
  }
  const names = context.plan.shape.features.map(({ name }) => name);
  const found: (LabelledScore & { sequence: number })[] = [];
  for await (const stored of store.scan(scoresStream(context.name), { columns: names })) {
    const rowOf = picker(stored.batch, names);
    for (let i = 0; i < stored.batch.length; i++) {
      const sequence = stored.sequences[i]!;
      const outcome = wanted.get(sequence);
      if (outcome) found.push({ sequence, ...outcome, features: rowOf(i) });
    }
  }
  return found.sort((a, b) => a.sequence - b.sequence);
}

/** Rows of a batch with only these fields; null where the batch's contract lacks one. */
function picker(batch: Batch, names: readonly string[]): (index: number) => Row {
  const fields = names.map((name) => {
    const at = batch.contract.fields.findIndex((field) => field.name === name);
    return { name, column: batch.columns[at], type: batch.contract.fields[at]?.type ?? "string" };
  });
  return (index) => {
    const row: Record<string, Value> = {};
    for (const { name, column, type } of fields) row[name] = column ? valueAt(column, type, index) : null;
    return row;
  };
}

/** What is live for a model; `runtime.nothing_live` where nothing was promoted. */
export async function liveOf({ store, project }: Engine, model: string): Promise<Deployed> {
  viewOfModel(project, model);
  const live = (await readDeployments(store)).get(model)?.live;
  if (live) return live;
  throw runtimeErrors.error("nothing_live", `no package of "${model}" is live`, { place: `models.${model}` });
}
