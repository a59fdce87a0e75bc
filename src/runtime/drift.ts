import type { Row, Value } from "../base/row.ts";
import type { Micros } from "../base/time.ts";
import { DEFAULT_DRIFT } from "../config/schema.ts";
import { batchOf, columnNamed, valueAt } from "../contract/batch.ts";
import { scoresStream, VERDICTS, verdictContract } from "../contract/streams.ts";
import { judgeDrift } from "../quality/drift.ts";
import { loadPackageFiles } from "../scoring/artifacts.ts";
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
  const values = await collect(engine, model, digest, names, from, to);
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

async function collect(
  { store }: Engine,
  model: string,
  digest: string,
  names: readonly string[],
  from: Micros,
  to: Micros,
): Promise<Map<string, Value[]>> {
  const columns = [...names, "score"];
  const values = new Map(columns.map((name) => [name, [] as Value[]]));
  const needed = [...columns, "model", "hindsight", "blocked"];
  let count = 0;
  for await (const { batch, tombstones } of store.scan(scoresStream(model), { columns: needed, from, to })) {
    const read = (name: string) => {
      const column = columnNamed(batch, name);
      const type = batch.contract.fields.find((field) => field.name === name)!.type;
      return (index: number) => valueAt(column, type, index);
    };
    const [packageOf, hindsight, blocked] = [read("model"), read("hindsight"), read("blocked")];
    const readers = columns.map(read);
    for (let i = 0; i < batch.length && count < ROWS_MAX; i++) {
      if (tombstones[i] === 1 || packageOf(i) !== digest || hindsight(i) === true || blocked(i) === true) continue;
      count++;
      columns.forEach((name, c) => values.get(name)!.push(readers[c]!(i)));
    }
  }
  return values;
}
