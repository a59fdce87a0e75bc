import type { Span } from "sqlite3-parser";
import type { Micros } from "../base/time.ts";
import type { Direct } from "./direct.ts";
import type { ExpressionErrorName } from "./errors.ts";
import { EXACT, INT64, type Kind, type Range, rangeOf, within } from "./kinds.ts";
import type { Scope } from "./types.ts";

/** A checked expression, printed three ways. */
export interface Typed {
  readonly kind: Kind;
  readonly nullable: boolean;
  /** Bounds of the value where it is stored as a whole number. */
  readonly range?: Range | undefined;
  /** The SQL that runs for every row. */
  readonly run: string;
  /** The same with every step that can fail watched: runs only for a row whose result is null, to say why. */
  readonly explain: string;
  /** Over the names that were written, fully bracketed. */
  readonly canonical: string;
  /** Whether null can come out of non-null inputs without a mark: 1/0, ln(-1). */
  readonly fallible: boolean;
  /** Whether a real is surely finite: infinity can then not turn into NaN one step later. */
  readonly finite: boolean;
  /** The text, of a text literal. */
  readonly text?: string | undefined;
  /** The number, of a number literal. */
  readonly number?: number | bigint | undefined;
  /** The scope column, where it is one as it stands. */
  readonly column?: string | undefined;
  /** The derived slot, where it is one as it stands. */
  readonly derivedSlot?: number | undefined;
  /** How everyday values are computed without SQLite, where that is known; a copy of the step must mean the same value. */
  readonly direct?: Direct | undefined;
  readonly span: Span;
}

/** Why a step of an expression failed in the current row. Overflow counts whatever the rest of the expression does. */
export interface Mark {
  readonly output: number;
  readonly status: "undefined" | "overflow";
  readonly message: string;
}

export type SqlValue = null | number | bigint | string | boolean | Uint8Array;

/** A TypeScript function that the SQL calls, made for one use (a zone, an output). */
export interface Helper {
  readonly name: string;
  /** Its `length` is the number of its arguments. */
  readonly call: (...values: never[]) => SqlValue;
  /** Whether whole numbers arrive as bigints; otherwise as numbers, exact within 2^53. */
  readonly big: boolean;
}

/** What checking one expression needs and collects. */
export interface Context {
  readonly scope: Scope;
  /** Index of the output that the expression becomes. */
  readonly output: number;
  /** Scope columns read, in order of first use. */
  readonly columns: Set<string>;
  /** Whether T was read; set by `asOfSlot`. */
  readonly used: { asOf: boolean };
  /** The SQL that reads a scope column or `as_of()`. */
  slot(column: string, kind: Kind): string;
  asOfSlot(): string;
  /** The SQL that reads what a pure function makes of a scope column: computed once a row, before SQLite is asked. */
  derivedSlot(key: string, column: string, kinds: { from: Kind; to: Kind }, call: (value: never) => SqlValue): string;
  /** The SQL name of a helper, made at first use of the key. */
  helper(key: string, big: boolean, make: () => Helper["call"]): string;
  mark(status: Mark["status"], message: string): void;
  problem(name: ExpressionErrorName, message: string, span: Span, fix?: string): void;
  offset(zone: string): (micros: Micros) => Micros;
}

/** Fills what most steps have in common: nothing known but the kind. */
export function typed(part: Pick<Typed, "kind" | "nullable" | "run" | "canonical" | "span"> & Partial<Typed>): Typed {
  return { explain: part.run, fallible: false, finite: true, range: rangeOf(part.kind), ...part };
}

/** A real number as SQL text that SQLite reads as a real. */
export function realText(value: number): string {
  const text = String(value);
  return /[.e]/.test(text) ? text.replace(/^(-?\d+)e/, "$1.0e") : `${text}.0`;
}

export const quoteText = (text: string): string => `'${text.replaceAll("'", "''")}'`;

/** Whole-number SQL, checked for leaving 64 bits unless the bounds prove that it can't. */
export function whole(context: Context, sql: string, range: Range, words: string): { sql: string; range: Range } {
  if (within(range, INT64)) return { sql, range };
  const name = context.helper(`whole ${context.output} ${words}`, true, () => (value: SqlValue) => {
    if (typeof value !== "number") return value;
    context.mark("overflow", `${words} gave ${value}, which does not fit in 64 bits`);
    return null;
  });
  return { sql: `${name}(${sql})`, range: INT64 };
}

/** The step as a double: a whole number beyond 2^53 that a double can't hold is an overflow. */
export function asDouble(context: Context, value: Typed): Typed {
  if (value.range === undefined) return { ...value, kind: "double", column: undefined, derivedSlot: undefined };
  const { kind: _, range: __, column: ___, ...rest } = value;
  const print = (sql: string) => {
    if (within(value.range!, EXACT)) return `CAST(${sql} AS REAL)`;
    const name = context.helper(`exact ${context.output}`, true, () => (long: SqlValue) => {
      if (typeof long !== "bigint" || BigInt(Number(long)) === long) return long;
      context.mark("overflow", `${long} has no exact double`);
      return null;
    });
    return `CAST(${name}(${sql}) AS REAL)`;
  };
  return {
    ...rest,
    kind: "double",
    range: undefined,
    derivedSlot: undefined,
    run: print(value.run),
    explain: print(value.explain),
  };
}
