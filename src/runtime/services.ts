import { sha256Hex } from "../base/digest.ts";
import type { MlpeError } from "../base/errors.ts";
import type { Row } from "../base/row.ts";
import { formatInstant, type Micros } from "../base/time.ts";
import { batchOf } from "../contract/batch.ts";
import { labelsContract, labelsStream } from "../contract/streams.ts";
import { flip, readDeployments } from "../delivery/promote.ts";
import { labelRowsFromApi } from "../feedback/labels.ts";
import { performanceOf } from "../feedback/performance.ts";
import { featureRecord } from "../fusion/feature_rows.ts";
import { fuseEntities, fuseRequest, type RequestRow } from "../fusion/request.ts";
import { findScore } from "../scoring/find_score.ts";
import { inferJson, modelMetadata, parseInfer } from "../scoring/oip.ts";
import { scoreAndCommit } from "../scoring/score.ts";
import { resultOf, type ScoreResult } from "../scoring/score_rows.ts";
import { packageFiles, promotePackage } from "./delivery.ts";
import { runtimeErrors } from "./errors.ts";
import type { Services } from "./faces.ts";
import type { ModelContext } from "./models.ts";
import { scoresLineage } from "./models.ts";
import { parseList, parseObject, parseScoreBody, requestErrors, type ScoreItems, shownTimes } from "./requests.ts";
import type { Serving } from "./serving.ts";
import { VERSION } from "./version.ts";

/** Hands pushed rows to the thread that ingests; resolves with what became of them. */
export type Push = (source: string, body: string, key: string | undefined) => Promise<object>;

/** The services behind the HTTP faces, over what the serving thread holds. */
export function servicesOf(serving: Serving, push: Push): Services {
  const { engine, models, metrics } = serving;
  const { store, project, world } = engine;
  const contextOf = (model: string): ModelContext => {
    if (!serving.ready()) throw runtimeErrors.error("not_ready", "the server is starting");
    const context = models.contexts.get(model);
    if (context) return context;
    const known = [...models.contexts.keys()].join(", ") || "none";
    throw runtimeErrors.error("unknown_model", `there is no model "${model.slice(0, 80)}"; there are: ${known}`, {
      place: "model",
    });
  };
  const flipped = async (model: string, direction: "rollback" | "rollforward") => {
    contextOf(model);
    const result = await flip({ store, clock: world.clock, model, direction });
    await models.follow();
    return result;
  };
  return {
    site: project.config.site,
    version: VERSION,
    ready: serving.ready,
    metrics() {
      metrics.set("mlpe_ready", serving.ready() ? 1 : 0);
      metrics.set("mlpe_log_commits", serving.position());
      metrics.set("mlpe_resident_memory_bytes", world.residentBytes());
      return metrics.render();
    },
    failed: (code) => metrics.add("mlpe_request_errors_total", 1, { code }),
    modelReady(model, version) {
      if (!serving.ready()) return false;
      models.table.acquire(contextOf(model).name, version).release();
      return true;
    },
    modelMetadata(model, version) {
      const lease = models.table.acquire(contextOf(model).name, version);
      const { inputs, outputs } = lease.model.session;
      const document = modelMetadata({ name: model, versions: [lease.model.manifest.version], inputs, outputs });
      lease.release();
      return document;
    },
    infer(model, version, body) {
      const lease = models.table.acquire(contextOf(model).name, version);
      try {
        const { session, manifest } = lease.model;
        const request = parseInfer(body, session);
        return inferJson(session, request, { model, version: manifest.version, id: request.id });
      } finally {
        lease.release();
      }
    },
    score: (model, body) => score(serving, contextOf(model), body),
    async findScore(scoreId) {
      const found = await findScore(store, scoreId);
      if (!found)
        throw runtimeErrors.error("unknown_score", `there is no score "${scoreId.slice(0, 64)}"`, {
          place: "score id",
        });
      return shownScore(resultOf(contextOf(found.model).plan.shape, found.row));
    },
    async label(model, body) {
      const { plan } = contextOf(model);
      const trimmed = body.trimStart();
      const parsed = trimmed.startsWith("[") ? parseList(body) : parseObject(body);
      const { rows, problems } = labelRowsFromApi(parsed, plan.shape, world.clock.now());
      if (rows.length > 0) {
        await store.commit({
          appends: [{ stream: labelsStream(model), batch: batchOf(labelsContract(model, plan.shape), rows) }],
        });
      }
      return { accepted: rows.length, problems };
    },
    push,
    async models() {
      const deployments = await readDeployments(store);
      return [...models.contexts.keys()].map((name) => {
        const state = deployments.get(name);
        return {
          name,
          live: state?.live ?? null,
          rollback: state?.canRollBackTo ?? null,
          rollforward: state?.canRollForwardTo ?? null,
        };
      });
    },
    performance: (model) => performanceOf(store, contextOf(model).name),
    verdicts: () =>
      [...serving.verdicts.entries()].map(([key, { subject, name, outcome }]) => ({
        kind: JSON.parse(key)[0],
        subject,
        name,
        outcome,
      })),
    async promote(model, body) {
      const context = contextOf(model);
      const { directory, accept_inconclusive } = parseObject(body);
      if (typeof directory !== "string" || !directory.startsWith("/")) {
        throw requestErrors.error("bad_request", "directory is no absolute path of a package", {
          place: "directory",
          fix: 'Send { "directory": "/path/of/the/package" }, a directory of the host that serves.',
        });
      }
      const files = await packageFiles(engine, directory);
      const promotion = await promotePackage(engine, context, serving.ort, files, {
        acceptInconclusive: accept_inconclusive === true,
      });
      await models.follow();
      return promotion;
    },
    rollback: (model) => flipped(model, "rollback"),
    rollforward: (model) => flipped(model, "rollforward"),
  };
}

/** Looks up or takes the spine rows, fuses them at T from what is known, scores, commits, and then answers. */
async function score(serving: Serving, context: ModelContext, body: string): Promise<object> {
  const { engine, models, metrics } = serving;
  const { store, world } = engine;
  const startedAt = world.clock.now();
  const { id, at, asked } = parseScoreBody(context.plan, body);
  const asOf = at ?? startedAt;
  const lease = models.table.acquire(context.name);
  try {
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
      features: () => found.map((row) => featureRecord(context.plan, row, serving.position())),
      extra: (rows: readonly Row[]) => [scoresLineage(engine, context, lease.model, rows, startedAt)],
    });
    metrics.observe("mlpe_score_seconds", (world.clock.now() - startedAt) / 1_000_000, { model: context.name });
    return { model: context.name, version: lease.model.manifest.version, repeated, results: woven(results, missing) };
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
function woven(results: readonly ScoreResult[], missing: readonly Missing[]): object[] {
  const errors = new Map(missing.map(({ index, error }) => [index, error]));
  const rest = results.map(shownScore);
  return Array.from({ length: results.length + missing.length }, (_, index) => {
    const error = errors.get(index);
    return error ? { error: { code: error.code, message: error.message, fix: error.fix } } : rest.shift()!;
  });
}

/** A score as clients see it: times as ISO 8601. */
function shownScore(result: ScoreResult): object {
  return {
    ...result,
    as_of: formatInstant(result.as_of),
    made_at: formatInstant(result.made_at),
    times: shownTimes(result.times),
  };
}
