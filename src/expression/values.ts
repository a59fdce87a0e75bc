import type { Value } from "../base/row.ts";
import type { FieldType } from "../contract/contract.ts";
import { INT32, INT64, type Kind } from "./kinds.ts";
import type { SqlValue } from "./typed.ts";

/** How values of a type cross into SQLite and back: a small number, as the switch below runs for every value. */
export type Storage = 0 | 1 | 2 | 3 | 4 | 5 | 6 | 7;

const STORAGE: Readonly<Record<Kind | FieldType, Storage>> = {
  double: 0,
  float: 1,
  int: 2,
  date: 2,
  timestamp: 3,
  long: 4,
  duration: 4,
  boolean: 5,
  string: 6,
  enum: 6,
  bytes: 7,
  null: 7,
};

export const storageOf = (type: Kind | FieldType): Storage => STORAGE[type];

/** Whether a column of that storage may hold the value. Anything else is reported, never coerced. */
export function accepts(storage: Storage, value: Value): boolean {
  switch (storage) {
    case 0:
    case 1:
      return typeof value === "number" && Number.isFinite(value);
    case 2:
      return typeof value === "number" && (value | 0) === value;
    case 3:
      return Number.isSafeInteger(value);
    case 4:
      return typeof value === "bigint" ? value >= INT64.low && value <= INT64.high : Number.isSafeInteger(value);
    case 5:
      return typeof value === "boolean";
    case 6:
      return typeof value === "string";
    default:
      return value instanceof Uint8Array;
  }
}

/** Whether a number or boolean computed outside SQLite is a value of the storage; text and bytes never are. */
export function fits(storage: Storage, value: SqlValue): boolean {
  switch (storage) {
    case 0:
      return typeof value === "number";
    case 1:
      return typeof value === "number" && Math.fround(value) === value;
    case 2:
      return typeof value === "number" && (value | 0) === value;
    case 3:
    case 4:
      return Number.isSafeInteger(value);
    case 5:
      return typeof value === "boolean";
    default:
      return false;
  }
}

const SAFE_LOW = BigInt(Number.MIN_SAFE_INTEGER);
const SAFE_HIGH = BigInt(Number.MAX_SAFE_INTEGER);

/** What SQLite gave, as a value of the output's type; undefined where it is none (the wrong class, or out of range). */
export function decode(storage: Storage, raw: SqlValue): Value | undefined {
  switch (storage) {
    case 0:
      return typeof raw === "number" && Number.isFinite(raw) ? raw : undefined;
    case 1:
      return typeof raw === "number" && Number.isFinite(raw) && Math.fround(raw) === raw ? raw : undefined;
    case 2:
      return typeof raw === "bigint" && raw >= INT32.low && raw <= INT32.high ? Number(raw) : undefined;
    case 3:
      return typeof raw === "bigint" && raw >= SAFE_LOW && raw <= SAFE_HIGH ? Number(raw) : undefined;
    case 4:
      if (typeof raw !== "bigint") return undefined;
      return raw >= SAFE_LOW && raw <= SAFE_HIGH ? Number(raw) : raw;
    case 5:
      return raw === 1n ? true : raw === 0n ? false : undefined;
    case 6:
      return typeof raw === "string" ? raw : undefined;
    default:
      return raw instanceof Uint8Array ? raw : undefined;
  }
}
