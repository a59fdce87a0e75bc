import type { Micros } from "../base/time.ts";

/** Most stretches of constant offset remembered for a zone; beyond it they are forgotten and found anew. */
const STRETCHES_MAX = 64;

interface Stretch {
  /** Inclusive, in microseconds. */
  readonly from: Micros;
  /** Exclusive. */
  readonly until: Micros;
  readonly offset: Micros;
}

/** Whether the name is an IANA time zone (or UTC, or a fixed offset) that the built-in data knows. */
export function isZone(zone: string): boolean {
  try {
    Temporal.Instant.fromEpochMilliseconds(0).toZonedDateTimeISO(zone);
    return true;
  } catch {
    return false;
  }
}

/**
 * The offset from UTC of any instant in the zone, in microseconds. Transitions are rare, so the stretches between them
 * are remembered; almost every call is two comparisons.
 */
export function zoneOffset(zone: string): (micros: Micros) => Micros {
  let stretches: Stretch[] = [];
  let current: Stretch = { from: 0, until: 0, offset: 0 };
  return (micros) => {
    if (micros >= current.from && micros < current.until) return current.offset;
    let found = stretches.find((stretch) => micros >= stretch.from && micros < stretch.until);
    if (found === undefined) {
      found = findStretch(zone, micros);
      if (stretches.length >= STRETCHES_MAX) stretches = [];
      stretches.push(found);
    }
    current = found;
    return found.offset;
  };
}

function findStretch(zone: string, micros: Micros): Stretch {
  const instant = Temporal.Instant.fromEpochNanoseconds(BigInt(micros) * 1000n);
  const local = instant.toZonedDateTimeISO(zone);
  // a transition at the instant itself begins the stretch, so it is looked for from just after it
  const before = instant.add({ nanoseconds: 1 }).toZonedDateTimeISO(zone).getTimeZoneTransition("previous");
  const after = local.getTimeZoneTransition("next");
  return {
    from: before === null ? Number.NEGATIVE_INFINITY : Number(before.epochNanoseconds / 1000n),
    until: after === null ? Number.POSITIVE_INFINITY : Number(after.epochNanoseconds / 1000n),
    offset: local.offsetNanoseconds / 1000,
  };
}
