import { MlpeError } from "../base/errors.ts";

/** One turn of a step: it moved on, had nothing to do, or its source has ended for good. */
export type Turn = "progress" | "idle" | "end";

/** A line of the step table: who it is, the streams it reads and writes, and one bounded turn of its work. */
export interface Step {
  readonly name: string;
  readonly reads: readonly string[];
  readonly writes: readonly string[];
  /** It waits where free disk is below this mark. Default `hard`. */
  readonly waitsBelow?: "soft" | "hard";
  /** Gives up what it remembers of rows, some of which are no longer in the log: it is folded anew. */
  forget?(): void;
  /** At most one commit. Throws an MlpeError where this step can't go on; others may. */
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

/** A step that could not go on, and why. */
export interface Failure {
  readonly step: string;
  readonly error: MlpeError;
}

/**
 * The same steps, none of which stops the others: one that fails is set aside for good, with its error in `failures`, and
 * answers idle from then on. A broken invariant (anything but an MlpeError) still stops everything.
 */
export function settingAside(steps: readonly Step[], failures: Failure[]): readonly Step[] {
  return steps.map((step) => {
    let failed = false;
    const turn = async (): Promise<Turn> => {
      if (failed) return "idle";
      try {
        return await step.turn();
      } catch (error) {
        if (!(error instanceof MlpeError)) throw error;
        failed = true;
        failures.push({ step: step.name, error });
        return "idle";
      }
    };
    return { ...step, turn };
  });
}

/** All failures as one error that lists the problems of each; undefined where there are none. */
export function failureOf(failures: readonly Failure[]): MlpeError | undefined {
  const [first] = failures;
  if (!first) return undefined;
  const { code, kind, fix, place, message } = first.error;
  const problems = failures.flatMap(({ step, error }) =>
    error.problems.map((problem) => ({ ...problem, place: placed(step, problem.place) })),
  );
  const more = problems.length === 1 ? "" : ` (and ${problems.length - 1} more)`;
  return new MlpeError(code, { kind, meaning: message, fix }, `${message}${more}`, {
    place: placed(first.step, place),
    problems,
  });
}

/** Which step it was: "line 1" alone says little beside other sources. */
const placed = (step: string, place: string | undefined): string =>
  place === undefined ? step : place.startsWith("sources.") ? place : `${step}: ${place}`;
