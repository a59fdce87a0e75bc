import { z } from "zod";
import type { Value } from "../base/row.ts";
import { dayOf, parseInstant } from "../base/time.ts";
import type { Contract, Field, FieldType } from "../contract/contract.ts";
import { fieldOf } from "../contract/contract.ts";

/** Thrown while a check is planned; `checks.ts` turns it into a problem with its place. */
export class ArgumentFault extends Error {
  readonly unknownColumn: string | undefined;
  constructor(message: string, unknownColumn?: string) {
    super(message);
    this.unknownColumn = unknownColumn;
  }
}

export const mostly = z.number().min(0).max(1).default(1);
const literal = z.union([z.number(), z.string(), z.boolean()]);
export const column = z.string();
export const valueSet = z.array(literal).min(1);
const bound = z.union([z.number(), z.string()]).nullish();
export const strict = z.boolean().default(false);
/** The arguments of every `..._to_be_between`. At least one bound must be given. */
export const between = { min_value: bound, max_value: bound, strict_min: strict, strict_max: strict };

export const NUMERIC: ReadonlySet<FieldType> = new Set(["int", "long", "float", "double"]);
export const ORDERED: ReadonlySet<FieldType> = new Set([...NUMERIC, "timestamp", "date", "string", "enum"]);
export const TEXTUAL: ReadonlySet<FieldType> = new Set(["string", "enum"]);

/** The field of that name, of one of the types. */
export function fieldIn(contract: Contract, name: string, types?: ReadonlySet<FieldType>): Field {
  const field = fieldOf(contract, name);
  if (!field) throw new ArgumentFault(`"${name}" is no field of ${contract.name}`, name);
  if (types && !types.has(field.type)) {
    throw new ArgumentFault(`"${name}" is a ${field.type}; this needs ${[...types].join(", ")}`);
  }
  return field;
}

/** An argument as a value of the column's type: instants and dates may be written as ISO text. */
export function valueFor(field: Field, given: number | string | boolean): Value {
  if (field.type === "timestamp" && typeof given === "string") {
    const micros = parseInstant(given, true);
    if (micros !== undefined) return micros;
  } else if (field.type === "date" && typeof given === "string") {
    const day = dayOf(given, true);
    if (day !== undefined) return day;
  } else if (TEXTUAL.has(field.type)) {
    if (typeof given === "string") return given;
  } else if (field.type === "boolean") {
    if (typeof given === "boolean") return given;
  } else if (typeof given === "number" && field.type !== "bytes") return given;
  throw new ArgumentFault(`${JSON.stringify(given)} does not fit "${field.name}", which is a ${field.type}`);
}

export interface Bounds {
  readonly min_value?: number | string | null | undefined;
  readonly max_value?: number | string | null | undefined;
  readonly strict_min: boolean;
  readonly strict_max: boolean;
}

/** The test that the bounds mean. Both ends count as inside unless strict. */
export function insideOf(bounds: Bounds, read: (given: number | string) => Value): (value: Value) => boolean {
  const { min_value, max_value, strict_min, strict_max } = bounds;
  if ((min_value ?? null) === null && (max_value ?? null) === null) {
    throw new ArgumentFault("neither min_value nor max_value is given");
  }
  const low = min_value === null || min_value === undefined ? null : read(min_value);
  const high = max_value === null || max_value === undefined ? null : read(max_value);
  if (low !== null && high !== null && low > high) throw new ArgumentFault("min_value is greater than max_value");
  return (value) => {
    if (value === null) return false;
    if (low !== null && (strict_min ? value <= low : value < low)) return false;
    return high === null || (strict_max ? value < high : value <= high);
  };
}

/** A bound of a count, mean or other plain number. */
export function plainNumber(given: number | string): number {
  if (typeof given !== "number") throw new ArgumentFault(`${JSON.stringify(given)} is not a number`);
  return given;
}
