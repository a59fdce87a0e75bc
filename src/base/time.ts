/** An instant in UTC: whole microseconds since 1970-01-01T00:00:00Z. Exact as a number from 1684-07-28 to 2255-06-05. */
export type Micros = number;

const MICROS_PER_MILLISECOND = 1_000;
export const MICROS_PER_SECOND = 1_000_000;
export const MICROS_PER_MINUTE = 60 * MICROS_PER_SECOND;
export const MICROS_PER_HOUR = 60 * MICROS_PER_MINUTE;
export const MICROS_PER_DAY = 24 * MICROS_PER_HOUR;
const MILLISECONDS_PER_DAY = MICROS_PER_DAY / MICROS_PER_MILLISECOND;

const UNITS: Readonly<Record<string, number>> = {
  us: 1,
  ms: MICROS_PER_MILLISECOND,
  s: MICROS_PER_SECOND,
  m: MICROS_PER_MINUTE,
  h: MICROS_PER_HOUR,
  d: MICROS_PER_DAY,
  w: 7 * MICROS_PER_DAY,
};

/** `90s`, `3h`, `7d` in microseconds; undefined when it is not a duration. */
export function parseDuration(text: string): Micros | undefined {
  const match = /^(\d+(?:\.\d+)?)(us|ms|s|m|h|d|w)$/.exec(text.trim());
  if (!match) return undefined;
  const micros = Number(match[1]) * UNITS[match[2]!]!;
  return Number.isSafeInteger(micros) ? micros : undefined;
}

/** A duration as the largest unit that divides it: `3h`. */
export function formatDuration(micros: Micros): string {
  for (const unit of ["w", "d", "h", "m", "s", "ms"]) {
    if (micros !== 0 && micros % UNITS[unit]! === 0) return `${micros / UNITS[unit]!}${unit}`;
  }
  return `${micros}us`;
}

const INSTANT =
  /^(\d{4})-(\d{2})-(\d{2})(?:[T ](\d{2}):(\d{2})(?::(\d{2})(?:\.(\d{1,9}))?)?\s*(Z|z|[+-]\d{2}:?\d{2})?)?$/;

/**
 * An ISO 8601 instant with an explicit offset, as microseconds since the epoch.
 * A date alone is midnight UTC. A time without an offset is no instant: undefined, unless `assumeUtc`.
 * More than six fraction digits are refused rather than rounded, unless the rest are zeros; so is an instant whose
 * microseconds a number does not hold exactly (`Micros` says which).
 */
export function parseInstant(text: string, assumeUtc = false): Micros | undefined {
  const match = INSTANT.exec(text);
  if (!match) return undefined;
  const [, year, month, day, hour, minute, second, fraction = "", zone] = match;
  if (hour !== undefined && zone === undefined && !assumeUtc) return undefined;
  const digits = fraction.padEnd(6, "0");
  if (digits.length > 6 && /[1-9]/.test(digits.slice(6))) return undefined;
  const midnight = midnightOf(+year!, +month!, +day!);
  if (midnight === undefined || +(hour ?? 0) > 23 || +(minute ?? 0) > 59 || +(second ?? 0) > 59) return undefined;
  const offset = zoneOffset(zone ?? "Z");
  if (offset === undefined) return undefined;
  const time = +(hour ?? 0) * MICROS_PER_HOUR + +(minute ?? 0) * MICROS_PER_MINUTE + +(second ?? 0) * MICROS_PER_SECOND;
  // The fraction last: up to there every sum is of whole seconds, which a number holds exactly far beyond the bound.
  const micros = midnight * 1000 + time - offset + Number(digits.slice(0, 6));
  return Number.isSafeInteger(micros) ? micros : undefined;
}

const DAY = /^(\d{4})-(\d{2})-(\d{2})$/;

/** `2013-01-31` as days since 1970-01-01, in any year from 0000 to 9999; undefined when it is no such day. */
export function parseDay(text: string): number | undefined {
  const match = DAY.exec(text);
  const midnight = match ? midnightOf(+match[1]!, +match[2]!, +match[3]!) : undefined;
  return midnight === undefined ? undefined : midnight / MILLISECONDS_PER_DAY;
}

/** A day, written so or as an instant at its midnight in UTC. */
export function dayOf(text: string, assumeUtc = false): number | undefined {
  const micros = DAY.test(text) ? undefined : parseInstant(text, assumeUtc);
  if (micros === undefined) return parseDay(text);
  return micros % MICROS_PER_DAY === 0 ? micros / MICROS_PER_DAY : undefined;
}

/** Days since 1970-01-01 as `2013-01-31`; what no year has a day for stays the number. */
export function formatDay(days: number): string {
  const date = new Date(days * MILLISECONDS_PER_DAY);
  return Number.isNaN(date.getTime()) ? String(days) : date.toISOString().slice(0, -"T00:00:00.000Z".length);
}

/** Milliseconds since the epoch. `Date.UTC` would take the years 0 to 99 for 1900 to 1999. */
function midnightOf(year: number, month: number, day: number): number | undefined {
  const date = new Date(0);
  const midnight = date.setUTCFullYear(year, month - 1, day);
  const same = date.getUTCFullYear() === year && date.getUTCMonth() === month - 1 && date.getUTCDate() === day;
  return same ? midnight : undefined;
}

/** Undefined where no place on Earth could have it: beyond 18 hours. */
function zoneOffset(zone: string): Micros | undefined {
  if (zone === "Z" || zone === "z") return 0;
  const sign = zone[0] === "-" ? -1 : 1;
  const digits = zone.slice(1).replace(":", "");
  const [hours, minutes] = [Number(digits.slice(0, 2)), Number(digits.slice(2))];
  if (hours > 18 || minutes > 59) return undefined;
  return sign * (hours * MICROS_PER_HOUR + minutes * MICROS_PER_MINUTE);
}

/**
 * `2013-01-01T10:00:00Z`, with as many fraction digits as are needed (none, 3 or 6). A number that is no exact instant
 * is shown as such (`9223372036854776000us`), not as a date that nobody meant.
 */
export function formatInstant(micros: Micros): string {
  if (!Number.isSafeInteger(micros)) return `${micros}us`;
  const rest = ((micros % MICROS_PER_SECOND) + MICROS_PER_SECOND) % MICROS_PER_SECOND;
  const base = new Date((micros - rest) / 1000).toISOString().slice(0, 19);
  if (rest === 0) return `${base}Z`;
  const digits = String(rest).padStart(6, "0");
  return `${base}.${digits.endsWith("000") ? digits.slice(0, 3) : digits}Z`;
}
