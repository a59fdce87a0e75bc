import type { MlpeError } from "../base/errors.ts";
import { curatedStream } from "../contract/streams.ts";
import type { ViewPlan } from "../fusion/types.ts";
import { damagedRows, isDamage } from "../store/damage.ts";

/** Something stored that can't be read, and what a server goes on without because of it. */
export interface Degraded {
  readonly without: string;
  /** The segment with its stream and sequences, or the row of the catalogue. */
  readonly place: string;
  readonly message: string;
  readonly fix: string;
  /** True where requests are refused because of it: such a server is not ready. */
  readonly refuses: boolean;
}

/** What damage leaves of a server: it starts, serves what does not need the damaged rows, and says what that is not. */
export interface Degradation {
  list(): readonly Degraded[];
  /** Why models of the view can't score; undefined where they can. */
  refusal(view: string): Degraded | undefined;
  /** Does the work for every view whose datasets can be read. */
  views<T>(plans: readonly ViewPlan[], work: (plans: readonly ViewPlan[]) => Promise<T>): Promise<T>;
  /** Notes damage that work met and went on without. */
  met(error: MlpeError, without: string): void;
  /** Does the work; where it meets damage it goes on without, and the answer is undefined. */
  without<T>(what: string, work: () => Promise<T>, refuses?: boolean): Promise<T | undefined>;
}

/** Without these no model scores. */
export const LIVE_MODELS = "live models";

export function degradation(log: (message: string, facts: object) => void): Degradation {
  const found: Degraded[] = [];
  const views = new Map<string, Degraded>();
  let everything: Degraded | undefined;
  const note = (error: MlpeError, without: string, refuses: boolean): Degraded => {
    const { place = "", message, fix } = error;
    const degraded = { without, place, message, fix, refuses };
    if (without === LIVE_MODELS) everything = degraded;
    found.push(degraded);
    log("stored rows are damaged: going on without", { without, place, message });
    return degraded;
  };
  return {
    list: () => found,
    met: (error, without) => void note(error, without, false),
    refusal: (view) => views.get(view) ?? everything,
    async views(plans, work) {
      let left = plans;
      for (;;) {
        try {
          return await work(left);
        } catch (error) {
          const hurt = viewsOf(left, error);
          if (!isDamage(error) || hurt.length === 0) throw error;
          for (const { name } of hurt) views.set(name, note(error, `view ${name}`, true));
          left = left.filter((plan) => !hurt.includes(plan));
        }
      }
    },
    async without(what, work, refuses = false) {
      try {
        return await work();
      } catch (error) {
        if (!isDamage(error)) throw error;
        note(error, what, refuses);
        return undefined;
      }
    },
  };
}

/** The views that read the dataset whose rows the error says are damaged. */
function viewsOf(plans: readonly ViewPlan[], error: unknown): ViewPlan[] {
  const stream = damagedRows(error)?.stream;
  return plans.filter((plan) => [...plan.needs.keys()].some((dataset) => curatedStream(dataset) === stream));
}
