import type { Span } from "sqlite3-parser";
import { readSlot } from "../direct.ts";
import type { Kind } from "../kinds.ts";
import { anyNullable, joined } from "../logic.ts";
import { type Context, type SqlValue, type Typed, typed } from "../typed.ts";

/** What an argument may be. `zone` and `digits` are literals; `input` is the name of a joined input. */
export type Accepts =
  | "number"
  | "whole"
  | "real"
  | "text"
  | "timestamp"
  | "date"
  | "duration"
  | "boolean"
  | "any"
  | "zone"
  | "digits"
  | "input";

export interface Argument {
  readonly name: string;
  readonly accepts: readonly Accepts[];
}

/** One way to call a function. The first form that fits the arguments is taken. */
export interface Form {
  readonly takes: readonly Argument[];
  /** The last argument may be repeated. */
  readonly repeats?: boolean;
  readonly gives: Kind | "as given" | "common kind";
  /** When the result is null although no argument is, or not null although one is. */
  readonly nulls?: string;
  print(context: Context, values: readonly Typed[], span: Span): Typed | undefined;
}

export interface LibraryFunction {
  readonly name: string;
  readonly group: "time" | "number" | "text" | "choice" | "conversion";
  readonly doc: string;
  readonly example: string;
  readonly forms: readonly Form[];
}

export const argument = (name: string, ...accepts: Accepts[]): Argument => ({ name, accepts });

const STORAGE: Partial<Readonly<Record<Kind, string>>> = { double: "REAL", float: "REAL", string: "TEXT" };

/** A function result cast to its declared type: what SQLite gets from TypeScript has the storage class it looks like. */
export const castTo = (kind: Kind, sql: string): string => `CAST(${sql} AS ${STORAGE[kind] ?? "INTEGER"})`;

/** `name(a, b)`, as it is written. */
export const written =
  (name: string) =>
  (texts: string[]): string =>
    `${name}(${texts.join(", ")})`;

export interface Computed {
  readonly name: string;
  readonly kind: Kind;
  readonly span: Span;
  /** How many of the values the helper gets; the rest are literals that `key` holds. */
  readonly passed?: number;
  readonly key?: string;
  readonly big?: boolean;
  readonly nullable?: boolean;
  readonly range?: Typed["range"];
  readonly finite?: boolean;
  /** Whether it never marks a failure: of a plain column it is then computed once a row, ahead of the SQL. */
  readonly pure?: boolean;
  /** Called with non-null values only. */
  readonly call: (...values: never[]) => SqlValue;
}

/** A step that a TypeScript function computes; null where an argument is. */
export function computed(context: Context, values: readonly Typed[], spec: Computed): Typed {
  const passed = values.slice(0, spec.passed ?? values.length);
  const call = spec.call as (...values: SqlValue[]) => SqlValue;
  const key = `${spec.name} ${spec.key ?? ""}`;
  const [first] = passed;
  const print =
    spec.pure === true && passed.length === 1 && first?.column !== undefined
      ? derived(context, key, first, spec.kind, call)
      : called(context, key, spec, passed.length, call);
  const printed = joined(passed, print);
  return typed({
    kind: spec.kind,
    nullable: spec.nullable ?? anyNullable(values),
    span: spec.span,
    ...printed,
    canonical: written(spec.name)(values.map((value) => value.canonical)),
    ...(spec.range === undefined ? {} : { range: spec.range }),
    finite: spec.finite ?? true,
    ...(/^c\d+$/.test(printed.run)
      ? { derivedSlot: Number(printed.run.slice(1)), direct: readSlot(printed.run, spec.kind) }
      : {}),
  });
}

type Call = (...values: SqlValue[]) => SqlValue;

function derived(context: Context, key: string, of: Typed, kind: Kind, call: Call): (texts: string[]) => string {
  const slot = context.derivedSlot(key, of.column!, { from: of.kind, to: kind }, call);
  return () => slot;
}

function called(context: Context, key: string, spec: Computed, count: number, call: Call): (texts: string[]) => string {
  const helper = context.helper(key, spec.big ?? false, () => lifted(call, count));
  return (texts) => castTo(spec.kind, written(helper)(texts));
}

/** The call for non-null values, with the `length` that SQLite is told. */
function lifted(call: (...values: SqlValue[]) => SqlValue, count: number): (...values: never[]) => SqlValue {
  if (count === 1) return (a: SqlValue) => (a === null ? null : call(a));
  if (count === 2) return (a: SqlValue, b: SqlValue) => (a === null || b === null ? null : call(a, b));
  return (a: SqlValue, b: SqlValue, c: SqlValue) => (a === null || b === null || c === null ? null : call(a, b, c));
}

/** A built-in function of SQLite, with the result cast to its type. */
export function native(values: readonly Typed[], name: string, sqlName: string, kind: Kind, span: Span): Typed {
  const printed = joined(values, (texts) => castTo(kind, written(sqlName)(texts)), written(name));
  return typed({ kind, nullable: anyNullable(values), span, ...printed });
}
