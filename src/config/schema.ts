import { z } from "zod";
import { parseBytes } from "../base/size.ts";
import { parseDuration } from "../base/time.ts";

/**
 * The one definition of `mlpe.yaml`: types, errors, docs and the JSON Schema all come from here.
 * Paths are relative to the file; durations are read into microseconds.
 */
const name = z.string().regex(/^[a-z][a-z0-9_]*$/, "must be lower case letters, digits and _, starting with a letter");
const sql = z
  .union([z.string(), z.number(), z.boolean()])
  .transform(String)
  .meta({ sql: true, description: "a SQL scalar expression" });
const path = z.string().min(1).meta({ path: true, description: "a path, relative to this file" });
const duration = z
  .string()
  .transform((text, context) => {
    const micros = parseDuration(text);
    // Messages never hold the value: the loader adds it, unless it came out of the environment.
    if (micros === undefined) context.addIssue({ code: "custom", message: "is not a duration like 90s, 3h or 7d" });
    return micros ?? 0;
  })
  .meta({ duration: true, description: "a duration: 90s, 15m, 3h, 7d" });

/** Less would decode a large segment many times over. */
const STORE_CACHE_LEAST = 8 << 20;
/** One hour: shorter periods would make more keys than data. */
const KEY_PERIOD_LEAST = 3_600_000_000;
const amount = z
  .union([z.string(), z.number().int().min(0)])
  .transform((given, context): { readonly bytes: number } | { readonly percent: number } => {
    const percent = /^(\d+(?:\.\d+)?) ?%$/.exec(String(given).trim())?.[1];
    if (percent !== undefined && Number(percent) <= 100) return { percent: Number(percent) };
    const bytes = percent === undefined ? parseBytes(String(given)) : undefined;
    if (bytes === undefined) context.addIssue({ code: "custom", message: "is no amount like 512MiB, 2GB or 5%" });
    return { bytes: bytes ?? 0 };
  })
  .meta({ amount: true, description: "an amount of disk: 512MiB, 2GB, or a percentage of the disk: 5%" });

const size = z
  .union([z.string(), z.number().int().min(1)])
  .transform((given, context): number => {
    const bytes = parseBytes(String(given));
    if (!bytes) context.addIssue({ code: "custom", message: "is no size like 512MiB or 2GB" });
    return bytes ?? 0;
  })
  .meta({ size: true, description: "a size: 512MiB, 2GB" });

const retention = z
  .strictObject({
    every: duration.prefault("1h").describe("how often it is looked at, at least 1s apart"),
    streams: z
      .record(
        z.string().min(1),
        z.strictObject({
          age: duration.optional().describe("rows known longer ago than this go; 1m at least"),
          bytes: size
            .optional()
            .describe(
              "beyond this size of the stream at rest its oldest rows go, in steps of what was compacted at once; the newest of these stays",
            ),
        }),
      )
      .default({})
      .describe("pattern of streams (`landing/*`) -> how long, and how much, is kept"),
    host: z
      .strictObject({
        bytes: size
          .optional()
          .describe("beyond this size of the data directory the oldest rows of `streams` go; 128MiB at least"),
      })
      .prefault({})
      .describe("the bound of the whole data directory"),
  })
  .refine(({ streams, host }) => host.bytes === undefined || Object.keys(streams).length > 0, {
    message: "host.bytes needs streams: which of them may lose rows",
  })
  .describe("what is dropped, oldest first; nothing unless it is asked for");

const keys = z
  .strictObject({
    provider: z
      .literal("file")
      .default("file")
      .describe("who wraps the data keys; `file` keeps the wrapping key in a file"),
    path: path.describe("the key file (mode 0600), never inside the data directory; made on first start"),
    period: duration
      .refine((micros) => micros >= KEY_PERIOD_LEAST, "must be 1h at least")
      .prefault("30d")
      .describe("each stream gets a new data key after this long"),
  })
  .describe("where the key that wraps all data keys is kept");

const route = z
  .strictObject({
    where: sql.optional().describe("only rows for which this is true are offered to the dataset"),
    otherwise: z
      .string()
      .optional()
      .describe("`drop`, or `drop: <reason>`: how rows not taken are counted; default `drop`"),
  })
  .describe("which rows of a source go to a dataset");

const csv = z
  .strictObject({
    delimiter: z.string().length(1).default(",").describe("one character between fields"),
    nulls: z.array(z.string()).default(["", "NA"]).describe("texts that mean null"),
  })
  .describe("how CSV is read");

const ack = z
  .enum(["power-loss", "process"])
  .optional()
  .describe(
    "what an acknowledgement outlives: `power-loss` (the default), or `process`, and a power cut a second later",
  );

const fileSource = z.strictObject({
  connector: z.literal("file").describe("the code that reads this kind of input"),
  path: path.describe("a file; csv, jsonl or parquet by its name, optionally .gz or .zst"),
  format: z.enum(["csv", "jsonl", "parquet"]).optional().describe("the format, where the name does not say"),
  csv: csv.optional(),
  dataset: name.optional().describe("the one dataset every row goes to"),
  routes: z
    .record(name, route)
    .optional()
    .describe("dataset -> which rows it takes; each row is offered to every route"),
  ack,
});

const pushSource = z.strictObject({
  connector: z.literal("http_push").describe("the code that reads this kind of input"),
  dataset: name.optional().describe("the one dataset every row goes to"),
  routes: z.record(name, route).optional().describe("dataset -> which rows it takes"),
  max_rows: z.number().int().min(1).max(100_000).default(10_000).describe("most rows in one request"),
  lateness: duration.prefault("0s").describe("how far behind the newest event time a row may still arrive in time"),
  idle_after: duration
    .prefault("60s")
    .describe("after this long without a row the source no longer holds the watermark back"),
  ack,
});

const source = z.discriminatedUnion("connector", [fileSource, pushSource]).describe("a configured input");

const dataset = z
  .strictObject({
    contract: path.describe("the Avro schema (.avsc) of the dataset"),
    rename: z
      .record(z.string(), z.string())
      .optional()
      .describe("contract field -> name in the source, where they differ"),
    set: z
      .record(z.string(), sql)
      .optional()
      .describe("contract field -> SQL over the source's columns, before the contract is checked"),
    available: sql.optional().describe("when a consumer could have used the row; default the event time"),
    static: z
      .boolean()
      .default(false)
      .describe("true where rows have no event time: the latest version counts at every T"),
  })
  .describe("curated records under a contract");

const by = z
  .union([z.array(z.string()), z.record(z.string(), z.string())])
  .describe("[same name, ...] or { spine column: their column }");

const join = z
  .strictObject({
    from: name.describe("the dataset joined"),
    by,
    max_age: duration.optional().describe("oldest event time used: T - max_age, inclusive; default unbounded"),
  })
  .describe("the latest row at T for a key");

const window = z
  .strictObject({
    from: name.describe("the dataset aggregated"),
    by,
    window: duration.describe("the length w of (T - w, T]"),
    where: sql.optional().describe("only rows for which this is true are aggregated"),
    exclude_current: z.boolean().default(false).describe("leave out rows with the spine row's own entity key"),
    rows: z.number().int().min(1).optional().describe("at most the latest so many rows"),
    values: z.record(name, z.string()).describe("name -> count(*), sum(x), avg(x), min(x), max(x) or std(x)"),
  })
  .describe("aggregates over the rows of a key in (T - w, T]");

const label = z
  .record(
    name,
    z.strictObject({
      from: name.describe("the dataset that the outcome is in"),
      by,
      value: sql.describe("the outcome, over the columns of `from`"),
    }),
  )
  .refine((value) => Object.keys(value).length === 1, "a view has exactly one label")
  .describe("the outcome that arrives later; never an input");

const view = z
  .strictObject({
    spine: name.describe("the dataset whose rows are fused"),
    as_of: sql.optional().describe("T: the instant of prediction in history; default the event time"),
    joins: z.record(name, join).default({}).describe("alias -> the latest row at T for a key"),
    windows: z.record(name, window).default({}).describe("alias -> aggregates over the rows of a key before T"),
    features: z.record(name, sql).describe("ordered: name -> SQL over spine columns and alias.column"),
    label: label.optional(),
    max_wait: duration.optional().describe("fuse after this long even if a dataset's watermark has not passed T"),
  })
  .describe("a feature view: the declared fusion");

const guardrail = z.strictObject({
  when: sql.describe("SQL over the features, and `score`"),
  // biome-ignore lint/suspicious/noThenProperty: `then` is the word of the config file
  then: z.enum(["flag", "block"]).describe("flag the score, or answer no score at all"),
});

const model = z
  .strictObject({
    artifact: path.describe("the model package: a directory with model.json"),
    view: name.optional().describe("the view it reads, where it is not the one in its manifest"),
    guardrails: z.record(name, guardrail).default({}).describe("conditions on the features and the score"),
  })
  .describe("a model by name; which package is live is decided by promotion");

const severity = z.enum(["warn", "block"]).default("warn").describe("`block` keeps a failing batch out");
const check = z
  .looseObject({ severity: severity.optional() })
  .refine((value) => Object.keys(value).filter((key) => key !== "severity").length === 1, {
    message: "must have exactly one expectation (expect_... or sql) beside severity",
  })
  .describe("{ expect_...: { arguments }, severity: warn|block } or { sql: <boolean expression>, severity }");

const drift = z
  .strictObject({
    every: duration.prefault("1d").describe("how often it is judged"),
    min_rows: z.number().int().min(1).default(500).describe("below this many rows the answer is `inconclusive`"),
    metrics: z
      .array(z.enum(["psi", "ks"]))
      .default(["psi", "ks"])
      .describe("population stability index, Kolmogorov-Smirnov"),
    psi: z.number().positive().default(0.2).describe("PSI at and above this is drift"),
    p_value: z.number().positive().max(1).default(0.001).describe("a KS p-value below this is drift, if the effect is"),
    effect: z.number().positive().max(1).default(0.1).describe("smallest KS statistic that counts as drift"),
  })
  .describe("comparison of live features and scores with the package's frozen profile");
/** How drift is judged where the config says nothing of a model. */
export const DEFAULT_DRIFT = drift.parse({});

const schedule = z
  .strictObject({
    cron: z.string().describe("five fields, UTC"),
    score: name.optional().describe("the model whose new feature rows are scored"),
    drift: name.optional().describe("the model whose drift is judged"),
  })
  .describe("work at fixed times");

const alert = z
  .strictObject({
    when: sql.describe("SQL over metrics and verdicts"),
    for: duration.prefault("0s").describe("how long it must hold"),
    severity: z.enum(["info", "warn", "critical"]).default("warn").describe("how much it matters"),
    to: name.optional().describe("a target under notify"),
  })
  .describe("a condition that is told to someone");

export const configSchema = z
  .strictObject({
    site: z
      .string()
      .regex(/^[A-Za-z0-9][A-Za-z0-9._-]*$/)
      .describe("the name of this edge host"),
    environment: z.enum(["dev", "preprod", "prod"]).default("dev").describe("what this site is for"),
    data: path.default("data.mlpe").describe("the data directory; `--data` overrides it"),
    keys,
    listen: z
      .strictObject({
        host: z.string().default("127.0.0.1").describe("loopback only, until OIDC and TLS are built"),
        port: z.number().int().min(0).max(65535).default(8080).describe("0 picks a free port"),
        max_body: z.number().int().min(1024).default(67_108_864).describe("largest request body in bytes"),
      })
      .prefault({})
      .describe("where the server answers"),
    space: z
      .strictObject({
        soft: amount
          .optional()
          .describe(
            "below this much free disk, sources that can be read again wait; default the lesser of 1GiB and 5%",
          ),
        hard: amount
          .optional()
          .describe("below this much, nothing new is taken and steps wait; default the lesser of 128MiB and 2%"),
        ballast: amount
          .optional()
          .describe(
            "size of a file that is given up when the disk is full; default the lesser of 32MiB and 0.5%; 0 for none",
          ),
        scores: z
          .enum(["answer", "refuse"])
          .default("answer")
          .describe(
            "on a full disk: `answer` scores that are not stored, and say so with `durable: false`; or `refuse` them",
          ),
      })
      .prefault({})
      .describe("what to do as the disk of the data directory fills up"),
    store: z
      .strictObject({
        cache: size
          .refine((bytes) => bytes >= STORE_CACHE_LEAST, "must be 8MiB at least")
          .prefault("128MiB")
          .describe("what reads of the log keep decoded in memory, half for requests and half for the pipeline"),
      })
      .prefault({})
      .describe("the sealed log"),
    retention: retention.prefault({}),
    sources: z.record(name, source).default({}).describe("the configured inputs"),
    datasets: z.record(name, dataset).default({}).describe("the curated datasets"),
    views: z.record(name, view).default({}).describe("the feature views"),
    models: z.record(name, model).default({}).describe("the models that score"),
    trust: z.array(path).default([]).describe("public keys (PEM, Ed25519) whose signatures on model packages count"),
    checks: z.record(name, z.array(check)).default({}).describe("dataset -> expectations on its batches"),
    drift: z.record(name, drift).default({}).describe("model -> how its drift is judged"),
    schedules: z.record(name, schedule).default({}).describe("work at fixed times"),
    alerts: z.record(name, alert).default({}).describe("conditions that are told to someone"),
    notify: z
      .record(name, z.strictObject({ webhook: z.string().describe("a URL; empty is off") }))
      .default({})
      .describe("who alerts go to"),
    lineage: z
      .strictObject({
        namespace: z.string().optional().describe("OpenLineage job namespace; default the site"),
        openlineage: z.string().default("").describe("base URL that lineage events are posted to; empty is off"),
      })
      .prefault({})
      .describe("OpenLineage events"),
  })
  .describe("mlpe.yaml");

/** The keys that hold paths (`*` is any name): `~/` is expanded there, and they are made absolute from the file's folder. */
export const PATH_KEYS: readonly string[] = [
  "data",
  "keys.path",
  "sources.*.path",
  "datasets.*.contract",
  "models.*.artifact",
  "trust.*",
];

export type Config = z.output<typeof configSchema>;
export type SourceConfig = Config["sources"][string];
export type FileSourceConfig = Extract<SourceConfig, { connector: "file" }>;
export type PushSourceConfig = Extract<SourceConfig, { connector: "http_push" }>;
export type DatasetConfig = Config["datasets"][string];
export type ViewConfig = Config["views"][string];
export type DriftConfig = Config["drift"][string];
export type AlertConfig = Config["alerts"][string];
export type CheckConfig = Config["checks"][string][number];
