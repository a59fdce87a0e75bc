import type { Row } from "../base/row.ts";
import { batchOf } from "../contract/batch.ts";
import { labelsContract, labelsStream } from "../contract/streams.ts";
import { listModels } from "../delivery/promote.ts";
import { labelRowsFromApi } from "../feedback/labels.ts";
import { performanceOf } from "../feedback/performance.ts";
import { findScore } from "../scoring/find_score.ts";
import { inferJson, modelMetadata, parseInfer } from "../scoring/oip.ts";
import { resultOf } from "../scoring/score_rows.ts";
import type { EntityName } from "../store/erase_select.ts";
import { namesErased } from "../store/erased.ts";
import { commitSent } from "./beside.ts";
import { flipPackage, liveOf, promotePackage } from "./delivery.ts";
import { runtimeErrors } from "./errors.ts";
import type { DeliveryServices, InferenceServices, ScoreServices, Services, StatusServices } from "./faces.ts";
import { countRetained, measureLog } from "./metrics.ts";
import type { ModelContext } from "./models.ts";
import { packageFiles } from "./package_files.ts";
import { parseList, parseObject, requestErrors } from "./requests.ts";
import { retainAsked, type Told } from "./retain.ts";
import { rewrapAsked, rotateAsked } from "./rotate.ts";
import { scoreRequest, shownScore } from "./score_service.ts";
import type { Serving } from "./serving.ts";
import { shownSpace } from "./space.ts";
import { streamServices } from "./stream_service.ts";
import { VERSION } from "./version.ts";

/** Hands pushed rows to the thread that ingests; resolves with what became of them. */
export type Push = (source: string, body: string, key: string | undefined) => Promise<object>;

/** Has the thread that ingests erase an entity; resolves with the signed receipt. */
export type Erase = (entity: EntityName, ahead: boolean) => Promise<object>;

const NO_ERASE: Erase = () => Promise.reject(runtimeErrors.error("not_ready", "nothing here erases"));

/** The services behind the HTTP faces, over what the serving thread holds. */
export function servicesOf(serving: Serving, push: Push, erase: Erase = NO_ERASE): Services {
  return {
    site: serving.engine.project.config.site,
    version: VERSION,
    push,
    ...statusServices(serving),
    ...inferenceServices(serving),
    ...scoreServices(serving),
    ...deliveryServices(serving),
    ...streamServices(serving.engine.store),
    erase: async (body) => erase(...erasureIn(body)),
    retain: (body) => retainAsked(serving.engine, body, toldBy(serving)),
    rewrapKeys: (body) => rewrapAsked(serving.engine, body),
    rotateKeys: () => rotateAsked(serving.engine, serving.log),
  };
}

const toldBy = ({ log, metrics }: Serving): Told => ({
  log,
  retained: (amounts) => countRetained(metrics, amounts),
});

function contextOf(serving: Serving, model: string): ModelContext {
  if (!serving.ready()) throw runtimeErrors.error("not_ready", "the server is starting");
  const context = serving.models.contexts.get(model);
  if (context) return context;
  const known = [...serving.models.contexts.keys()].join(", ") || "none";
  const message = `there is no model "${model.slice(0, 80)}"; there are: ${known}`;
  throw runtimeErrors.error("unknown_model", message, { place: "model" });
}

function statusServices(serving: Serving): StatusServices {
  const { metrics, engine } = serving;
  return {
    ready: serving.ready,
    unloaded: serving.models.unloaded,
    degraded: serving.degraded.list,
    space: () => shownSpace(serving.space(), serving.engine.project.config.space.scores),
    metrics() {
      metrics.set("mlpe_ready", serving.ready() && serving.models.unloaded().length === 0 ? 1 : 0);
      metrics.set("mlpe_damaged_parts", serving.degraded.list().length);
      metrics.set("mlpe_log_commits", serving.position());
      measureLog(metrics, engine.store);
      metrics.set("mlpe_resident_memory_bytes", engine.world.residentBytes());
      return metrics.render();
    },
    failed: (code) => metrics.add("mlpe_request_errors_total", 1, { code }),
    verdicts: () =>
      [...serving.verdicts].map(([key, { subject, name, outcome }]) => {
        return { kind: (JSON.parse(key) as string[])[0], subject, name, outcome };
      }),
  };
}

function inferenceServices(serving: Serving): InferenceServices {
  const { models } = serving;
  return {
    modelReady(model, version) {
      if (!serving.ready()) return false;
      const { name } = contextOf(serving, model);
      if (models.unloaded().some((one) => one.model === name)) return false;
      models.acquire(name, version).release();
      return true;
    },
    modelMetadata(model, version) {
      const lease = models.acquire(contextOf(serving, model).name, version);
      const { inputs, outputs } = lease.model.session;
      const document = modelMetadata({ name: model, versions: [lease.model.manifest.version], inputs, outputs });
      lease.release();
      return document;
    },
    infer(model, version, body) {
      const lease = models.acquire(contextOf(serving, model).name, version);
      try {
        const { session, manifest } = lease.model;
        const request = parseInfer(body, session);
        return inferJson(session, request, { model, version: manifest.version, id: request.id });
      } finally {
        lease.release();
      }
    },
  };
}

function scoreServices(serving: Serving): ScoreServices {
  const { store, world } = serving.engine;
  return {
    async score(model, body) {
      const context = contextOf(serving, model);
      const damage = serving.degraded.refusal(context.plan.name);
      if (!damage) return scoreRequest(serving, context, body);
      const message = `${model} can't score: ${damage.message}`;
      throw runtimeErrors.error("damaged_rows", message, { place: damage.place, fix: damage.fix });
    },
    async findScore(scoreId) {
      const found = await findScore(store, scoreId);
      if (found) {
        const { shape } = contextOf(serving, found.model).plan;
        return shownScore(shape, resultOf(shape, found.row));
      }
      const message = `there is no score "${scoreId.slice(0, 64)}"`;
      throw runtimeErrors.error("unknown_score", message, { place: "score id" });
    },
    async label(model, body) {
      const { plan } = contextOf(serving, model);
      const parsed = body.trimStart().startsWith("[") ? parseList(body) : parseObject(body);
      const erased = serving.erased();
      const isErased = (keys: Row) => erased !== undefined && namesErased(erased, keys);
      const { rows, problems } = labelRowsFromApi(parsed, plan.shape, world.clock.now(), isErased);
      const batch = batchOf(labelsContract(model, plan.shape), rows);
      if (rows.length > 0) {
        await store.commit({ appends: [{ stream: labelsStream(model), batch }], priority: "pipeline" });
      }
      return { accepted: rows.length, problems };
    },
    async performance(model) {
      const { name } = contextOf(serving, model);
      // Of the live package alone: figures over several packages at once are of none.
      const { digest } = await liveOf(serving.engine, name);
      const live = serving.models.table.list().find((state) => state.live.digest === digest)?.live;
      return performanceOf(store, name, { digest, threshold: live?.manifest.score.threshold });
    },
  };
}

function deliveryServices(serving: Serving): DeliveryServices {
  const { engine, models } = serving;
  const flipped = async (model: string, direction: "rollback" | "rollforward") => {
    const result = await flipPackage(engine, contextOf(serving, model), serving.ort, direction);
    await models.follow();
    return result;
  };
  return {
    commit: (body) => commitSent(engine.store, body),
    models: () => listModels(engine.store, models.contexts.keys()),
    async promote(model, body) {
      const context = contextOf(serving, model);
      const { directory, accept_inconclusive } = parseObject(body);
      if (typeof directory !== "string" || !directory.startsWith("/")) {
        const fix = 'Send { "directory": "/path/of/the/package" }, a directory of the host that serves.';
        throw requestErrors.error("bad_request", "directory is no absolute path of a package", {
          place: "directory",
          fix,
        });
      }
      const files = await packageFiles(engine, directory);
      const acceptInconclusive = accept_inconclusive === true;
      const promotion = await promotePackage(engine, context, serving.ort, files, { acceptInconclusive });
      await models.follow();
      return promotion;
    },
    rollback: (model) => flipped(model, "rollback"),
    rollforward: (model) => flipped(model, "rollforward"),
  };
}

function erasureIn(body: string): [EntityName, boolean] {
  const { entity, ahead, ...rest } = parseObject(body);
  const [other] = Object.keys(rest);
  const values = typeof entity === "object" && entity !== null ? Object.values(entity) : [];
  if (other === undefined && values.length > 0 && values.every((value) => typeof value === "string")) {
    return [entity as EntityName, ahead === true];
  }
  throw requestErrors.error("bad_request", "this names no entity", {
    place: other ?? "entity",
    fix: 'Send { "entity": { "field": "value" } }, each value as text, and "ahead": true where nothing of it need be stored.',
  });
}
