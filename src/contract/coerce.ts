import { fromBase64, toBase64 } from "../base/bytes.ts";
import type { Value } from "../base/row.ts";
import { parseDay, parseInstant } from "../base/time.ts";
import type { Field, FieldType } from "./contract.ts";

/** Why a raw value can't become the field's type without loss. `rule` is stable; the message never holds the value. */
export interface Reject {
  readonly reject: true;
  readonly rule: string;
  readonly message: string;
}

/**
 * A raw value is what a decoder gives: text (of CSV, or a JSON string), or a JSON number, boolean or null. Integers
 * beyond 2^53 come as bigint. Missing and null become null: whether null is allowed is judged later.
 */
export type Coercer = (raw: unknown) => Value | Reject;

export const isReject = (value: Value | Reject): value is Reject =>
  typeof value === "object" && value !== null && "reject" in value;

const INT_MIN = -2147483648;
const INT_MAX = 2147483647;
const LONG_MIN = -(2n ** 63n);
const LONG_MAX = 2n ** 63n - 1n;
const WHOLE = /^[+-]?\d+(?:\.0*)?$/;
const DECIMAL = /^[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?$/;
const BASE64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/;

/** How values of the field's type are read, without loss or not at all. A coercer may remember the last few texts it read. */
export function coercer(field: Field): Coercer {
  const read = READERS[field.type](field);
  return (raw) => (raw === null || raw === undefined ? null : read(raw));
}

type Reader = (raw: unknown) => Value | Reject;

const READERS: Readonly<Record<FieldType, (field: Field) => Reader>> = {
  boolean: (field) => (raw) => {
    if (typeof raw === "boolean") return raw;
    const text = typeof raw === "string" ? raw.trim().toLowerCase() : "";
    if (text === "true" || text === "false") return text === "true";
    return refuse(field, "boolean", "is neither true nor false");
  },
  int: (field) => (raw) => {
    const value = typeof raw === "string" ? smallWhole(raw) : raw;
    const whole = typeof value === "number" && Number.isInteger(value) ? value : wholeOf(field, value);
    if (typeof whole === "object") return whole;
    if (whole < INT_MIN || whole > INT_MAX) return refuse(field, "int_range", "is outside the range of a 32-bit int");
    return Number(whole) + 0;
  },
  long: (field) => (raw) => {
    const value = typeof raw === "string" ? smallWhole(raw) : raw;
    const whole = wholeOf(field, value);
    if (typeof whole === "object") return whole;
    if (typeof whole === "bigint" && (whole < LONG_MIN || whole > LONG_MAX)) {
      return refuse(field, "long_range", "is outside the range of a 64-bit long");
    }
    return whole;
  },
  double: (field) => (raw) => realOf(field, raw),
  float: (field) => (raw) => {
    const value = realOf(field, raw);
    if (typeof value !== "number") return value;
    const narrow = Math.fround(value);
    if (!Number.isFinite(narrow) || (narrow === 0 && value !== 0)) {
      return refuse(field, "float_range", "is outside the range of a 32-bit float");
    }
    return narrow;
  },
  string: (field) => (raw) => {
    if (typeof raw !== "string") return refuse(field, "string", `is ${kindOf(raw)}, not text`);
    return raw.isWellFormed() ? raw : refuse(field, "string", "holds half a surrogate pair, which is no text");
  },
  bytes: (field) => (raw) => {
    if (raw instanceof Uint8Array) return raw;
    if (typeof raw === "string" && BASE64.test(raw)) {
      const bytes = fromBase64(raw);
      if (toBase64(bytes) === raw) return bytes;
    }
    return refuse(field, "base64", "is not base64 text");
  },
  timestamp: (field) => timestampReader(field),
  date: (field) => (raw) => {
    const day = typeof raw === "string" ? parseDay(raw) : undefined;
    return day ?? refuse(field, "date", "is not a date like 2013-01-31");
  },
  enum: (field) => {
    const symbols = new Set(field.symbols);
    return (raw) => {
      if (typeof raw === "string" && symbols.has(raw)) return raw;
      return refuse(field, "enum", `is not one of ${[...symbols].slice(0, 20).join(", ")}`);
    };
  },
};

/** How many instants a reader keeps: they repeat from row to row, and parsing one costs more than the rest of a row. */
const INSTANTS_KEPT = 4_096;

function timestampReader(field: Field): Reader {
  const known = new Map<string, number>();
  return (raw) => {
    if (typeof raw !== "string") {
      return refuse(field, "timestamp", `is ${kindOf(raw)}; write an instant like 2013-01-31T06:00:00Z`);
    }
    const kept = known.get(raw);
    if (kept !== undefined) return kept;
    const micros = raw.length > 10 ? parseInstant(raw) : undefined;
    if (micros !== undefined) {
      if (known.size >= INSTANTS_KEPT) known.clear();
      known.set(raw, micros);
      return micros;
    }
    if (raw.length > 10 && parseInstant(raw, true) !== undefined) {
      return refuse(field, "offset", "is a local time without an offset; write Z or +hh:mm after it");
    }
    return refuse(field, "timestamp", "is not an instant like 2013-01-31T06:00:00Z, to the microsecond at most");
  };
}

/** Up to nine plain digits with a sign, the common case, without a regular expression; other text as it came. */
function smallWhole(text: string): number | string {
  const negative = text.charCodeAt(0) === 45;
  const start = negative ? 1 : 0;
  if (text.length === start || text.length > start + 9) return text;
  let value = 0;
  for (let i = start; i < text.length; i++) {
    const digit = text.charCodeAt(i) - 48;
    if (digit < 0 || digit > 9) return text;
    value = value * 10 + digit;
  }
  return negative && value !== 0 ? -value : value;
}

/** A whole number: within +-2^53 as number, beyond as bigint. */
function wholeOf(field: Field, raw: unknown): number | bigint | Reject {
  if (typeof raw === "bigint") return narrowest(raw);
  if (typeof raw === "number") {
    if (!Number.isFinite(raw)) return refuse(field, "finite", "is not a finite number");
    if (!Number.isInteger(raw)) return refuse(field, "whole", "has a fraction, and the field holds whole numbers");
    if (!Number.isSafeInteger(raw)) return refuse(field, "exact", "is beyond 2^53 and was not written as plain digits");
    return raw + 0;
  }
  const text = typeof raw === "string" ? raw.trim() : "";
  if (WHOLE.test(text)) return narrowest(BigInt(text.replace(/^\+|\.0*$/g, "")));
  if (DECIMAL.test(text)) return refuse(field, "whole", "is not a plain whole number");
  return refuse(field, "number", `is ${kindOf(raw)}, not a number`);
}

function narrowest(value: bigint): number | bigint {
  const small = Number(value);
  return Number.isSafeInteger(small) ? small : value;
}

/** A finite double. A whole number that a double can't hold exactly is refused; fractions round to the nearest double. */
function realOf(field: Field, raw: unknown): number | Reject {
  if (typeof raw === "number") return Number.isFinite(raw) ? raw : refuse(field, "finite", "is not a finite number");
  if (typeof raw === "bigint") {
    return BigInt(Number(raw)) === raw ? Number(raw) : refuse(field, "exact", "can't be held exactly by a double");
  }
  const text = typeof raw === "string" ? raw.trim() : "";
  if (/^[+-]?(?:nan|inf(?:inity)?)$/i.test(text)) return refuse(field, "finite", "is not a finite number");
  if (!DECIMAL.test(text)) return refuse(field, "number", `is ${kindOf(raw)}, not a number`);
  const value = Number(text);
  if (!Number.isFinite(value)) return refuse(field, "finite", "is too large for a double");
  if (text.length > 15 && /^[+-]?\d+$/.test(text) && BigInt(text.replace(/^\+/, "")) !== BigInt(value)) {
    return refuse(field, "exact", "can't be held exactly by a double");
  }
  return value;
}

function kindOf(raw: unknown): string {
  if (Array.isArray(raw)) return "a list";
  if (raw instanceof Uint8Array) return "bytes";
  switch (typeof raw) {
    case "string":
      return "text";
    case "number":
    case "bigint":
      return "a number";
    case "boolean":
      return "a boolean";
    default:
      return "an object";
  }
}

function refuse(field: Field, rule: string, what: string): Reject {
  return { reject: true, rule, message: `${field.name} ${what}` };
}
