import { isReal, type Kind } from "./kinds.ts";
import type { SqlValue } from "./typed.ts";

/**
 * What a step makes of the filled slots, computed without asking SQLite: the same value bit for bit, or undefined where
 * only SQLite can say. Everyday values get through: whole numbers within +-2^53, finite reals, booleans and nulls. Whatever
 * could fail, overflow, or show the sign of a zero does not: SQLite then computes the row, and says why it fails. So
 * SQLite's answer stays the only definition, and this one is held against it by a property test.
 */
export type Direct = (slots: readonly SqlValue[]) => SqlValue | undefined;

type Maybe = Direct | undefined;

export const constant =
  (value: number | boolean): Direct =>
  () =>
    value;

/** A whole number literal; undefined beyond +-2^53. */
export function wholeConstant(value: bigint): Maybe {
  const number = Number(value);
  return Number.isSafeInteger(number) ? constant(number) : undefined;
}

/** What slot `c<index>` holds. Text and bytes are only ever asked whether they are null. */
export function readSlot(sql: string, kind: Kind): Direct {
  const index = Number(sql.slice(1));
  if (kind === "boolean") return (slots) => only("boolean", slots[index]!);
  if (kind === "string" || kind === "bytes") return (slots) => slots[index]!;
  if (isReal(kind)) {
    return (slots) => {
      const value = slots[index]!;
      return typeof value === "number" ? realResult(value) : value === null ? null : undefined;
    };
  }
  return (slots) => {
    const value = slots[index]!;
    return typeof value === "number" ? wholeResult(value) : value === null ? null : undefined;
  };
}

const only = (type: "boolean", value: SqlValue): SqlValue | undefined =>
  value === null || typeof value === type ? value : undefined;

/** Minus zero is left to SQLite. */
const realResult = (value: number): number | undefined =>
  Number.isFinite(value) && (value !== 0 || 1 / value > 0) ? value : undefined;

/** Beyond 2^53 a sum or product may have been rounded. Whole numbers have one zero. */
const wholeResult = (value: number): number | undefined => (Number.isSafeInteger(value) ? value + 0 : undefined);

type Step = (x: number, y: number) => number;

const STEPS: Readonly<Record<string, Step>> = {
  "+": (x, y) => x + y,
  "-": (x, y) => x - y,
  "*": (x, y) => x * y,
  "/": (x, y) => x / y,
  "%": (x, y) => x % y,
};

/** `a + b` and its like of reals (whole numbers within +-2^53 are exact as reals) or of whole numbers. */
export function arithmeticOf(sign: "+" | "-" | "*" | "/" | "%", real: boolean, a: Maybe, b: Maybe): Maybe {
  if (a === undefined || b === undefined || (sign === "/" && !real)) return undefined;
  const step = STEPS[sign]!;
  const result = real ? realResult : wholeResult;
  return (slots) => {
    const x = a(slots);
    const y = b(slots);
    return typeof x === "number" && typeof y === "number" ? result(step(x, y)) : nullOf(x, y);
  };
}

/** Null where one is null and both are known: a part that fails must be told even beside a null. */
const nullOf = (x: SqlValue | undefined, y: SqlValue | undefined): null | undefined =>
  x === undefined || y === undefined || (x !== null && y !== null) ? undefined : null;

export function negativeOf(real: boolean, value: Maybe): Maybe {
  if (value === undefined) return undefined;
  const result = real ? realResult : wholeResult;
  return (slots) => {
    const x = value(slots);
    return typeof x === "number" ? result(-x) : x === null ? null : undefined;
  };
}

const COMPARED: Readonly<Record<string, (x: number, y: number) => boolean>> = {
  "=": (x, y) => x === y,
  "<>": (x, y) => x !== y,
  "<": (x, y) => x < y,
  "<=": (x, y) => x <= y,
  ">": (x, y) => x > y,
  ">=": (x, y) => x >= y,
};

/** Numbers with numbers and booleans with booleans; text is left to SQLite, and so are `is` and `is not`. */
export function comparisonOf(sign: string, a: Maybe, b: Maybe): Maybe {
  const compare = COMPARED[sign];
  if (a === undefined || b === undefined || compare === undefined) return undefined;
  return (slots) => {
    const x = a(slots);
    const y = b(slots);
    if (typeof x === "number" && typeof y === "number") return compare(x, y);
    if (typeof x === "boolean" && typeof y === "boolean") return compare(Number(x), Number(y));
    return nullOf(x, y);
  };
}

/** Three-valued; both sides are always computed, because a failure of either is told. */
export function connectiveOf(word: "and" | "or", a: Maybe, b: Maybe): Maybe {
  if (a === undefined || b === undefined) return undefined;
  const decides = word === "or";
  return (slots) => {
    const x = a(slots);
    const y = b(slots);
    if (x === undefined || y === undefined) return undefined;
    if (x === decides || y === decides) return decides;
    return x === null || y === null ? null : !decides;
  };
}

export function negationOf(value: Maybe): Maybe {
  if (value === undefined) return undefined;
  return (slots) => {
    const x = value(slots);
    return typeof x === "boolean" ? !x : x === null ? null : undefined;
  };
}

export function nullTestOf(value: Maybe, not: boolean): Maybe {
  if (value === undefined) return undefined;
  return (slots) => {
    const x = value(slots);
    return x === undefined ? undefined : (x === null) !== not;
  };
}

export function betweenOf([x, low, high]: readonly Maybe[], not: boolean): Maybe {
  const inside = connectiveOf("and", comparisonOf(">=", x, low), comparisonOf("<=", x, high));
  return not ? negationOf(inside) : inside;
}

/** `case when .. then .. else .. end`: the first branch whose condition is true; all parts are computed. */
export function choiceOf(tests: readonly Maybe[], thens: readonly Maybe[], otherwise: Maybe): Maybe {
  return tests.reduceRight((rest: Maybe, test, i) => {
    const then = thens[i];
    if (rest === undefined || test === undefined || then === undefined) return undefined;
    return (slots) => {
      const when = test(slots);
      const yes = then(slots);
      const no = rest(slots);
      if (when === undefined || yes === undefined || no === undefined) return undefined;
      return when === true ? yes : no;
    };
  }, otherwise);
}

/** The first that is not null; all are computed. */
export function coalesceOf(values: readonly Maybe[]): Maybe {
  return values.reduceRight((rest, value) => {
    if (rest === undefined || value === undefined) return undefined;
    return (slots) => {
      const x = value(slots);
      const y = rest(slots);
      return x === undefined || y === undefined ? undefined : (x ?? y);
    };
  });
}
