import type { Row, Value } from "../base/row.ts";
import { rowAt } from "../contract/batch.ts";
import { featuresStream, type ViewShape } from "../contract/streams.ts";
import type { Store } from "../store/port.ts";
import { scoringErrors } from "./errors.ts";
import { findScore, type StoredScore } from "./find_score.ts";
import type { LoadedModel } from "./loaded.ts";
import { engineText } from "./score_rows.ts";
import { scoreRows } from "./tensors.ts";

/** One factor that is not as it was when the score was made. */
interface Difference {
  readonly factor: "feature" | "engine" | "score" | "outputs";
  readonly name: string;
  readonly stored: unknown;
  readonly replayed: unknown;
}

export interface Replay {
  readonly score_id: string;
  readonly model: string;
  /** The package's digest. */
  readonly digest: string;
  /** Same features, and the same bits of the score and of every output. */
  readonly equal: boolean;
  readonly stored: number | null;
  readonly replayed: number | null;
  /**
   * `stream`: features were read from features/<view> at the recorded place and position. `score`: the score was made
   * from a request, so its own feature values are the only ones there are.
   */
  readonly features_from: "stream" | "score";
  readonly differs: readonly Difference[];
}

export interface ReplayOptions {
  readonly store: Store;
  readonly scoreId: string;
  /** The shape of the view that a model of that name reads. */
  readonly shapeOf: (model: string) => ViewShape;
  /** Loads the package of that digest, golden rows checked; the session is closed here. */
  readonly loadPackage: (model: string, digest: string) => Promise<LoadedModel>;
}

/**
 * Makes a stored score again from the stored features and the package of its digest. The engine is named among what
 * differs only where the bits differ too. Throws `scoring.score_missing`, or what loading the package throws.
 */
export async function replayScore(options: ReplayOptions): Promise<Replay> {
  const found = await findScore(options.store, options.scoreId);
  if (!found) {
    const message = `there is no score ${JSON.stringify(options.scoreId.slice(0, 64))}`;
    throw scoringErrors.error("score_missing", message, { place: options.scoreId.slice(0, 64) });
  }
  const shape = options.shapeOf(found.model);
  const original = await featureRowOf(options.store, shape, found);
  const model = await options.loadPackage(found.model, found.row.model as string);
  try {
    return compare(found, shape, original, model);
  } finally {
    model.session.dispose();
  }
}

/** The version of the feature row that was read: of the same record, T and position, known before the score was. */
async function featureRowOf(store: Store, shape: ViewShape, { row, commitNo }: StoredScore): Promise<Row | null> {
  const names = [...shape.keys.map(({ name }) => `key_${name}`), "as_of", "position"];
  if (row.mode === "rows" || names.some((name) => row[name] === null)) return null;
  const at = row.as_of as number;
  const entity = shape.entity.map((name) => row[`key_${name}`] as Value);
  let best: { readonly sequence: number; readonly row: Row } | undefined;
  for await (const stored of store.scan(featuresStream(shape.view), { from: at, to: at, entity, upTo: commitNo })) {
    for (let i = 0; i < stored.batch.length; i++) {
      if (stored.tombstones[i] === 1 || stored.sequences[i]! < (best?.sequence ?? 0)) continue;
      const candidate = rowAt(stored.batch, i);
      if (names.every((name) => candidate[name] === row[name]))
        best = { sequence: stored.sequences[i]!, row: candidate };
    }
  }
  return best?.row ?? null;
}

function compare(found: StoredScore, shape: ViewShape, original: Row | null, model: LoadedModel): Replay {
  const { row } = found;
  const features = original ?? row;
  const differs: Difference[] = [];
  for (const { name } of shape.features) {
    const [was, is] = [row[name] ?? null, features[name] ?? null];
    if (!Object.is(was, is)) differs.push({ factor: "feature", name, stored: plain(was), replayed: plain(is) });
  }
  const { scores, outputs } = scoreRows(model, [features]);
  const made = scores[0] ?? null;
  const stored = row.score as number | null;
  // A blocked score is stored as null; its outputs are there all the same.
  const scoreDiffers = row.blocked !== true && !Object.is(stored, made);
  if (scoreDiffers) differs.push({ factor: "score", name: model.manifest.score.name, stored, replayed: made });
  const wasOutputs = row.outputs as string;
  const isOutputs = JSON.stringify(outputs[0] ?? null);
  if (wasOutputs !== isOutputs) {
    differs.push({ factor: "outputs", name: "outputs", stored: JSON.parse(wasOutputs), replayed: outputs[0] ?? null });
  }
  const engine = engineText(model);
  if (differs.length > 0 && typeof row.engine === "string" && row.engine !== engine) {
    differs.push({ factor: "engine", name: "engine", stored: JSON.parse(row.engine), replayed: JSON.parse(engine) });
  }
  return {
    score_id: row.score_id as string,
    model: found.model,
    digest: model.digest,
    equal: differs.length === 0,
    stored,
    replayed: row.blocked === true ? null : made,
    features_from: original ? "stream" : "score",
    differs,
  };
}

const plain = (value: Value): unknown => (typeof value === "bigint" ? value.toString() : value);
