import type { Micros } from "./time.ts";

/** Time as a value that is passed in, so that a simulation can hold it. */
export interface Clock {
  /** Wall time, in microseconds since the epoch. May jump. */
  now(): Micros;
}

export const systemClock: Clock = { now: () => Math.round((performance.timeOrigin + performance.now()) * 1000) };
