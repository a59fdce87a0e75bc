import type { MlpeError } from "../base/errors.ts";
import type { DatasetConfig, SourceConfig } from "../config/schema.ts";
import { type Coercer, coercer } from "../contract/coerce.ts";
import { type Contract, contractOf, type FieldType, fieldOf } from "../contract/contract.ts";
import { compile } from "../expression/compile.ts";
import type { ExpressionSource, Program, Scope } from "../expression/types.ts";
import { ingestionErrors } from "./errors.ts";

/** The field that `available` fills where the contract itself names no `availableTime`. */
export const AVAILABLE_FIELD = "available_time";

/** A compiled program with its places among the contract's fields. */
export interface Step {
  readonly program: Program;
  /** Positions of the fields it reads, in the order of `program.inputs`. */
  readonly inputs: Int32Array;
  /** Output index -> position of the field it sets; -1 is the route's condition. */
  readonly targets: Int32Array;
}

/** How rows of any source become rows of one dataset. */
export interface DatasetPlan {
  readonly name: string;
  /** The contract with `available` and `static` worked in: what the stream `curated/<name>` holds. */
  readonly contract: Contract;
  readonly config: DatasetConfig;
  /** By field: its name in the source. */
  readonly sourceNames: readonly string[];
  /** By field: true where an expression sets it, so that the source need not have it. */
  readonly computed: readonly boolean[];
  readonly coercers: readonly Coercer[];
  /** The `set` expressions as they are compiled into each route, and the `available` expression after them. */
  readonly set: readonly ExpressionSource[];
  readonly scope: Scope;
  readonly available: Step | null;
  /** Positions of the record id's fields; null for `content`; undefined for `position`, which is never deduplicated. */
  readonly identity: readonly number[] | null | undefined;
  /** Positions of the entity fields, where a correction could move them; empty where the record id covers them. */
  readonly movable: readonly number[];
  /** Position of the event time, or -1. */
  readonly eventTime: number;
}

export interface RoutePlan {
  readonly dataset: DatasetPlan;
  /** The `where` condition (target -1) and the `set` expressions, in one program; null where there is neither. */
  readonly step: Step | null;
  /** How rows that `where` does not take are counted. */
  readonly reason: string;
}

export interface SourcePlan {
  readonly name: string;
  readonly config: SourceConfig;
  readonly routes: readonly RoutePlan[];
}

/**
 * The contract as the dataset's stream has it: `static` takes the event time away, and `available` on a contract without
 * an `availableTime` adds the field `available_time`.
 */
function effectiveContract(contract: Contract, config: DatasetConfig): Contract {
  const schema: Record<string, unknown> = { ...contract.schema };
  let changed = false;
  if (config.static && contract.eventTime !== undefined) {
    delete schema.eventTime;
    changed = true;
  }
  if (config.available !== undefined && contract.availableTime === undefined) {
    const type = { type: "long", logicalType: "timestamp-micros" };
    schema.fields = [...contract.schema.fields, { name: AVAILABLE_FIELD, type, classification: "internal" }];
    schema.availableTime = AVAILABLE_FIELD;
    changed = true;
  }
  return changed ? contractOf(schema, contract.name) : contract;
}

/** Plans a dataset. Throws one error that lists every problem of its part of the config. */
export function planDataset(name: string, config: DatasetConfig, declared: Contract): DatasetPlan {
  const contract = effectiveContract(declared, config);
  const place = `datasets.${name}`;
  checkNames(contract, config, place);
  if (!config.static && contract.eventTime === undefined) {
    throw ingestionErrors.error("no_event_time", `${contract.name} names no event time`, { place });
  }
  const positions = new Map(contract.fields.map((field, i) => [field.name, i]));
  const scope: Scope = {
    columns: new Map(contract.fields.map(({ name, type }) => [name, { type, nullable: true }])),
  };
  const set = Object.entries(config.set ?? {}).map(([field, sql]) => expression(contract, field, sql, `${place}.set`));
  const available = availableStep(contract, config, scope, place);
  const { recordId } = contract;
  const identity =
    recordId === "position" ? undefined : recordId === "content" ? null : recordId.map((id) => positions.get(id)!);
  const setNames = new Set([...Object.keys(config.set ?? {}), ...(available ? [contract.availableTime!] : [])]);
  return {
    name,
    contract,
    config,
    sourceNames: contract.fields.map((field) => config.rename?.[field.name] ?? field.name),
    computed: contract.fields.map((field) => setNames.has(field.name)),
    coercers: contract.fields.map(coercer),
    set,
    scope,
    available,
    identity,
    movable: contract.entity
      .filter((field) => Array.isArray(recordId) && !recordId.includes(field))
      .map((field) => positions.get(field)!),
    eventTime: contract.eventTime === undefined ? -1 : positions.get(contract.eventTime)!,
  };
}

function checkNames(contract: Contract, config: DatasetConfig, place: string): void {
  const problems = [];
  for (const part of ["rename", "set"] as const) {
    for (const field of Object.keys(config[part] ?? {})) {
      if (fieldOf(contract, field)) continue;
      const message = `${contract.name} has no field "${field}"`;
      problems.push(ingestionErrors.problem("unknown_field", message, { place: `${place}.${part}.${field}` }));
    }
  }
  if (problems.length === 0) return;
  const [first] = problems;
  throw ingestionErrors.error("unknown_field", first!.message, { place: first!.place, problems });
}

function expression(contract: Contract, field: string, sql: string, place: string): ExpressionSource {
  const { type } = fieldOf(contract, field)!;
  const expect: FieldType = type === "enum" ? "string" : type;
  return { name: field, sql, place: `${place}.${field}`, expect };
}

function availableStep(contract: Contract, config: DatasetConfig, scope: Scope, place: string): Step | null {
  if (config.available === undefined) return null;
  const source = {
    ...expression(contract, contract.availableTime!, config.available, place),
    place: `${place}.available`,
  };
  return stepOf(contract, [source], scope);
}

function stepOf(contract: Contract, sources: readonly ExpressionSource[], scope: Scope): Step {
  const program = compile(sources, scope);
  const position = (name: string) => contract.fields.findIndex((field) => field.name === name);
  return {
    program,
    inputs: Int32Array.from(program.inputs, position),
    targets: Int32Array.from(sources, (source) => position(source.name)),
  };
}

const REASON = /^drop(?:\s*:\s*([A-Za-z0-9_-]+))?$/;
/** No field can have this name. */
const CONDITION = "where?";

/** Plans a source over the planned datasets. Throws where a route or its condition makes no sense. */
export function planSource(name: string, config: SourceConfig, datasets: ReadonlyMap<string, DatasetPlan>): SourcePlan {
  const place = `sources.${name}`;
  const declared = { ...(config.dataset === undefined ? {} : { [config.dataset]: {} }), ...(config.routes ?? {}) };
  const routes = Object.entries(declared).map(([target, route]): RoutePlan => {
    const at = `${place}.routes.${target}`;
    const dataset = datasets.get(target);
    if (!dataset) throw unknownDataset(name, target, place);
    const { where, otherwise = "drop" } = route as { where?: string; otherwise?: string };
    const match = REASON.exec(otherwise.trim());
    if (!match)
      throw ingestionErrors.error("bad_otherwise", `"${otherwise}" is no answer`, { place: `${at}.otherwise` });
    const condition: ExpressionSource[] =
      where === undefined ? [] : [{ name: CONDITION, sql: where, place: `${at}.where`, expect: "boolean" }];
    const sources = [...condition, ...dataset.set];
    const step = sources.length === 0 ? null : stepOf(dataset.contract, sources, dataset.scope);
    return { dataset, step, reason: match[1] ?? "where" };
  });
  if (routes.length === 0) throw ingestionErrors.error("no_route", `source ${name} feeds no dataset`, { place });
  return { name, config, routes };
}

function unknownDataset(source: string, target: string, place: string): MlpeError {
  return ingestionErrors.error("no_route", `source ${source} feeds "${target}", which is no dataset`, { place });
}
