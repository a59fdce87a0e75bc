import type { FieldType } from "../contract/contract.ts";

/**
 * The types expressions are checked with: the contract's, where an enum is a string, and two that live only inside an
 * expression: `duration` (whole microseconds; leaves as `long`) and `null` (the bare literal, which fits anywhere).
 */
export type Kind = Exclude<FieldType, "enum"> | "duration" | "null";

/** Inclusive bounds of what a whole number can be: arithmetic that is proven to stay inside 64 bits runs unchecked. */
export interface Range {
  readonly low: bigint;
  readonly high: bigint;
}

export const INT64: Range = { low: -(2n ** 63n), high: 2n ** 63n - 1n };
export const INT32: Range = { low: -(2n ** 31n), high: 2n ** 31n - 1n };
/** Whole numbers that a double holds exactly. */
export const EXACT: Range = { low: -(2n ** 53n) + 1n, high: 2n ** 53n - 1n };

const RANGES: Partial<Readonly<Record<Kind, Range>>> = {
  int: INT32,
  long: INT64,
  timestamp: EXACT,
  date: INT32,
  duration: INT64,
  boolean: { low: 0n, high: 1n },
};

/** What any value of the kind lies in; undefined for kinds that are not stored as whole numbers. */
export const rangeOf = (kind: Kind): Range | undefined => RANGES[kind];

export const within = (inner: Range, outer: Range): boolean => inner.low >= outer.low && inner.high <= outer.high;

const WORDS: Readonly<Record<Kind, string>> = {
  null: "null",
  boolean: "a boolean",
  int: "a whole number (int)",
  long: "a whole number (long)",
  float: "a real number (float)",
  double: "a real number (double)",
  string: "text",
  bytes: "bytes",
  timestamp: "a timestamp",
  date: "a date",
  duration: "a duration",
};

/** `a whole number (int)`: the kind in a message. */
export const kindWord = (kind: Kind): string => WORDS[kind];

export const isWhole = (kind: Kind): boolean => kind === "int" || kind === "long";
export const isReal = (kind: Kind): boolean => kind === "float" || kind === "double";
export const isNumber = (kind: Kind): boolean => isWhole(kind) || isReal(kind);

export const kindOfField = (type: FieldType): Kind => (type === "enum" ? "string" : type);

export const fieldOfKind = (kind: Exclude<Kind, "null">): FieldType => (kind === "duration" ? "long" : kind);

/** The kind that holds the values of both without loss; undefined where they do not go together. */
export function commonKind(a: Kind, b: Kind): Kind | undefined {
  if (a === b || b === "null") return a;
  if (a === "null") return b;
  if (isWhole(a) && isWhole(b)) return "long";
  return isNumber(a) && isNumber(b) ? "double" : undefined;
}

/** The bounds of either. */
export function hullOf(a: Range, b: Range): Range {
  return { low: ordered(a.low, b.low)[0], high: ordered(a.high, b.high)[1] };
}

/** The greatest distance from zero. */
export const magnitude = ({ low, high }: Range): bigint => ordered(-low, high)[1];

function ordered(a: bigint, b: bigint): readonly [bigint, bigint] {
  return a < b ? [a, b] : [b, a];
}
