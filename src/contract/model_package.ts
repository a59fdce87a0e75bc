import { z } from "zod";

const digest = z.string().regex(/^sha256:[0-9a-f]{64}$/, "must be sha256: and 64 hex digits");
/** With or without `sha256:` before it. */
const plainDigest = z.string().regex(/^(?:sha256:)?[0-9a-f]{64}$/, "must be 64 hex digits");
const datatype = z.enum([
  ...["BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64"],
  ...["FP16", "FP32", "FP64", "BYTES"],
] as const);
/** -1 is the free dimension: one row of the tensor a row of features. */
const shape = z.array(z.number().int().min(-1)).max(8);

/** The file of a package directory that holds its signature: the one file that the package digest leaves out. */
export const SIGNATURE_FILE = "signature.json";

/** `model.json`: what a model package says of itself. The order of `features` in an input is the tensor's order. */
const feature = z.strictObject({
  name: z.string().min(1),
  /** What null becomes: an error, NaN, or a value. Default NaN for FP32 and FP64, else an error. */
  null: z
    .union([z.literal("reject"), z.literal("nan"), z.strictObject({ value: z.union([z.number(), z.string()]) })])
    .optional(),
  /** The known values of a text feature. */
  categories: z.array(z.string()).optional(),
  /** What happens to a value outside `categories`; default `pass`: the graph decides. */
  unknown: z.union([z.literal("pass"), z.literal("reject")]).optional(),
});

const input = z.strictObject({
  name: z.string(),
  datatype: z.enum(["FP32", "FP64", "INT64", "INT32", "BOOL", "BYTES"]),
  /** `[-1, n]` for n features, or `[-1]` for one. */
  shape,
  /** In the order of the tensor's columns. */
  features: z.array(feature).min(1),
});

const output = z.strictObject({ name: z.string().min(1), datatype, shape });

export const manifestSchema = z.strictObject({
  manifest: z.literal("mlpe.model/v1"),
  name: z.string().regex(/^[a-z][a-z0-9_]*$/),
  version: z.string().min(1).max(64),
  model: z.strictObject({
    file: z.string().min(1),
    sha256: plainDigest,
    format: z.literal("onnx"),
    opset: z.number().int(),
    made_with: z.record(z.string(), z.string()).optional(),
  }),
  /** The view it was trained on, and the digest of that view's canonical form and contracts. */
  view: z.strictObject({ name: z.string().min(1), digest: plainDigest }),
  inputs: z.array(input).min(1),
  outputs: z.array(output).min(1),
  score: z.strictObject({
    name: z.string(),
    output: z.string(),
    /** Which column of the output is the score; may be left out where it has only one. */
    column: z.number().int().min(0).optional(),
    type: z.enum(["probability", "number"]),
    threshold: z.number().optional(),
    classes: z.array(z.string()).optional(),
  }),
  label: z.strictObject({ name: z.string(), positive: z.boolean().optional() }).optional(),
  training: z
    .strictObject({ set: z.string(), log_position: z.number(), from: z.string(), to: z.string(), rows: z.number() })
    .optional(),
  metrics: z.record(z.string(), z.union([z.number(), z.string()])).optional(),
  gate: z
    .strictObject({ metric: z.enum(["auc", "brier"]), margin: z.number(), min_labelled: z.number().int() })
    .optional(),
  golden: z
    .strictObject({
      file: z.string(),
      rows: z.number().int(),
      /** A score s matches g where |s - g| <= atol + rtol * |g|. */
      atol: z.number().min(0),
      rtol: z.number().min(0),
      note: z.string().optional(),
    })
    .optional(),
  reference: z.strictObject({ file: z.string(), rows: z.number().int(), bins: z.string().optional() }).optional(),
  card: z.string().optional(),
  /** path -> `sha256:<hex>` of every file but model.json and the signature. */
  files: z.record(z.string(), digest),
});

export type Manifest = z.output<typeof manifestSchema>;

/** One frozen distribution. Numeric: `counts[i]` is the number of values v with `edges[i] <= v < edges[i+1]` (the first and last bin are open to infinity); `quantiles` are the 0, 1/n .. n/n order statistics. */
const numericProfile = z.strictObject({
  kind: z.literal("numeric"),
  rows: z.number().int(),
  nulls: z.number().int(),
  edges: z.array(z.number()),
  counts: z.array(z.number()),
  quantiles: z.array(z.number()),
});
const categoryProfile = z.strictObject({
  kind: z.literal("category"),
  rows: z.number().int(),
  nulls: z.number().int(),
  counts: z.record(z.string(), z.number()),
});
const profile = z.discriminatedUnion("kind", [numericProfile, categoryProfile]);

/** `reference.json`: the training distribution of each feature and of the score; drift is judged against this only. */
export const referenceSchema = z.strictObject({
  rows: z.number().int(),
  features: z.record(z.string(), profile),
  score: profile,
});

export type Profile = z.output<typeof profile>;
export type Reference = z.output<typeof referenceSchema>;

/** One line of `golden.jsonl`: named features (null allowed) and the score they must give. */
export const goldenSchema = z.strictObject({
  features: z.record(z.string(), z.union([z.number(), z.string(), z.boolean(), z.null()])),
  score: z.number(),
});
export type GoldenRow = z.output<typeof goldenSchema>;

/** What one golden row gave. `actual` is null where no score came out, and `error` says why. */
export interface GoldenResult {
  /** The line of `golden.jsonl`, from 1. */
  readonly line: number;
  readonly expected: number;
  readonly actual: number | null;
  readonly error?: string;
}

/** What a `deploy` row of the control stream says: the digest now in a role, and the one it replaced. */
export interface Deployment {
  readonly model: string;
  readonly role: "live" | "shadow";
  readonly digest: string;
  readonly version: string;
  readonly previous: string | null;
  readonly reason: "promote" | "rollback" | "rollforward";
}
