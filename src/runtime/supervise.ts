import type { Clock } from "../base/clock.ts";
import { MlpeError } from "../base/errors.ts";
import type { Micros } from "../base/time.ts";
import type { Step } from "./loop.ts";

export interface Supervision {
  readonly steps: readonly Step[];
  readonly clock: Clock;
  /** Resolves when there may be work: a commit, a pushed request, or the time given. */
  readonly wait: (milliseconds: number) => Promise<void>;
  /** Told of each failed turn, with when it began: at most once per wait for the next try. */
  readonly failed: (step: Step, error: unknown, retryInMs: number, startedAt: Micros) => Promise<void>;
  readonly stopped: () => boolean;
  /** A step for which this is true waits: the disk has no room for what it would write. Default: none. */
  readonly held?: (step: Step) => boolean;
  /** Awaited before each step: what must not run beside one. Never throws. */
  readonly between?: () => Promise<void>;
}

interface Health {
  failures: number;
  notBefore: Micros;
  ended: boolean;
  /** When its last turn began. */
  startedAt: Micros;
}

/** Turns of one step before the next has its own. */
const TURNS_MAX = 16;
const IDLE_MS = 250;
const FIRST_RETRY_MS = 1_000;
const LONGEST_RETRY_MS = 60_000;

/**
 * Runs the step table until stopped. A step that fails is set aside and tried again after 1 s, doubling to 1 min; the
 * others go on. A turn is one commit, so a stop or a crash between turns loses nothing.
 */
export async function supervise({
  steps,
  clock,
  wait,
  failed,
  stopped,
  held = () => false,
  between = async () => {},
}: Supervision): Promise<void> {
  const healths = new Map(
    steps.map((step) => [step, { failures: 0, notBefore: 0, ended: false, startedAt: 0 } as Health]),
  );
  while (!stopped()) {
    let moved = false;
    await between();
    for (const [step, health] of healths) {
      await between();
      if (health.ended || health.notBefore > clock.now() || stopped() || held(step)) continue;
      try {
        moved = (await runTurns(step, health, clock, () => stopped() || held(step))) || moved;
        health.failures = 0;
      } catch (error) {
        const retryInMs = Math.min(FIRST_RETRY_MS * 2 ** health.failures, LONGEST_RETRY_MS);
        // A full disk is waited for with `held`: the step goes on as soon as there is room.
        if (!(error instanceof MlpeError && error.code === "store.full")) health.failures++;
        health.notBefore = clock.now() + retryInMs * 1000;
        await failed(step, error, retryInMs, health.startedAt);
      }
    }
    if (!moved && !stopped()) await wait(IDLE_MS);
  }
}

async function runTurns(step: Step, health: Health, clock: Clock, stopped: () => boolean): Promise<boolean> {
  for (let turn = 0; turn < TURNS_MAX && !stopped(); turn++) {
    health.startedAt = clock.now();
    const result = await step.turn();
    if (result === "end") health.ended = true;
    if (result !== "progress") return turn > 0;
  }
  return true;
}
