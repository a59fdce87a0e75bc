import { type Contract, type Field, type FieldType, type StreamShape, streamContract } from "./contract.ts";

/**
 * The contracts of the streams that MLPE writes itself. The rooms of the path never import each other: they meet in
 * these streams.
 */

export const landingStream = (source: string) => `landing/${source}`;
export const curatedStream = (dataset: string) => `curated/${dataset}`;
export const quarantineStream = (dataset: string) => `quarantine/${dataset}`;
export const featuresStream = (view: string) => `features/${view}`;
export const scoresStream = (model: string) => `scores/${model}`;
export const labelsStream = (model: string) => `labels/${model}`;
export const LEDGER = "ledger";
export const CONTROL = "control";
export const VERDICTS = "verdicts";
export const LINEAGE = "lineage";
export const ARTIFACTS = "artifacts";
export const ERASURES = "erasures";
export const RETENTION = "retention";
export const BACKUPS = "backups";

/** Raw bytes of one page, exactly as received (for files: decompressed), so that it can be decoded again. */
export const landingContract = streamContract({
  name: "landing",
  fields: { payload: "bytes", format: "string", cursor: "string", received_at: "timestamp" },
  eventTime: "received_at",
  recordId: "position",
});

/** A rejected record. `landing_sequence` and `index` name the landing row and the record inside it. */
export const quarantineContract = streamContract({
  name: "quarantine",
  fields: {
    source: "string",
    landing_sequence: "long",
    index: "int",
    /** The record as JSON text, or the raw line where it could not be decoded. */
    record: "string",
    code: "string",
    field: "string?",
    rule: "string",
    value_digest: "string?",
    message: "string",
    received_at: "timestamp",
  },
  eventTime: "received_at",
  recordId: "position",
});

/** received = curated + corrected + duplicate + quarantined + dropped, for each commit, source and route (dataset). */
export const ledgerContract = streamContract({
  name: "ledger",
  fields: {
    source: "string",
    dataset: "string",
    received: "long",
    curated: "long",
    corrected: "long",
    duplicate: "long",
    quarantined: "long",
    dropped: "long",
    /** JSON: drop reason -> count. */
    reasons: "string",
    at: "timestamp",
  },
  eventTime: "at",
  recordId: "position",
});

/**
 * Facts that steer folds. kinds: `end_of_input` (subject: source), `idle` (subject: source), `deploy` (subject: model;
 * body: Deployment).
 */
export const controlContract = streamContract({
  name: "control",
  fields: { kind: "string", subject: "string", body: "string", at: "timestamp" },
  eventTime: "at",
  recordId: "position",
});

/**
 * kind: check, drift, guardrail, smoke, regression, promotion, alert, stale. outcome: pass, warn, fail, ok, drift,
 * inconclusive, flag, block, firing, resolved, stale, ... `value` of a guardrail: the rows of the commit that it held for.
 */
export const verdictContract = streamContract({
  name: "verdict",
  fields: {
    kind: "string",
    subject: "string",
    name: "string",
    outcome: "string",
    severity: "string",
    value: "double?",
    /** JSON. */
    detail: "string",
    at: "timestamp",
  },
  eventTime: "at",
  recordId: "position",
});

/** One OpenLineage event, as JSON text. */
export const lineageContract = streamContract({
  name: "lineage",
  fields: { run_id: "string", job: "string", event_type: "string", event: "string", at: "timestamp" },
  eventTime: "at",
  recordId: "position",
});

/** The files of model packages in parts of at most 512 KiB; `digest` is the package's. */
export const artifactContract = streamContract({
  name: "artifact",
  fields: { digest: "string", path: "string", part: "int", parts: "int", bytes: "bytes" },
  entity: ["digest"],
  recordId: ["digest", "path", "part"],
});

/**
 * What was erased. kinds: `entity` (one a commit: the fields, the keyed digest of their values, and what was done), `row`
 * (one a row: its place, and its leaf in the audit; `replacement` is the leaf, under `salt`, of what stands there now if
 * the row was not emptied).
 */
export const erasureContract = streamContract({
  name: "erasure",
  fields: {
    erasure: "string",
    kind: "string",
    /** JSON list of the fields that name the entity. */
    fields: "string?",
    digest: "bytes?",
    /** JSON: what was done. */
    body: "string?",
    stream: "string?",
    sequence: "long?",
    tombstone: "boolean?",
    leaf: "bytes?",
    replacement: "bytes?",
    salt: "bytes?",
    at: "timestamp",
  },
  eventTime: "at",
  recordId: "position",
});

/** What retention dropped: the rows of a stream before `first_sequence`. */
export const retentionContract = streamContract({
  name: "retention",
  fields: {
    stream: "string",
    first_sequence: "long",
    rows: "long",
    tombstones: "long",
    /** Rows that had been erased before. */
    erased: "long",
    bytes: "long",
    last_commit: "long",
    last_known_time: "timestamp",
    /** age, bytes or host */
    reason: "string",
    at: "timestamp",
  },
  eventTime: "at",
  recordId: "position",
});

/** A backup: a row when it is begun, which the copy holds itself, and one with what it holds once it was made. */
export const backupContract = streamContract({
  name: "backup",
  fields: {
    backup: "string",
    /** file or pipe */
    destination: "string",
    /** The last commit in it. */
    commit_no: "long?",
    files: "long?",
    bytes: "long?",
    /** SHA-256 of its manifest.json, in hex. */
    manifest: "string?",
    at: "timestamp",
  },
  eventTime: "at",
  recordId: "position",
});

/** Names that features can't have, because feature and score rows carry them. */
export const RESERVED_FEATURE_NAMES: ReadonlySet<string> = new Set([
  "as_of",
  "position",
  "score_id",
  "made_at",
  "mode",
  "hindsight",
  "model",
  "role",
  "score",
  "outputs",
  "flags",
  "blocked",
  "request_id",
  "request_digest",
  "engine",
  "label",
]);
export const RESERVED_FEATURE_PREFIXES = ["key_", "time_"] as const;

export interface FeatureField {
  readonly name: string;
  readonly type: FieldType;
}

/** What the contracts of a view's streams are made of. */
export interface ViewShape {
  readonly view: string;
  /** The spine's record id fields; in the streams they are called `key_<name>`. */
  readonly keys: readonly Field[];
  /** Those of the keys that are the spine's entity, by plain name. */
  readonly entity: readonly string[];
  readonly features: readonly FeatureField[];
  /** Join aliases: each has a `time_<alias>` column, the event time of the row that was used, null where none was. */
  readonly inputs: readonly string[];
}

type Shape = StreamShape["fields"];
type Mutable = Record<string, FieldType | `${FieldType}?`>;

function viewFields(shape: ViewShape, keysNullable: boolean): Shape {
  const fields: Mutable = {};
  const optional = (type: FieldType) => `${type}?` as const;
  for (const key of shape.keys) {
    const type = key.type === "enum" ? "string" : key.type;
    fields[`key_${key.name}`] = keysNullable ? optional(type) : type;
  }
  fields.as_of = "timestamp";
  for (const feature of shape.features)
    fields[feature.name] = optional(feature.type === "enum" ? "string" : feature.type);
  for (const input of shape.inputs) fields[`time_${input}`] = "timestamp?";
  fields.position = "long"; // the commit number that fusion had read: the cutoff
  return fields;
}

/**
 * features/<view>: one row per spine record; a recomputed one has a newer known time. Event time is T. `viewDigest` sets
 * rows apart that an earlier version of the view fused: they are fused again, and never scored.
 */
export function featuresContract(shape: ViewShape, viewDigest?: string): Contract {
  return streamContract({
    name: `features_${shape.view}`,
    ...(viewDigest === undefined ? {} : { generation: viewDigest }),
    fields: viewFields(shape, false),
    entity: shape.entity.map((name) => `key_${name}`),
    eventTime: "as_of",
    recordId: shape.keys.map((key) => `key_${key.name}`),
  });
}

/** scores/<model>: everything needed to make the score again. Keys are null where new rows were scored. */
export function scoresContract(model: string, shape: ViewShape): Contract {
  return streamContract({
    name: `scores_${model}`,
    fields: {
      score_id: "string",
      ...viewFields(shape, true),
      made_at: "timestamp",
      /** batch, entity or rows */
      mode: "string",
      hindsight: "boolean",
      /** The package's digest. */
      model: "string",
      /** live, shadow or candidate */
      role: "string",
      /** Null where a guardrail blocked it. */
      score: "double?",
      /** JSON: all model outputs by name. */
      outputs: "string",
      /** JSON list of guardrails that flagged or blocked. */
      flags: "string",
      blocked: "boolean",
      request_id: "string?",
      /** SHA-256 of the request's body, so that an id used again for another body is told apart. */
      request_digest: "string?",
      /** JSON: what else decides the bits: engine version, processor features, threads, rows a run. */
      engine: "string?",
    },
    eventTime: "as_of",
    recordId: ["score_id"],
  });
}

/** labels/<model>: outcomes as they arrive; the latest for a score id or for the keys counts. true is 1, false is 0. */
export function labelsContract(model: string, shape: ViewShape): Contract {
  const keys: Mutable = {};
  for (const key of shape.keys) keys[`key_${key.name}`] = `${key.type === "enum" ? "string" : key.type}?`;
  return streamContract({
    name: `labels_${model}`,
    fields: {
      ...keys,
      score_id: "string?",
      label: "double?",
      label_time: "timestamp",
      origin: "string",
      at: "timestamp",
    },
    eventTime: "label_time",
    recordId: "position",
  });
}
