import { canonicalJson, sha256Hex } from "../base/digest.ts";
import { formatInstant, type Micros } from "../base/time.ts";
import type { FieldType } from "../contract/contract.ts";
import { writeParquet } from "../contract/parquet_write.ts";
import { cutoffOf, historyPlaces, historyView, type Period } from "../fusion/history.ts";
import type { ViewPlan } from "../fusion/types.ts";
import type { Store } from "../store/port.ts";
import { viewErrors } from "./errors.ts";
import { type ToldLabels, trainingRows } from "./training_batch.ts";

export interface ExportOptions extends Period {
  /** The cutoff as a time; default everything known now. */
  readonly knownBy?: Micros;
  /** The cutoff as a commit number, as an earlier manifest says it; goes before `knownBy`. */
  readonly cutoff?: number;
  /** Double features as 32-bit floats: the bits that FP32 models see when they serve. Default true. */
  readonly float32?: boolean;
  /** Outcomes told beside the label's own dataset, as known by that commit. */
  readonly told?: (upTo: number) => Promise<ToldLabels>;
}

/** What a training set is, so that it can be made again and shown to be the same. */
export interface TrainingManifest {
  readonly manifest: "mlpe.training_set/v1";
  readonly view: string;
  readonly digest: string;
  readonly cutoff: { readonly commit_no: number };
  /** Bounds on as_of, inclusive; null is unbounded. */
  readonly from: string | null;
  readonly to: string | null;
  readonly rows: number;
  readonly labelled: number;
  /** Values that were undefined or beyond a 32-bit float, and are null. */
  readonly undefined_values: number;
  readonly float32: boolean;
  readonly columns: readonly { readonly name: string; readonly type: FieldType; readonly role: Role }[];
  readonly label: string | null;
  /** Dataset -> fingerprint of its contract. */
  readonly contracts: Readonly<Record<string, string>>;
  /** Of the Parquet file. */
  readonly sha256: string;
}

type Role = "key" | "as_of" | "feature" | "label";

export interface TrainingSet {
  readonly parquet: Uint8Array<ArrayBuffer>;
  readonly manifest: TrainingManifest;
  /** The manifest as it is written: canonical JSON and a newline. Its SHA-256 names the set. */
  readonly manifestText: string;
}

/**
 * The training set of a view at a cutoff: one row per spine record with T in the period, sorted by (T, record id),
 * every feature as it could have been known at T, and the label as it is known by the cutoff. The same bytes each time.
 */
export async function exportTrainingSet(
  store: Store,
  plan: ViewPlan,
  options: ExportOptions = {},
): Promise<TrainingSet> {
  const upTo = options.cutoff ?? (await cutoffOf(store, options.knownBy));
  const float32 = options.float32 ?? true;
  const view = await historyView(store, plan, upTo);
  const places = historyPlaces(view, options);
  if (places.length === 0) throw viewErrors.error("empty_set", `the view ${plan.name} has no row in that period`);
  const { batch, labelled, undefinedValues } = trainingRows(view, places, float32, await options.told?.(upTo));
  // Not the cutoff, which is in the manifest: the same rows are the same bytes, whenever they are exported.
  const metadata = { "mlpe.view": plan.name, "mlpe.view_digest": plan.digest };
  const parquet = writeParquet([batch], metadata);
  const time = (at: Micros | undefined) => (at === undefined ? null : formatInstant(at));
  const manifest: TrainingManifest = {
    manifest: "mlpe.training_set/v1",
    view: plan.name,
    digest: plan.digest,
    cutoff: { commit_no: upTo },
    from: time(options.from),
    to: time(options.to),
    rows: batch.length,
    labelled,
    undefined_values: undefinedValues,
    float32,
    columns: batch.contract.fields.map(({ name, type }) => ({ name, type, role: roleOf(name) })),
    label: plan.label?.name ?? null,
    contracts: Object.fromEntries([...plan.needs].map(([dataset, { contract }]) => [dataset, contract.fingerprint])),
    sha256: sha256Hex(parquet),
  };
  return { parquet, manifest, manifestText: `${canonicalJson(manifest)}\n` };
}

/** Feature names can't collide with the others: they are reserved. */
function roleOf(name: string): Role {
  if (name.startsWith("key_")) return "key";
  return name === "as_of" || name === "label" ? name : "feature";
}
