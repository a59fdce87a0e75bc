import { sha256Hex } from "../base/digest.ts";
import type { MlpeError } from "../base/errors.ts";
import type { Row, Value } from "../base/row.ts";
import { formatInstant, type Micros } from "../base/time.ts";
import { othersTurn } from "../base/turn.ts";
import type { ViewShape } from "../contract/streams.ts";
import { featureRecord } from "../fusion/feature_rows.ts";
import { fuseEntities, fuseRequest, outcomesKnown, type RequestRow } from "../fusion/request.ts";
import { scoreAndCommit } from "../scoring/score.ts";
import type { ScoreResult } from "../scoring/score_rows.ts";
import { namesErased } from "../store/erased.ts";
import { actOfScoring, type ModelContext } from "./models.ts";
import { parseScoreBody, requestErrors, type ScoreItems, shownValues } from "./requests.ts";
import type { Serving } from "./serving.ts";

/** Looks up or takes the spine rows, fuses them at T from what is known, scores, commits, and then answers. */
export async function scoreRequest(serving: Serving, context: ModelContext, body: string): Promise<object> {
  const { engine, models, metrics } = serving;
  const { store, world } = engine;
  const startedAt = world.clock.now();
  const { id, at, asked } = parseScoreBody(context.plan, body, startedAt);
  const asOf = at ?? startedAt;
  const lease = models.acquire(context.name);
  try {
    const { found, known, missing } = await fuseAsked(serving, context, asked, asOf);
    if (found.length === 0) throw missing[0]!.error;
    const { results, repeated, durable } = await scoreAndCommit({
      store,
      contract: context.contract,
      memory: serving.memory(context.name),
      model: lease.model,
      shape: context.plan.shape,
      guardrails: context.guardrails,
      mode: asked.kind === "rows" ? "rows" : "entity",
      role: "live",
      hindsight: at !== undefined && at < startedAt,
      ...(id === undefined ? {} : { request: { id, digest: sha256Hex(body) } }),
      clock: world.clock,
      random: world.random,
      features: () => found,
      outcomeKnown: (index) => known[index] === true,
      ...(engine.project.config.space.scores === "answer"
        ? { notStored: (rows: readonly Row[]) => serving.notStored(context.name, rows) }
        : {}),
      extra: (rows: readonly Row[]) => actOfScoring(engine, context, lease.model, rows, startedAt),
    });
    metrics.observe("mlpe_score_seconds", (world.clock.now() - startedAt) / 1_000_000, { model: context.name });
    return {
      model: context.name,
      version: lease.model.manifest.version,
      repeated,
      ...(durable ? {} : { durable }),
      results: woven(context.plan.shape, results, missing),
    };
  } finally {
    lease.release();
  }
}

interface Missing {
  readonly index: number;
  readonly error: MlpeError;
}

/** So many items are fused before others have a turn. */
const SLICE_ITEMS = 64;

interface FusedItems {
  /** Feature rows of the items that are known, in order. */
  readonly found: Row[];
  /** Whether the outcome of each is known already. */
  readonly known: boolean[];
  readonly missing: Missing[];
}

/** A slice is fused at one position of the log, which its rows name; between slices the index may move on. */
async function fuseAsked(serving: Serving, context: ModelContext, asked: ScoreItems, at: Micros): Promise<FusedItems> {
  const fused: FusedItems = { found: [], known: [], missing: [] };
  for (let from = 0; from < asked.items.length; from += SLICE_ITEMS) {
    if (from > 0) await othersTurn();
    for (let folding = serving.folding(); folding; folding = serving.folding()) await folding;
    fuseSlice(serving, context, asked, from, at, fused);
  }
  return fused;
}

function fuseSlice(
  serving: Serving,
  { plan }: ModelContext,
  asked: ScoreItems,
  from: number,
  at: Micros,
  { found, known, missing }: FusedItems,
): void {
  const [index, position, erased] = [serving.index(), serving.position(), serving.erased()];
  const items = asked.items.slice(from, from + SLICE_ITEMS) as typeof asked.items;
  const rows: readonly (RequestRow | undefined)[] =
    asked.kind === "rows"
      ? fuseRequest(plan, index, items as readonly Row[], at)
      : fuseEntities(plan, index, items as readonly (readonly Value[])[], at);
  const outcomes = outcomesKnown(plan, index, items, at);
  rows.forEach((row, i) => {
    if (asked.kind === "rows" && erased && namesErased(erased, asked.items[from + i]!))
      missing.push(wasErased(from + i));
    else if (row) {
      found.push(featureRecord(plan, row, position));
      known.push(outcomes[i]!);
    } else missing.push(unknownEntity(from + i));
  });
}

function unknownEntity(index: number): Missing {
  const message = `no stored row has the entity of item ${index}`;
  return { index, error: requestErrors.error("unknown_entity", message, { place: `entities[${index}]` }) };
}

function wasErased(index: number): Missing {
  const message = `the entity of item ${index} was erased: nothing of it is stored any more, and so no score`;
  return { index, error: requestErrors.error("erased_entity", message, { place: `rows[${index}]` }) };
}

/** Results in the order asked, with an error in the place of what is not known: good items of the same request go on. */
function woven(shape: ViewShape, results: readonly ScoreResult[], missing: readonly Missing[]): object[] {
  const errors = new Map(missing.map(({ index, error }) => [index, error]));
  const rest = results.map((result) => shownScore(shape, result));
  return Array.from({ length: results.length + missing.length }, (_, index) => {
    const error = errors.get(index);
    return error ? { error: { code: error.code, message: error.message, fix: error.fix } } : rest.shift()!;
  });
}

/** A score as clients see it: times as ISO 8601. */
export function shownScore(shape: ViewShape, result: ScoreResult): object {
  return {
    ...result,
    as_of: formatInstant(result.as_of),
    made_at: formatInstant(result.made_at),
    keys: shownValues(result.keys, shape.keys),
    features: shownValues(result.features, shape.features),
    times: shownValues(
      result.times,
      shape.inputs.map((name) => ({ name, type: "timestamp" })),
    ),
  };
}
