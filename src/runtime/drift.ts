import type { Row, Value } from "../base/row.ts";
import type { Micros } from "../base/time.ts";
import { DEFAULT_DRIFT } from "../config/schema.ts";
import { batchOf, columnNamed, valueAt } from "../contract/batch.ts";
import { fieldOf } from "../contract/contract.ts";
import { scoresStream, VERDICTS, verdictContract } from "../contract/streams.ts";
import { countedScores } from "../feedback/performance.ts";
import { judgeDrift } from "../quality/drift.ts";
import { loadPackageFiles } from "../scoring/artifacts.ts";
import type { Store } from "../store/port.ts";
import { liveOf } from "./delivery.ts";
import type { Engine } from "./engine.ts";
import { runtimeErrors } from "./errors.ts";
import { featuresOf, modelContext, readModelPackage } from "./models.ts";

/** Most rows of one judgement: the newest count. */
const ROWS_MAX = 500_000;

/**
 * Judges the live scores with T in the period, and the features they were made from, against the frozen profile of the
 * live package, and commits the verdicts. Hindsight and blocked scores are left out.
 */
export async function judgeModelDrift(
  engine: Engine,
  model: string,
  from: Micros,
  to: Micros,
): Promise<readonly Row[]> {
  const { store, world, project } = engine;
  const context = modelContext(engine, model);
  const { digest } = await liveOf(engine, model);
  const pack = readModelPackage(await loadPackageFiles(store, digest), context);
  if (!pack.reference) {
    throw runtimeErrors.error("no_profile", `the live package of "${model}" has no frozen profile`, {
      place: "model.json: reference",
    });
  }
  const config = project.config.drift[model] ?? DEFAULT_DRIFT;
  const names = featuresOf(pack.manifest);
  const values = await newestValues(store, { model, digest, from, to }, names);
  const features = Object.fromEntries(names.map((name) => [name, values.get(name)!]));
  const rows = judgeDrift({
    model,
    config,
    reference: pack.reference,
    features,
    scores: values.get("score")!,
    at: world.clock.now(),
  });
  await store.commit({ appends: [{ stream: VERDICTS, batch: batchOf(verdictContract, rows) }] });
  return rows;
}

/** The values of the newest scores that count, in the order they were made: recomputed batch scores once. */
export async function newestValues(
  store: Store,
  period: { readonly model: string; readonly digest: string; readonly from: Micros; readonly to: Micros },
  names: readonly string[],
  limit = ROWS_MAX,
): Promise<Map<string, Value[]>> {
  const { model, from, to } = period;
  const upTo = (await store.head()).commitNo;
  const counted = (await countedScores(store, model, { digest: period.digest, from, to, upTo })).sequences;
  const newest = counted.subarray(Math.max(0, counted.length - limit));
  const places = new Map(Array.from(newest, (sequence, place) => [sequence, place]));
  const columns = [...names, "score"];
  const values = new Map(columns.map((name) => [name, new Array<Value>(newest.length).fill(null)]));
  for await (const { batch, sequences } of store.scan(scoresStream(model), { columns, from, to, upTo })) {
    const readers = columns.map((name) => {
      const column = columnNamed(batch, name);
      const { type } = fieldOf(batch.contract, name)!;
      const list = values.get(name)!;
      return (index: number, place: number) => {
        list[place] = valueAt(column, type, index);
      };
    });
    for (let i = 0; i < batch.length; i++) {
      const place = places.get(sequences[i]!);
      if (place !== undefined) for (const read of readers) read(i, place);
    }
  }
  return values;
}
