import { keyText, type Row, type Value } from "../base/row.ts";
import type { Micros } from "../base/time.ts";
import { rowsOf } from "../contract/batch.ts";
import { labelsStream, scoresStream, type ViewShape } from "../contract/streams.ts";
import { DATASET_ORIGIN } from "../feedback/labels.ts";
import type { ToldLabels } from "../views/training_batch.ts";
import type { Engine } from "./engine.ts";

interface Told {
  readonly knownTime: Micros;
  readonly label: number | null;
  readonly fromDataset: boolean;
}

/**
 * Outcomes that were told through the API for rows of a view, by score id or by keys, as known by the commit `upTo`. Of
 * several for one row the one known last counts; where that came from the label's own dataset nothing is told here.
 */
export async function toldLabels(engine: Engine, view: string, shape: ViewShape, upTo: number): Promise<ToldLabels> {
  const told = new Map<string, Told>();
  for (const model of Object.keys(engine.project.config.models)) {
    if ((engine.project.config.models[model]!.view ?? model) === view) await collect(engine, model, shape, upTo, told);
  }
  for (const [keys, { fromDataset }] of told) if (fromDataset) told.delete(keys);
  return told.size === 0 ? () => undefined : (keys) => told.get(keyText(keys))?.label;
}

async function collect(
  { store }: Engine,
  model: string,
  shape: ViewShape,
  upTo: number,
  told: Map<string, Told>,
): Promise<void> {
  const names = shape.keys.map(({ name }) => `key_${name}`);
  const keysOf = (row: Row) => names.map((name) => row[name] ?? null);
  const byScore: { scoreId: string; told: Told }[] = [];
  const keep = (keys: readonly Value[], one: Told) => {
    const text = keyText(keys);
    if ((told.get(text)?.knownTime ?? -1) < one.knownTime) told.set(text, one);
  };
  for await (const { batch, knownTimes } of store.scan(labelsStream(model), { upTo })) {
    rowsOf(batch).forEach((row, i) => {
      const one = {
        knownTime: knownTimes[i]!,
        label: row.label as number | null,
        fromDataset: row.origin === DATASET_ORIGIN,
      };
      if (row.score_id === null) keep(keysOf(row), one);
      else byScore.push({ scoreId: row.score_id as string, told: one });
    });
  }
  if (byScore.length === 0) return;
  const wanted = new Set(byScore.map(({ scoreId }) => scoreId));
  const keysByScore = new Map<string, readonly Value[]>();
  for await (const { batch } of store.scan(scoresStream(model), { columns: ["score_id", ...names], upTo })) {
    for (const row of rowsOf(batch)) {
      if (wanted.has(row.score_id as string)) keysByScore.set(row.score_id as string, keysOf(row));
    }
  }
  for (const { scoreId, told: one } of byScore) {
    const keys = keysByScore.get(scoreId);
    if (keys && !keys.includes(null)) keep(keys, one); // a score of new rows has no place in the view
  }
}
