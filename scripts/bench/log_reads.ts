import { type LogStore, openStore } from "../../src/store/store.ts";
import type { Result } from "./bench.ts";
import {
  BATCH_ROWS,
  batchesOf,
  commitOf,
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
const COLD_READS = 40;
const WARM_READS = 400;

interface Times {
  readonly p50: number;
  readonly p99: number;
}
type Figures = Readonly<Record<string, Times>>;

/** As-of reads of single rows. With `more` rows than `few`, how much they grow. */
export async function asOfReads(tell: Tell, few: number, more: number | undefined): Promise<Result[]> {
  const small = await figuresOf(tell, few);
  if (more === undefined) return [];
  const large = await figuresOf(tell, more);
  return Object.entries(small).flatMap(([name, times]) =>
    (["p50", "p99"] as const).map((part) => ({
      name: `as-of ${name}, ${part}, at ${more} rows`,
      ours: Number(large[name]![part].toPrecision(4)),
      rival: Number(times[part].toPrecision(4)),
      rival_name: `ours at ${few} rows`,
      unit: "ms",
      ratio: Number((times[part] / large[name]![part]).toPrecision(4)),
    })),
  );
}

async function figuresOf(tell: Tell, rows: number): Promise<Figures> {
  const place = newPlace();
  try {
    const store = await openStore(place.options);
    let index = 0;
    for (let from = 0; from < rows; from += BATCH_ROWS) {
      const [batch] = batchesOf(Math.min(BATCH_ROWS, rows - from), BATCH_ROWS, from);
      await store.commit(commitOf(batch!, index++));
    }
    await store.compact();
    await store.close();
    const figures: Record<string, Times> = {};
    for (const [name, entity] of Object.entries(ENTITIES)) {
      figures[`${name}, cold`] = await cold(place, rows, entity);
      figures[`${name}, warm`] = await warm(place, rows, entity);
    }
    for (const [name, { p50, p99 }] of Object.entries(figures)) {
      tell(`as-of ${name}, ${rows} rows: p50 ${p50.toFixed(3)} p99 ${p99.toFixed(3)} ms`);
    }
    return figures;
  } finally {
    place.remove();
  }
}

/** The first read of a store that was just opened: nothing is decoded, the list of segments is there. */
async function cold(place: Place, rows: number, entity: number): Promise<Times> {
  const times: number[] = [];
  for (let i = 0; i < COLD_READS; i++) {
    const store = await openStore({ ...place.options, mode: "read" });
    await store.head();
    times.push(await read(store, rows, entity, i));
    await store.close();
  }
  return { p50: quantile(times, 0.5), p99: quantile(times, 0.99) };
}

async function warm(place: Place, rows: number, entity: number): Promise<Times> {
  const store = await openStore({ ...place.options, mode: "read" });
  const times: number[] = [];
  for (let i = 0; i < WARM_READS; i++) await read(store, rows, entity, i);
  for (let i = 0; i < WARM_READS; i++) times.push(await read(store, rows, entity, i));
  await store.close();
  return { p50: quantile(times, 0.5), p99: quantile(times, 0.99) };
}

async function read(store: LogStore, rows: number, entity: number, i: number): Promise<number> {
  const at = START + Math.floor(((i * 0.618) % 1) * rows) * STEP;
  const from = performance.now();
  await store.asOf(STREAM, [{ entity: [placeName(entity)], at }]);
  return performance.now() - from;
}
