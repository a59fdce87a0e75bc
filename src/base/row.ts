/**
 * One value of a record. `long` values within +-2^53 are numbers and larger ones bigints; a timestamp is a number of
 * microseconds (`Micros`); a date is a number of days since 1970-01-01. `undefined` is never stored: missing is null.
 */
export type Value = null | boolean | number | bigint | string | Uint8Array;

/** One record, by field name. */
export type Row = Readonly<Record<string, Value>>;
