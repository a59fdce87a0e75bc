import { type LogStore, openStore } from "../../src/store/store.ts";
import { median, type Result } from "./bench.ts";
import {
  BATCH_ROWS,
  batchesOf,
  commitOf,
  inFlight,
  newPlace,
  type Place,
  placeName,
  quantile,
  START,
  STEP,
  STREAM,
} from "./log_rows.ts";

type Tell = (line: string) => void;

/** Entities by how many rows they have: places are numbered from the one with the most. */
const ENTITIES = { hot: 0, median: 1_000, rare: 1_999, absent: 1_500_000 } as const;
const ROUNDS = 5;
/** In each round, of each entity. */
const COLD_READS = 120;
const WARM_READS = 400;
/** Reads of one store before it is the other's turn, so that whatever else the machine does slows both alike. */
const COLD_TURN = 1;
const WARM_TURN = 50;
const IN_FLIGHT = 2;
/** A store this much larger may be this much slower. */
const GROWTH_AT_MOST = 1.5;

interface Loaded {
  readonly place: Place;
  readonly rows: number;
  /** Milliseconds of the reads of each round, by what was read. */
  readonly times: Map<string, number[][]>;
}

/**
 * As-of reads of single rows in compacted stores of so many rows; with two of them, the results say how much the reads
 * grow from the smaller to the larger. Both hold the one endless series from its beginning: the larger covers more time and
 * each entity has as many times more rows, but as many in a partition as in the smaller. The reads go all over the time that
 * the store covers, so those of the larger need every partition of it in turn.
 *
 * **Cold**: a store that was just opened and looked at, nothing decoded, the files in the page cache of the system. What the
 * opening left behind is collected first, which leaves the processor's caches cold too: without that its garbage is collected
 * in the middle of one read in fifty or so, and the p99 is that of a collection. **Warm**: reads that were all made once since
 * the store was opened. A figure is the median of the rounds' own percentiles, so that a round in which the machine did
 * something else does not decide it.
 */
export async function asOfReads(tell: Tell, sizes: readonly number[]): Promise<Result[]> {
  const stores: Loaded[] = [];
  try {
    for (const rows of sizes) stores.push({ place: await loaded(tell, rows), rows, times: new Map() });
    for (let round = 0; round < ROUNDS; round++) {
      for (const [name, entity] of Object.entries(ENTITIES)) {
        await cold(stores, name, entity, round * COLD_READS);
        await warm(stores, name, entity, round * WARM_READS);
      }
    }
    for (const { rows, times } of stores) {
      for (const [name, rounds] of times) {
        const [p50, p99] = [typical(rounds, 0.5), typical(rounds, 0.99)];
        const reads = rounds.reduce((sum, list) => sum + list.length, 0);
        tell(`as-of ${name}, ${rows} rows: p50 ${p50.toFixed(4)} p99 ${p99.toFixed(4)} ms of ${reads} reads`);
      }
    }
    const [few, many] = stores;
    return few && many ? growth(few, many) : [];
  } finally {
    for (const { place } of stores) place.remove();
  }
}

/** The percentile of each round, and of these the median. */
const typical = (rounds: readonly number[][], part: number) => median(rounds.map((list) => quantile(list, part)));

/** One line for each figure: ours at more rows, and what the bound allows. */
function growth(few: Loaded, many: Loaded): Result[] {
  const rounded = (value: number) => Number(value.toPrecision(4));
  return [...few.times].flatMap(([name, small]) =>
    ([0.5, 0.99] as const).map((part) => {
      const [before, after] = [typical(small, part), typical(many.times.get(name)!, part)];
      return {
        name: `as-of ${name}, p${part * 100}, at ${many.rows} rows`,
        ours: rounded(after),
        rival: rounded(before * GROWTH_AT_MOST),
        rival_name: `${GROWTH_AT_MOST} times ours at ${few.rows} rows (${rounded(before)} ms)`,
        unit: "ms",
        ratio: rounded((before * GROWTH_AT_MOST) / after),
      };
    }),
  );
}

async function loaded(tell: Tell, rows: number): Promise<Place> {
  const place = newPlace();
  try {
    const from = performance.now();
    const store = await openStore(place.options);
    await inFlight(
      Math.ceil(rows / BATCH_ROWS),
      (i) => {
        const [batch] = batchesOf(Math.min(BATCH_ROWS, rows - i * BATCH_ROWS), BATCH_ROWS, i * BATCH_ROWS);
        return store.commit(commitOf(batch!, i));
      },
      IN_FLIGHT,
    );
    await store.compact();
    await store.close();
    tell(`${rows} rows made, committed and compacted in ${((performance.now() - from) / 1000).toFixed(1)} s`);
    return place;
  } catch (cause) {
    place.remove();
    throw cause;
  }
}

function add(times: Loaded["times"], name: string, round: number[]): void {
  const rounds = times.get(name) ?? [];
  rounds.push(round);
  times.set(name, rounds);
}

/** The first read of a store that was just opened: nothing is decoded, the list of segments is there. */
async function cold(stores: readonly Loaded[], name: string, entity: number, first: number): Promise<void> {
  const times = await inTurns(stores, COLD_READS, COLD_TURN, async ({ place, rows }, _, i) => {
    const store = await openStore({ ...place.options, mode: "read" });
    await store.head();
    Bun.gc(true);
    const took = await read(store, rows, entity, first + i);
    await store.close();
    return took;
  });
  stores.forEach((store, s) => {
    add(store.times, `${name}, cold`, times[s]!);
  });
}

async function warm(stores: readonly Loaded[], name: string, entity: number, first: number): Promise<void> {
  const open: LogStore[] = [];
  for (const { place } of stores) open.push(await openStore({ ...place.options, mode: "read" }));
  const once = () =>
    inTurns(stores, WARM_READS, WARM_TURN, ({ rows }, s, i) => read(open[s]!, rows, entity, first + i));
  await once();
  const times = await once();
  for (const [s, store] of stores.entries()) {
    add(store.times, `${name}, warm`, times[s]!);
    await open[s]!.close();
  }
}

/** What `count` reads of each store took, the stores taking turns of `turn` reads. */
async function inTurns(
  stores: readonly Loaded[],
  count: number,
  turn: number,
  timed: (store: Loaded, s: number, i: number) => Promise<number>,
): Promise<number[][]> {
  const times: number[][] = stores.map(() => []);
  for (let from = 0; from < count; from += turn) {
    for (const [s, store] of stores.entries()) {
      for (let i = from; i < Math.min(count, from + turn); i++) times[s]!.push(await timed(store, s, i));
    }
  }
  return times;
}

async function read(store: LogStore, rows: number, entity: number, i: number): Promise<number> {
  const at = START + Math.floor(((i * 0.618) % 1) * rows) * STEP;
  const from = performance.now();
  await store.asOf(STREAM, [{ entity: [placeName(entity)], at }]);
  return performance.now() - from;
}
