import type { Value } from "../base/row.ts";
import type { Micros } from "../base/time.ts";
import type { FieldType } from "../contract/contract.ts";

/** A column that an expression may read, by the name it is written as: `dep_delay`, or `weather.wind_speed`. */
export interface ScopeColumn {
  readonly type: FieldType;
  readonly nullable: boolean;
}

export interface Scope {
  readonly columns: ReadonlyMap<string, ScopeColumn>;
  /** alias -> the column that holds its event time, which `age_hours(alias)` reads. */
  readonly eventTimes?: ReadonlyMap<string, string>;
  /** Whether `as_of()` has a meaning here. */
  readonly asOf?: boolean;
}

/** One named expression as the user wrote it. `place` names it in errors: `mlpe.yaml: views.flight_delay.features.hour`. */
export interface ExpressionSource {
  readonly name: string;
  readonly sql: string;
  readonly place: string;
  /** The type it must have (boolean for conditions), or be losslessly widened to. */
  readonly expect?: FieldType;
}

export interface Output {
  readonly name: string;
  readonly type: FieldType;
  readonly nullable: boolean;
  /** The scope columns it reads, in order of first use: column lineage, from the syntax tree. */
  readonly columns: readonly string[];
  /** True where it is a column as it stands. */
  readonly identity: boolean;
  /** The expression re-printed in canonical form: equal text means equal meaning; view digests are taken of it. */
  readonly canonical: string;
}

/** An output that could not be computed for a row: its value is null, and this says why. */
export interface Failure {
  /** Index into `outputs`. */
  readonly output: number;
  /** `undefined`: no such number (1/0, ln(-1)). `overflow`: outside the type. `wrong_type`: not the static type. */
  readonly status: "undefined" | "overflow" | "wrong_type";
  readonly message: string;
}

export interface Evaluated {
  /** In the order of `outputs`. */
  readonly values: readonly Value[];
  readonly failures: readonly Failure[];
}

/** Expressions compiled together, evaluated a row at a time: everyday values directly, the others by one prepared statement. */
export interface Program {
  readonly outputs: readonly Output[];
  /** The scope columns that any output reads; `evaluate` takes their values in this order. */
  readonly inputs: readonly string[];
  evaluate(values: readonly Value[], asOf?: Micros): Evaluated;
  close(): void;
}

export type AggregateFunction = "count" | "sum" | "avg" | "min" | "max" | "std";

/** `avg(dep_delay * 2)`: the function, and its argument as an expression of its own (null for `count(*)`). */
export interface AggregateSource {
  readonly name: string;
  readonly fn: AggregateFunction;
  readonly argument: ExpressionSource | null;
}
