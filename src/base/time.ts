/** An instant in UTC: whole microseconds since 1970-01-01T00:00:00Z. Exact as a number until the year 2255. */
export type Micros = number;

const MICROS_PER_MILLISECOND = 1_000;
export const MICROS_PER_SECOND = 1_000_000;
export const MICROS_PER_MINUTE = 60 * MICROS_PER_SECOND;
export const MICROS_PER_HOUR = 60 * MICROS_PER_MINUTE;
export const MICROS_PER_DAY = 24 * MICROS_PER_HOUR;

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
 * More than six fraction digits are refused rather than rounded, unless the rest are zeros.
 */
export function parseInstant(text: string, assumeUtc = false): Micros | undefined {
  const match = INSTANT.exec(text);
  if (!match) return undefined;
  const [, year, month, day, hour, minute, second, fraction = "", zone] = match;
  if (hour !== undefined && zone === undefined && !assumeUtc) return undefined;
  const digits = fraction.padEnd(6, "0");
  if (digits.length > 6 && /[1-9]/.test(digits.slice(6))) return undefined;
  const date = Date.UTC(+year!, +month! - 1, +day!, +(hour ?? 0), +(minute ?? 0), +(second ?? 0));
  const check = new Date(date);
  if (check.getUTCMonth() !== +month! - 1 || check.getUTCDate() !== +day! || +(hour ?? 0) > 23) return undefined;
  if (+(minute ?? 0) > 59 || +(second ?? 0) > 59) return undefined;
  const offset = zoneOffset(zone ?? "Z");
  return offset === undefined ? undefined : date * 1000 + Number(digits.slice(0, 6)) - offset;
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

/** `2013-01-01T10:00:00Z`, with as many fraction digits as are needed (none, 3 or 6). */
export function formatInstant(micros: Micros): string {
  const rest = ((micros % MICROS_PER_SECOND) + MICROS_PER_SECOND) % MICROS_PER_SECOND;
  const base = new Date((micros - rest) / 1000).toISOString().slice(0, 19);
  if (rest === 0) return `${base}Z`;
  const digits = String(rest).padStart(6, "0");
  return `${base}.${digits.endsWith("000") ? digits.slice(0, 3) : digits}Z`;
}
