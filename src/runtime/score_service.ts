import { sha256Hex } from "../base/digest.ts";
import type { MlpeError } from "../base/errors.ts";
import type { Row } from "../base/row.ts";
import { formatInstant, type Micros } from "../base/time.ts";
import type { ViewShape } from "../contract/streams.ts";
import { featureRecord } from "../fusion/feature_rows.ts";
import { fuseEntities, fuseRequest, type RequestRow } from "../fusion/request.ts";
import { scoreAndCommit } from "../scoring/score.ts";
import type { ScoreResult } from "../scoring/score_rows.ts";
import { actOfScoring, type ModelContext } from "./models.ts";
import { parseScoreBody, requestErrors, type ScoreItems, shownValues } from "./requests.ts";
import type { Serving } from "./serving.ts";

/** Looks up or takes the spine rows, fuses them at T from what is known, scores, commits, and then answers. */
export async function scoreRequest(serving: Serving, context: ModelContext, body: string): Promise<object> {
  const { engine, models, metrics } = serving;
  const { store, world } = engine;
  const startedAt = world.clock.now();
  const { id, at, asked } = parseScoreBody(context.plan, body);
  const asOf = at ?? startedAt;
  const lease = models.table.acquire(context.name);
  try {
    for (let folding = serving.folding(); folding; folding = serving.folding()) await folding;
    const position = serving.position();
    const { found, missing } = fuseAsked(serving, context, asked, asOf);
    if (found.length === 0) throw missing[0]!.error;
    const { results, repeated } = await scoreAndCommit({
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
      features: () => found.map((row) => featureRecord(context.plan, row, position)),
      extra: (rows: readonly Row[]) => actOfScoring(engine, context, lease.model, rows, startedAt),
    });
    metrics.observe("mlpe_score_seconds", (world.clock.now() - startedAt) / 1_000_000, { model: context.name });
    return {
      model: context.name,
      version: lease.model.manifest.version,
      repeated,
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

function fuseAsked(serving: Serving, { plan }: ModelContext, asked: ScoreItems, at: Micros) {
  if (asked.kind === "rows")
    return { found: fuseRequest(plan, serving.index(), asked.items, at), missing: [] as Missing[] };
  const found: RequestRow[] = [];
  const missing: Missing[] = [];
  fuseEntities(plan, serving.index(), asked.items, at).forEach((row, index) => {
    if (row) found.push(row);
    else
      missing.push({
        index,
        error: requestErrors.error("unknown_entity", `no stored row has the entity of item ${index}`, {
          place: `entities[${index}]`,
        }),
      });
  });
  return { found, missing };
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
