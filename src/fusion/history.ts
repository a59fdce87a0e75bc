import type { Micros } from "../base/time.ts";
import { formatInstant } from "../base/time.ts";
import type { Store } from "../store/port.ts";
import type { BoundView } from "./bind.ts";
import { compareAt } from "./column.ts";
import { fusionErrors } from "./errors.ts";
import { boundView, buildIndex } from "./index.ts";
import type { ViewPlan } from "./types.ts";

export interface Period {
  /** Bounds on T, both inclusive. */
  readonly from?: Micros;
  readonly to?: Micros;
}

/** The view over everything known at the cutoff `upTo`. */
export async function historyView(store: Store, plan: ViewPlan, upTo: number): Promise<BoundView> {
  return boundView(await buildIndex(store, [plan], upTo), plan);
}

/** The live spine rows with T in the period, as places of the spine's table, in the order of (T, record id). */
export function historyPlaces(view: BoundView, { from, to }: Period = {}): Int32Array {
  const { spine, asOf, plan } = view;
  const low = from ?? Number.NEGATIVE_INFINITY;
  const high = to ?? Number.POSITIVE_INFINITY;
  const places = new Int32Array(spine.length);
  let count = 0;
  for (let place = 0; place < spine.length; place++) {
    const at = asOf.values[place]!;
    if (spine.alive[place] === 1 && at >= low && at <= high) places[count++] = place; // a null T is NaN: never
  }
  const keys = plan.shape.keys.map((key) => spine.columns.get(key.name)!);
  return places.subarray(0, count).sort((a, b) => {
    const byTime = asOf.values[a]! - asOf.values[b]!;
    if (byTime !== 0) return byTime;
    for (const column of keys) {
      const compared = compareAt(column, a, b);
      if (compared !== 0) return compared;
    }
    return 0;
  });
}

/** The commit that a cutoff time means; the head when there is none. Earlier than the first commit is an error. */
export async function cutoffOf(store: Store, knownBy?: Micros): Promise<number> {
  if (knownBy === undefined) return (await store.head()).commitNo;
  const upTo = await store.commitAt(knownBy);
  if (upTo > 0) return upTo;
  const place = formatInstant(knownBy);
  const first = (await store.head()).commitNo === 0 ? "nothing was ever committed" : await earliest(store);
  throw fusionErrors.error("before_first_commit", `nothing was known at ${place}: ${first}`, { place });
}

async function earliest(store: Store): Promise<string> {
  const names = (await store.streams()).map(({ stream }) => stream);
  const page = await store.tail(0, names, 1);
  const time = page.rows[0]?.knownTimes[0];
  return time === undefined ? "the first commit is later" : `the first commit is of ${formatInstant(time)}`;
}
