import { type LogStore, openStore } from "../../src/store/store.ts";
import type { Result } from "./bench.ts";
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
/** In each round. */
const COLD_READS = 40;
const WARM_READS = 400;
const IN_FLIGHT = 2;
/** A store this much larger may be this much slower. */
const GROWTH_AT_MOST = 1.5;

interface Loaded {
  readonly place: Place;
  readonly rows: number;
  /** Milliseconds of the reads, by what was read. */
  readonly times: Map<string, number[]>;
}

/**
 * As-of reads of single rows in compacted stores of so many rows. The stores take turns; with two of them, the results
 * say how much the reads grow from the smaller to the larger.
 */
export async function asOfReads(tell: Tell, sizes: readonly number[]): Promise<Result[]> {
  const stores: Loaded[] = [];
  try {
    for (const rows of sizes) stores.push({ place: await loaded(tell, rows), rows, times: new Map() });
    for (let round = 0; round < ROUNDS; round++) {
      for (const [name, entity] of Object.entries(ENTITIES)) {
        for (const store of stores) add(store.times, `${name}, cold`, await cold(store, entity, round * COLD_READS));
        for (const store of stores) add(store.times, `${name}, warm`, await warm(store, entity, round * WARM_READS));
      }
    }
    for (const { rows, times } of stores) {
      for (const [name, list] of times) {
        const [p50, p99] = [quantile(list, 0.5), quantile(list, 0.99)];
        tell(`as-of ${name}, ${rows} rows: p50 ${p50.toFixed(3)} p99 ${p99.toFixed(3)} ms of ${list.length} reads`);
      }
    }
    const [few, many] = stores;
    return few && many ? growth(few, many) : [];
  } finally {
    for (const { place } of stores) place.remove();
  }
}

/** One line for each figure: ours at more rows, and what the bound allows. */
function growth(few: Loaded, many: Loaded): Result[] {
  const rounded = (value: number) => Number(value.toPrecision(4));
  return [...few.times].flatMap(([name, small]) =>
    ([0.5, 0.99] as const).map((part) => {
      const [before, after] = [quantile(small, part), quantile(many.times.get(name)!, part)];
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

function add(times: Map<string, number[]>, name: string, more: readonly number[]): void {
  const list = times.get(name) ?? [];
  list.push(...more);
  times.set(name, list);
}

/** The first read of a store that was just opened: nothing is decoded, the list of segments is there. */
async function cold({ place, rows }: Loaded, entity: number, first: number): Promise<number[]> {
  const times: number[] = [];
  for (let i = 0; i < COLD_READS; i++) {
    const store = await openStore({ ...place.options, mode: "read" });
    await store.head();
    times.push(await read(store, rows, entity, first + i));
    await store.close();
  }
  return times;
}

async function warm({ place, rows }: Loaded, entity: number, first: number): Promise<number[]> {
  const store = await openStore({ ...place.options, mode: "read" });
  const times: number[] = [];
  for (let i = 0; i < WARM_READS; i++) await read(store, rows, entity, first + i);
  for (let i = 0; i < WARM_READS; i++) times.push(await read(store, rows, entity, first + i));
  await store.close();
  return times;
}

async function read(store: LogStore, rows: number, entity: number, i: number): Promise<number> {
  const at = START + Math.floor(((i * 0.618) % 1) * rows) * STEP;
  const from = performance.now();
  await store.asOf(STREAM, [{ entity: [placeName(entity)], at }]);
  return performance.now() - from;
}
