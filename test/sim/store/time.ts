import { drawFrom } from "../draw.ts";

/** The time of one life, for all but its clock: how long work takes, and when timers ring, comes from the seed. */
export interface SeededTime {
  /** So much time goes by: timers that are due ring, in their order. */
  pass(ms: number): void;
  /** Whether each step of work takes so long that others have a turn after it. */
  slow: boolean;
}

interface Timer {
  readonly ring: () => void;
  readonly everyMs: number | undefined;
  at: number;
  ref(): Timer;
  unref(): Timer;
}

/**
 * Runs a life in a time of its own: a machine that is busy, or a disk that is slow, must not change what a seed does. What
 * the store asks of the time is replaced meanwhile: `performance.now`, `setTimeout` and `setInterval`.
 */
export async function inSeededTime<T>(seed: number, run: (time: SeededTime) => Promise<T>): Promise<T> {
  const draw = drawFrom(seed ^ 0x71e);
  const timers = new Set<Timer>();
  let worked = 0;
  let now = 0;
  const start = (ring: (...given: unknown[]) => void, ms = 0, everyMs: number | undefined, given: unknown[]): Timer => {
    const timer: Timer = { ring: () => ring(...given), everyMs, at: now + ms, ref: () => timer, unref: () => timer };
    timers.add(timer);
    return timer;
  };
  const time: SeededTime = {
    slow: false,
    pass(ms) {
      const until = now + ms;
      for (;;) {
        const [next] = [...timers].filter(({ at }) => at <= until).sort((a, b) => a.at - b.at);
        if (!next) break;
        now = Math.max(now, next.at);
        if (next.everyMs === undefined) timers.delete(next);
        else next.at = now + Math.max(1, next.everyMs);
        next.ring();
      }
      now = until;
    },
  };
  const stop = (timer: unknown) => void timers.delete(timer as Timer);
  const ours = {
    setTimeout: (ring: () => void, ms?: number, ...given: unknown[]) => start(ring, ms, undefined, given),
    setInterval: (ring: () => void, ms = 0, ...given: unknown[]) => start(ring, ms, ms, given),
    clearTimeout: stop,
    clearInterval: stop,
  };
  const names = Object.keys(ours) as (keyof typeof ours)[];
  const real = Object.fromEntries(names.map((name) => [name, globalThis[name]]));
  const { now: realNow } = performance;
  performance.now = () => {
    worked += time.slow || draw.chance(0.2) ? 2 : 0.01;
    return worked;
  };
  Object.assign(globalThis, ours);
  try {
    return await run(time);
  } finally {
    Object.assign(globalThis, real);
    performance.now = realNow;
  }
}
