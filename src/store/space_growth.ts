import { MICROS_PER_SECOND, type Micros } from "../base/time.ts";

/** A measurement is kept every so often, and so many of them: the last ten minutes. */
const SAMPLE_EVERY = 10 * MICROS_PER_SECOND;
const SAMPLES_MAX = 60;
/** Measurements over less than that say nothing: one burst is no rate. */
const SPAN_LEAST = 60 * MICROS_PER_SECOND;
/** What is said where space does not shrink: ten years, in seconds. */
export const TIME_TO_FULL_MAX = 315_360_000;

/** How fast free space shrinks, from a bounded window of measurements. */
export interface GrowthWindow {
  /** Takes a measurement; the bytes a second by which free space shrinks. */
  add(at: Micros, free: number): number;
  /** Until `free` bytes are gone at the last rate. */
  secondsToFull(free: number): number;
}

export function growthWindow(): GrowthWindow {
  const samples: { at: Micros; free: number }[] = [];
  let rate = 0;
  return {
    add(at, free) {
      const last = samples.at(-1);
      if (last && at < last.at) samples.length = 0; // the clock went back: what was measured has no place any more
      if (samples.length === 0 || at - samples.at(-1)!.at >= SAMPLE_EVERY) {
        samples.push({ at, free });
        if (samples.length > SAMPLES_MAX) samples.shift();
        rate = slope(samples);
      }
      return rate;
    },
    secondsToFull(free) {
      if (free <= 0) return 0;
      return rate > 0 ? Math.min(TIME_TO_FULL_MAX, free / rate) : TIME_TO_FULL_MAX;
    },
  };
}

/** The least-squares slope of taken space over time, in bytes a second; 0 where the samples span less than a minute. */
function slope(samples: readonly { at: Micros; free: number }[]): number {
  if (samples.length < 2 || samples.at(-1)!.at - samples[0]!.at < SPAN_LEAST) return 0;
  const seconds = samples.map(({ at }) => (at - samples[0]!.at) / MICROS_PER_SECOND);
  const meanTime = seconds.reduce((sum, value) => sum + value, 0) / samples.length;
  const meanFree = samples.reduce((sum, { free }) => sum + free, 0) / samples.length;
  let above = 0;
  let below = 0;
  samples.forEach(({ free }, i) => {
    above += (seconds[i]! - meanTime) * (meanFree - free);
    below += (seconds[i]! - meanTime) ** 2;
  });
  return below === 0 ? 0 : above / below;
}
