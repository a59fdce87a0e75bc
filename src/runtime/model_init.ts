import { sha256Hex } from "../base/digest.ts";
import type { Row, Value } from "../base/row.ts";
import { formatInstant } from "../base/time.ts";
import type { World } from "../base/world.ts";
import type { Manifest, Reference } from "../contract/model_package.ts";
import { openParquet, type ParquetFile, readParquet } from "../contract/parquet.ts";
import { DEFAULT_GATE } from "../delivery/gates.ts";
import type { ViewPlan } from "../fusion/types.ts";
import { profileOf } from "../quality/profile.ts";
import { type InitOptions, initManifest, initPackage } from "../scoring/init.ts";
import { MANIFEST_FILE, type ModelPackage, parseManifest, readPackage } from "../scoring/package.ts";
import type { Engine as Ort } from "../scoring/tensor.ts";
import { scoreRows } from "../scoring/tensors.ts";
import type { TrainingManifest } from "../views/export.ts";
import { trainingContract } from "../views/training_batch.ts";
import { runtimeErrors } from "./errors.ts";

export interface InitRequest extends Pick<InitOptions, "name" | "version" | "features" | "output" | "column"> {
  readonly onnx: Uint8Array;
  readonly plan: ViewPlan;
  /** The Parquet file the model was trained on, with its manifest beside it. Without it there are no golden rows and no profile. */
  readonly training?: string;
  /** Labelled requests that a promotion must have to compare on; default that of every gate. */
  readonly minLabelled?: number;
  /** Hears how many rows are scored: a big set takes a while. */
  readonly tell?: (scored: number, rows: number) => void;
}

export interface InitialPackage {
  readonly files: Map<string, Uint8Array>;
  readonly pack: ModelPackage;
}

/** Rows of the training set that become golden rows, evenly spaced. */
const GOLDEN_ROWS = 64;
const SLICE_ROWS = 4_096;
const REFERENCE_FILE = "reference.json";
const CARD_FILE = "README.md";
const encode = (text: string) => new TextEncoder().encode(text);

/**
 * A whole package for an ONNX model that was trained on a training set of a view: manifest, golden rows, frozen profile
 * and a card to complete. It is read back as any package is, so that what is written can be signed and promoted.
 * Throws scoring.* where the graph and the view don't fit, runtime.bad_training_set and runtime.view_mismatch.
 */
export async function initModel(world: World, ort: Ort, request: InitRequest): Promise<InitialPackage> {
  const { onnx, plan } = request;
  const set = request.training === undefined ? undefined : await openTrainingSet(world, plan, request.training);
  const options = initOptions(request);
  const draft = initManifest(onnx, plan.shape, options);
  const read = set && (await readTraining(set, draft, onnx, ort, request.tell));
  const files = initPackage(
    onnx,
    plan.shape,
    { ...options, ...(read ? { training: read.training } : {}) },
    read?.samples ?? [],
    ort,
  );
  const manifest = parseManifest(files.get(MANIFEST_FILE)!);
  if (read) files.set(REFERENCE_FILE, encode(`${JSON.stringify(read.reference)}\n`));
  files.set(CARD_FILE, encode(card(manifest, plan, set?.manifest)));
  const whole: Manifest = {
    ...manifest,
    // Both metrics of the gate are of a probability.
    ...(manifest.score.type === "probability"
      ? {
          gate: {
            ...DEFAULT_GATE,
            ...(request.minLabelled === undefined ? {} : { min_labelled: request.minLabelled }),
          },
        }
      : {}),
    ...(read ? { reference: { file: REFERENCE_FILE, rows: read.reference.rows } } : {}),
    card: CARD_FILE,
    files: Object.fromEntries(
      [...files]
        .filter(([path]) => path !== MANIFEST_FILE)
        .map(([path, bytes]) => [path, `sha256:${sha256Hex(bytes)}`]),
    ),
  };
  files.set(MANIFEST_FILE, encode(`${JSON.stringify(whole, null, 2)}\n`));
  return { files, pack: readPackage(files) };
}

function initOptions({ name, version, features, output, column, plan }: InitRequest): InitOptions {
  return {
    name,
    viewDigest: plan.digest,
    ...(version === undefined ? {} : { version }),
    ...(features === undefined ? {} : { features }),
    ...(output === undefined ? {} : { output }),
    ...(column === undefined ? {} : { column }),
    ...(plan.label === null ? {} : { label: { name: plan.label.name, positive: true } }),
  };
}

interface TrainingFile {
  readonly path: string;
  readonly file: ParquetFile;
  readonly manifest: TrainingManifest;
  readonly plan: ViewPlan;
}

/** The set and its manifest, which must be of this very view and of these very bytes. */
async function openTrainingSet(world: World, plan: ViewPlan, path: string): Promise<TrainingFile> {
  const beside = `${path}.json`;
  const [bytes, text] = [await world.files.read(path), new TextDecoder().decode(await world.files.read(beside))];
  const refuse = (message: string) => runtimeErrors.error("bad_training_set", message, { place: beside });
  let manifest: TrainingManifest;
  try {
    manifest = JSON.parse(text) as TrainingManifest;
  } catch (cause) {
    throw refuse(`it is not JSON: ${(cause as Error).message}`);
  }
  if (manifest?.manifest !== "mlpe.training_set/v1") throw refuse("it is no manifest of a training set");
  if (manifest.sha256 !== sha256Hex(bytes)) throw refuse(`the manifest is not of ${path}: the file has another digest`);
  if (manifest.view !== plan.name || manifest.digest !== plan.digest) {
    const other = manifest.view === plan.name ? "as it was declared before" : `"${manifest.view}"`;
    throw runtimeErrors.error(
      "view_mismatch",
      `the training set is of the view ${other}, not of "${plan.name}" as it is now`,
      { place: beside },
    );
  }
  return { path, file: await openParquet(bytes, path), manifest, plan };
}

interface ReadTraining {
  readonly samples: readonly Row[];
  readonly reference: Reference;
  readonly training: NonNullable<Manifest["training"]>;
}

/** One pass over the set: the columns that the model reads, the score of every row, and the rows that become golden. */
async function readTraining(
  set: TrainingFile,
  draft: Manifest,
  onnx: Uint8Array,
  ort: Ort,
  tell: InitRequest["tell"],
): Promise<ReadTraining> {
  const { file, manifest, plan } = set;
  const names = draft.inputs.flatMap(({ features }) => features.map(({ name }) => name));
  const columns = new Map(names.map((name) => [name, [] as Value[]]));
  const scores: (number | null)[] = [];
  const samples: Row[] = [];
  const golden = goldenPlaces(file.rows);
  let [first, last]: [Value, Value] = [null, null];
  const session = ort.open(onnx);
  try {
    const contract = trainingContract(plan, manifest.float32);
    for await (const slice of readParquet(file, set.path, { contract, sliceRows: SLICE_ROWS })) {
      slice.rows.forEach((row, i) => {
        for (const [name, values] of columns) values.push(row[name] ?? null);
        if (golden.has(slice.first + i)) samples.push(row);
      });
      scores.push(...scoreRows({ manifest: draft, session }, slice.rows).scores);
      first ??= slice.rows[0]?.as_of ?? null;
      last = slice.rows.at(-1)?.as_of ?? last;
      tell?.(scores.length, file.rows);
    }
  } finally {
    session.dispose();
  }
  if (typeof first !== "number" || typeof last !== "number")
    throw runtimeErrors.error("bad_training_set", "the training set has no row", { place: set.path });
  if (scores.every((score) => score === null)) {
    const message = `the model refuses every one of the ${scores.length} training rows`;
    throw runtimeErrors.error("bad_training_set", message, {
      place: set.path,
      fix: "Check --features: the model reads them in the order it was trained on.",
    });
  }
  return { samples, reference: referenceOf(columns, scores), training: trainingOf(manifest, first, last) };
}

function goldenPlaces(rows: number): ReadonlySet<number> {
  const count = Math.min(GOLDEN_ROWS, rows);
  return new Set(Array.from({ length: count }, (_, i) => Math.floor(((i + 0.5) * rows) / count)));
}

function referenceOf(columns: ReadonlyMap<string, Value[]>, scores: readonly (number | null)[]): Reference {
  const features = Object.fromEntries([...columns].map(([name, values]) => [name, profileOf(values)]));
  return { rows: scores.length, features, score: profileOf(scores, { kind: "numeric" }) };
}

function trainingOf(manifest: TrainingManifest, first: number, last: number): NonNullable<Manifest["training"]> {
  return {
    set: `sha256:${manifest.sha256}`,
    log_position: manifest.cutoff.commit_no,
    from: formatInstant(first),
    to: formatInstant(last),
    rows: manifest.rows,
  };
}

/** What is known of the model, and the questions that only its maker can answer. */
function card(manifest: Manifest, plan: ViewPlan, set: TrainingManifest | undefined): string {
  const features = manifest.inputs.flatMap((input) => input.features.map(({ name }) => `\`${name}\``));
  const trained = set
    ? `${set.rows} rows of the view, ${set.labelled} of them labelled: training set \`sha256:${set.sha256}\`, cutoff commit ${set.cutoff.commit_no}.`
    : "Not stated: the package was made without its training set.";
  return `# ${manifest.name} ${manifest.version}

View \`${plan.name}\` (\`${plan.digest}\`), score \`${manifest.score.name}\` (${manifest.score.type})${plan.label ? `, label \`${plan.label.name}\`` : ""}.

## Data
${trained}

## Features
${features.join(", ")}

## To be completed
- What the score is for, and what it is not for.
- How the data was split, and the figures on the part held back.
- How it is known that no outcome is among the inputs.
- Limits: where it was never tried.
`;
}
