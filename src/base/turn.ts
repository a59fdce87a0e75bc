/** Lets whatever else waits in this thread have a turn: for work that is long, and may be in the thread that serves. */
export const othersTurn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** Milliseconds that work in turns holds its thread for, if none of its steps takes longer. */
const HOLD_MS = 1;

/**
 * Long work in small steps: between two of them, others have a turn if it has held the thread for a while, and at the first:
 * what the thread did before the work began is not known.
 */
export interface Pace {
  /** To be asked between two steps. */
  due(): boolean;
  /** Lets others have a turn. */
  turn(): Promise<void>;
}

/**
 * By the time that went by, not by what was done: what a step takes depends on the machine, on what of the memory it is the
 * first to touch, and on the garbage that is collected meanwhile. Nothing that is computed may depend on it.
 */
export function pace(): Pace {
  let since = Number.NEGATIVE_INFINITY;
  return {
    due: () => performance.now() - since >= HOLD_MS,
    async turn() {
      await othersTurn();
      since = performance.now();
    },
  };
}

/** To the end, step by step; others have turns between them. */
export async function inTurns<Result>(steps: Iterator<unknown, Result>): Promise<Result> {
  const turns = pace();
  for (;;) {
    const { value, done } = steps.next();
    if (done) return value;
    if (turns.due()) await turns.turn();
  }
}
