/**
 * One value of a record. `long` values within +-2^53 are numbers and larger ones bigints; a timestamp is a number of
 * microseconds (`Micros`); a date is a number of days since 1970-01-01. `undefined` is never stored: missing is null.
 */
export type Value = null | boolean | number | bigint | string | Uint8Array;

/** One record, by field name. */
export type Row = Readonly<Record<string, Value>>;

/** Null first, then by value: numbers by size, texts by UTF-16 code unit, bytes by content. Otherwise both are of one type. */
export function compareValues(a: Value, b: Value): number {
  if (a === b) return 0;
  if (a === null) return -1;
  if (b === null) return 1;
  if (a instanceof Uint8Array) return Buffer.compare(a, b as Uint8Array);
  return a < b ? -1 : a > b ? 1 : 0;
}

/** A text that is equal exactly for equal lists of values: what keys are looked up by in a Map. */
export const keyText = (values: readonly Value[]): string => JSON.stringify(values.map(plain));

/** JSON has no bigints and no bytes: as objects they differ from every text and number. */
function plain(value: Value): unknown {
  if (typeof value === "bigint") return { long: String(value) };
  return value instanceof Uint8Array ? { bytes: Buffer.from(value).toString("hex") } : value;
}
