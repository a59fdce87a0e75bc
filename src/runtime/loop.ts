/** One turn of a step: it moved on, had nothing to do, or its source has ended for good. */
export type Turn = "progress" | "idle" | "end";

/** A line of the step table: who it is, the streams it reads and writes, and one bounded turn of its work. */
export interface Step {
  readonly name: string;
  readonly reads: readonly string[];
  readonly writes: readonly string[];
  /** At most one commit. Throws only what should stop the pipeline. */
  turn(): Promise<Turn>;
}

/**
 * Runs the steps in table order, each until it has nothing more to do, and again from the top until none moved. An
 * ended step is not asked again. `stopped` is looked at between turns: a stop loses nothing, a turn is one commit.
 */
export async function runUntilIdle(
  steps: readonly Step[],
  ended: Set<string>,
  onTurn: (step: Step) => void = () => {},
  stopped: () => boolean = () => false,
): Promise<boolean> {
  let moved = false;
  for (let again = true; again && !stopped(); ) {
    again = false;
    for (const step of steps) {
      while (!ended.has(step.name) && !stopped()) {
        const turn = await step.turn();
        if (turn === "end") ended.add(step.name);
        if (turn === "idle") break;
        again = true;
        moved = true;
        onTurn(step);
      }
    }
  }
  return moved;
}
