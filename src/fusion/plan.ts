import { canonicalJson, sha256Hex } from "../base/digest.ts";
import { invariant, type MlpeError } from "../base/errors.ts";
import type { ViewConfig } from "../config/schema.ts";
import { type Contract, type Field, type FieldType, fieldOf } from "../contract/contract.ts";
import {
  featuresContract,
  RESERVED_FEATURE_NAMES,
  RESERVED_FEATURE_PREFIXES,
  type ViewShape,
} from "../contract/streams.ts";
import type { ExpressionSource, Program, Scope, ScopeColumn } from "../expression/types.ts";
import {
  aggregateOf,
  compiled,
  type DatasetPlan,
  type Draft,
  finishNeeds,
  keyPairs,
  needField,
  readDataset,
  report,
  rowColumn,
  rowScope,
} from "./draft.ts";
import { fusionErrors } from "./errors.ts";
import type { IndirectInput, JoinPlan, KeyPlan, LabelPlan, LineageInput, Slot, ViewPlan, WindowPlan } from "./types.ts";

/**
 * Compiles a view of the config: every expression typed against the contracts before anything runs. Throws one
 * MlpeError that lists all problems, each with its place in the config (`views.flight_delay.features.wind`).
 */
export function planView(name: string, config: ViewConfig, datasets: ReadonlyMap<string, DatasetPlan>): ViewPlan {
  const draft: Draft = { view: name, config, datasets, problems: [], needs: new Map() };
  const place = `views.${name}`;
  const spine = readDataset(draft, config.spine, `${place}.spine`);
  if (!spine) throw failed(draft);
  const parts = { spineFields: new Map<string, number>(), indirect: [] as IndirectInput[], derived: new Map() };
  const builder: Builder = { draft, place, spine: spine.contract, ...parts };
  const keys = spineKeys(builder);
  const asOf = planAsOf(builder);
  const joins = Object.entries(config.joins).flatMap(([alias, join]) => planJoin(builder, alias, join) ?? []);
  const windows = Object.entries(config.windows).flatMap(([alias, window]) => planWindow(builder, alias, window) ?? []);
  const features = planFeatures(builder, joins, windows);
  const label = planLabel(builder);
  const needs = finishNeeds(draft);
  if (draft.problems.length > 0 || !features || asOf === undefined) throw failed(draft);
  const shape = shapeOf(name, spine.contract, keys, features.program, joins);
  const digest = digestOf(draft, needs, asOf.canonical, joins, windows, features.program, label, builder);
  return {
    name,
    spine: config.spine,
    spineContract: spine.contract,
    shape,
    contract: featuresContract(shape, digest),
    digest,
    needs,
    waitsFor: [...new Set([...joins, ...windows].map(({ dataset }) => dataset))].sort(),
    asOf: asOf.id,
    spineFields: [...builder.spineFields.keys()].map((field) => fieldOf(spine.contract, field)!),
    joins,
    windows,
    program: features.program,
    slots: features.slots,
    label,
    lineage: lineageOf(builder, features.program, joins, windows),
    indirect: builder.indirect,
    maxWait: config.max_wait,
  };
}

interface Builder {
  readonly draft: Draft;
  readonly place: string;
  readonly spine: Contract;
  /** Field -> its index in `ViewPlan.spineFields`. */
  readonly spineFields: Map<string, number>;
  readonly indirect: IndirectInput[];
  /** Column id of a window's argument -> the fields it is made of. */
  readonly derived: Map<string, readonly string[]>;
}

function failed(draft: Draft): MlpeError {
  const first = draft.problems[0];
  invariant(first, "a view that fails has a problem");
  return fusionErrors.error("bad_view", first.message, {
    place: first.place,
    fix: first.fix,
    problems: draft.problems,
  });
}

function spineField(builder: Builder, name: string): number {
  needField(builder.draft, builder.draft.config.spine, name);
  const known = builder.spineFields.get(name);
  if (known !== undefined) return known;
  builder.spineFields.set(name, builder.spineFields.size);
  return builder.spineFields.size - 1;
}

function spineKeys({ draft, place, spine, ...rest }: Builder): Field[] {
  if (!Array.isArray(spine.recordId)) {
    const message = `the rows of the spine "${draft.config.spine}" are identified by ${String(spine.recordId)}, not by fields`;
    report(draft, "bad_view", `${place}.spine`, message, "Give its contract a `recordId` that lists fields.");
    return [];
  }
  const builder = { draft, place, spine, ...rest };
  for (const name of [...spine.recordId, ...spine.entity]) spineField(builder, name);
  return spine.recordId.map((name: string) => fieldOf(spine, name)!);
}

function planAsOf({ draft, place, spine }: Builder): { id: string; canonical: string } | undefined {
  const at = `${place}.as_of`;
  const { as_of, spine: dataset } = draft.config;
  if (as_of === undefined) {
    if (spine.eventTime === undefined) {
      report(draft, "no_event_time", at, `the spine "${dataset}" has no event time to predict at`, "Add `as_of`.");
      return undefined;
    }
    needField(draft, dataset, spine.eventTime);
    return { id: spine.eventTime, canonical: spine.eventTime };
  }
  const column = rowColumn(draft, dataset, { name: "as_of", sql: as_of, place: at, expect: "timestamp" });
  return column && { id: column.id, canonical: column.output.canonical };
}

type By = ViewConfig["joins"][string]["by"];

function planKey(builder: Builder, by: By, dataset: string, place: string, kind: IndirectInput["kind"]): KeyPlan {
  const { draft, spine, indirect } = builder;
  const pairs = keyPairs(draft, by, draft.datasets.get(dataset)!.contract, spine, place);
  for (const [mine, theirs] of pairs) {
    needField(draft, dataset, theirs);
    indirect.push({ dataset: draft.config.spine, field: mine, kind }, { dataset, field: theirs, kind });
  }
  return { spine: pairs.map(([mine]) => spineField(builder, mine)), theirs: pairs.map(([, theirs]) => theirs) };
}

function planJoin(builder: Builder, alias: string, join: ViewConfig["joins"][string]): JoinPlan | undefined {
  const { draft } = builder;
  const place = `${builder.place}.joins.${alias}`;
  const dataset = readDataset(draft, join.from, `${place}.from`);
  if (!dataset) return undefined;
  const { contract, config } = dataset;
  if (!config.static && contract.eventTime === undefined) {
    const fix = "Give its contract an `eventTime`, or say `static: true` in the dataset.";
    report(draft, "no_event_time", `${place}.from`, `"${join.from}" has no event time to join as of`, fix);
  }
  const key = planKey(builder, join.by, join.from, `${place}.by`, "join");
  return { alias, dataset: join.from, key, maxAge: join.max_age ?? Number.POSITIVE_INFINITY };
}

function planWindow(builder: Builder, alias: string, window: ViewConfig["windows"][string]): WindowPlan | undefined {
  const { draft, spine } = builder;
  const place = `${builder.place}.windows.${alias}`;
  const dataset = readDataset(draft, window.from, `${place}.from`);
  if (!dataset) return undefined;
  const { contract, config } = dataset;
  if (config.static || contract.eventTime === undefined) {
    report(draft, "no_event_time", `${place}.from`, `"${window.from}" has no event time for a window to cover`);
  }
  const key = planKey(builder, window.by, window.from, `${place}.by`, "window");
  const where =
    window.where === undefined
      ? undefined
      : rowColumn(draft, window.from, { name: "where", sql: window.where, place: `${place}.where`, expect: "boolean" });
  for (const field of where?.output.columns ?? []) {
    builder.indirect.push({ dataset: window.from, field, kind: "filter" });
  }
  const values = Object.entries(window.values).flatMap(([name, sql]) => {
    const source = { name, sql, place: `${place}.values.${name}` };
    return planValue(builder, window.from, contract, source) ?? [];
  });
  return {
    alias,
    dataset: window.from,
    key,
    length: window.window,
    where: where?.id,
    excludes: window.exclude_current
      ? planKey(builder, [...spine.entity], window.from, `${place}.exclude_current`, "filter")
      : undefined,
    rows: window.rows ?? Number.POSITIVE_INFINITY,
    values,
  };
}

const NUMERIC: ReadonlySet<FieldType> = new Set(["int", "long", "float", "double"]);

function planValue(
  builder: Builder,
  dataset: string,
  contract: Contract,
  source: ExpressionSource,
): WindowPlan["values"][number] | undefined {
  const { draft } = builder;
  const parsed = aggregateOf(draft, source, rowScope(contract));
  if (!parsed) return undefined;
  const { fn, argument } = parsed;
  if (argument === null) return { name: source.name, fn, column: null, type: "long" };
  const column = rowColumn(draft, dataset, argument);
  if (!column) return undefined;
  builder.derived.set(`${dataset}:${column.id}`, column.output.columns);
  const { type } = column.output;
  if (fn === "count") return { name: source.name, fn, column: column.id, type: "long" };
  if (fn === "min" || fn === "max") return { name: source.name, fn, column: column.id, type };
  if (NUMERIC.has(type)) return { name: source.name, fn, column: column.id, type: "double" };
  report(draft, "bad_view", source.place, `${fn} needs a number, and its argument is a ${type}`);
  return undefined;
}

function planFeatures(
  builder: Builder,
  joins: readonly JoinPlan[],
  windows: readonly WindowPlan[],
): { program: Program; slots: Slot[] } | undefined {
  const { draft, place } = builder;
  const entries = Object.entries(draft.config.features);
  for (const [name] of entries) {
    if (!RESERVED_FEATURE_NAMES.has(name) && !RESERVED_FEATURE_PREFIXES.some((start) => name.startsWith(start)))
      continue;
    report(draft, "reserved_name", `${place}.features.${name}`, `"${name}" is a name that feature rows use themselves`);
  }
  const { scope, slots } = featureScope(builder, joins, windows);
  const sources = entries.map(([name, sql]) => ({ name, sql, place: `${place}.features.${name}` }));
  const program = compiled(draft, sources, scope);
  if (!program) return undefined;
  const found = program.inputs.map((input) => {
    const slot = slots.get(input);
    invariant(slot, `the input ${input} is in scope`);
    return slot();
  });
  return { program, slots: found };
}

/** The columns that features may read, and how each is found; taking a slot makes the tables hold what it needs. */
function featureScope(
  builder: Builder,
  joins: readonly JoinPlan[],
  windows: readonly WindowPlan[],
): { scope: Scope; slots: Map<string, () => Slot> } {
  const { draft, spine } = builder;
  const columns = new Map<string, ScopeColumn>();
  const eventTimes = new Map<string, string>();
  const slots = new Map<string, () => Slot>();
  for (const { name, type, nullable } of spine.fields) {
    columns.set(name, { type, nullable });
    slots.set(name, () => ({ from: "spine", field: spineField(builder, name) }));
  }
  joins.forEach(({ alias, dataset }, join) => {
    const { contract, config } = draft.datasets.get(dataset)!;
    for (const { name, type } of contract.fields) {
      columns.set(`${alias}.${name}`, { type, nullable: true });
      slots.set(`${alias}.${name}`, () => {
        needField(draft, dataset, name);
        return { from: "join", join, column: name };
      });
    }
    if (!config.static && contract.eventTime !== undefined) eventTimes.set(alias, `${alias}.${contract.eventTime}`);
  });
  windows.forEach(({ alias, values, key }, window) => {
    const keyNullable = key.spine.some((at) => fieldOf(spine, [...builder.spineFields.keys()][at]!)?.nullable);
    values.forEach(({ name, fn, type }, value) => {
      columns.set(`${alias}.${name}`, { type, nullable: fn !== "count" || keyNullable });
      slots.set(`${alias}.${name}`, () => ({ from: "window", window, value }));
    });
  });
  return { scope: { columns, eventTimes, asOf: true }, slots };
}

function planLabel(builder: Builder): LabelPlan | null {
  const { draft } = builder;
  const entry = Object.entries(draft.config.label ?? {})[0];
  if (!entry) return null;
  const [name, { from, by, value }] = entry;
  const place = `${builder.place}.label.${name}`;
  if (!readDataset(draft, from, `${place}.from`)) return null;
  const { spine, theirs } = planKey({ ...builder, indirect: [] }, by, from, `${place}.by`, "join");
  const column = rowColumn(draft, from, { name, sql: value, place: `${place}.value` });
  if (!column) return null;
  const { type } = column.output;
  if (type !== "boolean" && !NUMERIC.has(type)) {
    report(draft, "bad_view", `${place}.value`, `the label is a ${type}: it must be a boolean or a number`);
  }
  return { name, dataset: from, key: { spine, theirs }, column: column.id };
}

function shapeOf(
  view: string,
  spine: Contract,
  keys: readonly Field[],
  program: Program,
  joins: readonly JoinPlan[],
): ViewShape {
  const names = keys.map((key) => key.name);
  const entity = spine.entity.filter((name) => names.includes(name));
  return {
    view,
    keys,
    entity: entity.length === 0 ? names : entity,
    features: program.outputs.map(({ name, type }) => ({ name, type })),
    inputs: joins.map(({ alias }) => alias),
  };
}

function digestOf(
  draft: Draft,
  needs: ReadonlyMap<string, ViewPlan["needs"] extends ReadonlyMap<string, infer Need> ? Need : never>,
  asOf: string,
  joins: readonly JoinPlan[],
  windows: readonly WindowPlan[],
  program: Program,
  label: LabelPlan | null,
  { spineFields }: Builder,
): string {
  const names = [...spineFields.keys()];
  const keyOf = (key: KeyPlan) => key.spine.map((at, i) => [names[at]!, key.theirs[i]!]);
  const finite = (value: number) => (Number.isFinite(value) ? value : null);
  const datasets = [...needs.values()].map(({ dataset, contract, isStatic, available }) => {
    return [dataset, contract.fingerprint, isStatic, available ?? null];
  });
  const hex = sha256Hex(
    canonicalJson({
      view: draft.view,
      spine: draft.config.spine,
      as_of: asOf,
      joins: joins.map((join) => [join.alias, join.dataset, keyOf(join.key), finite(join.maxAge)]).sort(byFirst),
      windows: windows
        .map(({ alias, dataset, key, length, where, excludes, rows, values }) => {
          const computed = values.map(({ name, fn, column, type }) => [name, fn, column, type]).sort(byFirst);
          return [
            alias,
            dataset,
            keyOf(key),
            length,
            where ?? null,
            excludes ? keyOf(excludes) : null,
            finite(rows),
            computed,
          ];
        })
        .sort(byFirst),
      features: program.outputs.map(({ name, type, canonical }) => [name, type, canonical]),
      label: label && [label.name, label.dataset, keyOf(label.key), label.column],
      datasets: datasets.sort(byFirst),
    }),
  );
  return `sha256:${hex}`;
}

const byFirst = (a: readonly unknown[], b: readonly unknown[]): number => (String(a[0]) < String(b[0]) ? -1 : 1);

function lineageOf(
  { draft, derived }: Builder,
  program: Program,
  joins: readonly JoinPlan[],
  windows: readonly WindowPlan[],
): Map<string, LineageInput[]> {
  const resolve = (column: string, identity: boolean): LineageInput[] => {
    const kind = identity ? "identity" : "transformation";
    const [alias, name] = column.split(".") as [string, string | undefined];
    if (name === undefined) return [{ dataset: draft.config.spine, field: column, kind }];
    const join = joins.find((candidate) => candidate.alias === alias);
    if (join) return [{ dataset: join.dataset, field: name, kind }];
    const window = windows.find((candidate) => candidate.alias === alias)!;
    const value = window.values.find((candidate) => candidate.name === name)!;
    // count(*) is made of no column: the key it counts by stands for the row.
    const fields = value.column === null ? window.key.theirs : (derived.get(`${window.dataset}:${value.column}`) ?? []);
    return fields.map((field) => ({ dataset: window.dataset, field, kind: "aggregation" as const }));
  };
  return new Map(
    program.outputs.map(({ name, columns, identity }) => {
      const inputs = columns.flatMap((column) => resolve(column, identity));
      const unique = new Map(inputs.map((input) => [`${input.dataset}.${input.field}.${input.kind}`, input]));
      return [name, [...unique.values()]];
    }),
  );
}
