import type { Value } from "../base/row.ts";
import { isReject } from "../contract/coerce.ts";
import type { Contract, Field } from "../contract/contract.ts";
import type { DecodedPage, RawRecord } from "./decode.ts";
import { ingestionErrors } from "./errors.ts";
import type { DatasetPlan, RoutePlan, Step } from "./plan.ts";
import type { Rejection } from "./rejects.ts";

/** Where each contract field of a route is found in a page's records. */
export interface Lookup {
  /** CSV: column position by field, -1 where there is none. Null where records are objects. */
  readonly positions: Int32Array | null;
}

/**
 * Finds the contract's fields in the page. Throws where a CSV header lacks a column that is neither computed nor has a
 * default: every row would be wrong for the same reason.
 */
export function lookupOf(dataset: DatasetPlan, page: DecodedPage): Lookup {
  const { header } = page;
  if (header === null) return { positions: null };
  const { fields } = dataset.contract;
  const positions = Int32Array.from(dataset.sourceNames, (name) => header.indexOf(name));
  const missing = fields.filter((field, f) => {
    const renamed = dataset.sourceNames[f] !== field.name;
    return positions[f]! < 0 && !dataset.computed[f] && (renamed || field.default === undefined);
  });
  if (missing.length > 0) {
    const names = missing.map((field) => dataset.sourceNames[fields.indexOf(field)]).join(", ");
    const message = `the header has no column ${names}, which dataset ${dataset.name} needs; it has ${header.join(", ")}`;
    throw ingestionErrors.error("missing_column", message, { place: "line 1" });
  }
  return { positions };
}

/** The row's values in the contract's order; or why not; or null where the route does not take it. */
export type Normalised = { readonly values: Value[] } | { readonly rejection: Rejection } | null;

/** Coerce, defaults, `where`, `set`, `available`, then what the contract demands of the whole row. */
export function normalise(route: RoutePlan, page: DecodedPage, lookup: Lookup, record: RawRecord): Normalised {
  const { dataset } = route;
  const values: Value[] = new Array(dataset.coercers.length);
  const rejection = coerceAll(dataset, page, lookup, record, values);
  if (rejection) return { rejection };
  if (route.step) {
    const taken = runStep(dataset.contract, route.step, values);
    if (taken !== true) return taken === false ? null : { rejection: taken };
  }
  if (dataset.available) {
    const failed = runStep(dataset.contract, dataset.available, values);
    if (typeof failed === "object") return { rejection: failed };
  }
  const missing = checkRequired(dataset, values);
  return missing ? { rejection: missing } : { values };
}

function coerceAll(
  dataset: DatasetPlan,
  page: DecodedPage,
  lookup: Lookup,
  record: RawRecord,
  values: Value[],
): Rejection | undefined {
  const { positions } = lookup;
  const { coercers, sourceNames, contract } = dataset;
  for (let f = 0; f < coercers.length; f++) {
    let raw: unknown;
    if (positions !== null) {
      const at = positions[f]!;
      raw = at < 0 ? undefined : (record as readonly string[])[at];
      if (raw !== undefined && page.isNull(raw as string)) raw = null;
    } else if (Object.hasOwn(record, sourceNames[f]!)) {
      raw = (record as Readonly<Record<string, unknown>>)[sourceNames[f]!];
    }
    const value = coercers[f]!(raw);
    if (value === null) {
      values[f] = defaultFor(contract.fields[f]!, raw);
    } else if (isReject(value)) {
      const code = value.rule === "enum" ? "ingestion.unknown_symbol" : "ingestion.wrong_type";
      return { code, field: contract.fields[f]!.name, rule: value.rule, message: value.message, value: raw };
    } else values[f] = value;
  }
  return undefined;
}

/** A default stands for a missing field, and for null where null is not allowed. */
function defaultFor(field: Field, raw: unknown): Value {
  return field.default !== undefined && (raw === undefined || !field.nullable) ? field.default : null;
}

/** Runs the expressions and writes their results in place. False: the condition does not hold. */
function runStep(contract: Contract, step: Step, values: Value[]): boolean | Rejection {
  const { program, inputs, targets } = step;
  const read: Value[] = new Array(inputs.length);
  for (let i = 0; i < inputs.length; i++) read[i] = values[inputs[i]!]!;
  const { values: results, failures } = program.evaluate(read);
  if (targets[0] === -1 && results[0] !== true && !failures.some((failure) => failure.output === 0)) return false;
  for (const failure of failures) {
    const target = targets[failure.output]!;
    const field = target < 0 ? null : contract.fields[target]!.name;
    const what = field === null ? "the route's condition" : field;
    const message = `${what} can't be computed: ${failure.message}`;
    return { code: "ingestion.not_computed", field, rule: failure.status, message };
  }
  for (let i = 0; i < targets.length; i++) {
    const target = targets[i]!;
    if (target < 0) continue;
    const field = contract.fields[target]!;
    const value = fitted(field, results[i]!);
    if (value === undefined) {
      const message = `${field.name} was computed, and does not fit its type ${field.type}`;
      const enumerated = field.type === "enum";
      const code = enumerated ? "ingestion.unknown_symbol" : "ingestion.not_computed";
      return { code, field: field.name, rule: enumerated ? "enum" : "overflow", message, value: results[i] };
    }
    values[target] = value;
  }
  return true;
}

/** A computed value in the range of the field's type; undefined where it is not. */
function fitted(field: Field, value: Value): Value | undefined {
  if (value === null) return null;
  if (field.type === "int" || field.type === "date") {
    return typeof value === "number" && (value | 0) === value ? value : undefined;
  }
  if (field.type === "float") {
    const narrow = Math.fround(value as number);
    return Number.isFinite(narrow) ? narrow : undefined;
  }
  if (field.type === "enum") return field.symbols!.includes(value as string) ? value : undefined;
  return value;
}

/** Fields of the source are judged before computed ones: where both are null, the first is the cause. */
function checkRequired(dataset: DatasetPlan, values: readonly Value[]): Rejection | undefined {
  let computed: Rejection | undefined;
  for (let f = 0; f < values.length; f++) {
    if (values[f] !== null) continue;
    const rejection = lacking(dataset, f);
    if (rejection && !dataset.computed[f]) return rejection;
    computed ??= rejection;
  }
  return computed;
}

function lacking(dataset: DatasetPlan, f: number): Rejection | undefined {
  const { contract, identity } = dataset;
  const field = contract.fields[f]!;
  if (!field.nullable) return required(field, "not_null", "may not be null");
  if (identity?.includes(f)) return required(field, "record_id", "is part of the record id and may not be null");
  if (f === dataset.eventTime || field.name === contract.availableTime) {
    return required(field, "event_time", "says when the row was true and may not be null");
  }
  return undefined;
}

function required(field: Field, rule: string, what: string): Rejection {
  return { code: "ingestion.required", field: field.name, rule, message: `${field.name} ${what}` };
}
