import { openStore } from "../../src/store/store.ts";
import { type Bench, less, more, type Result } from "./bench.ts";
import { acknowledgements, written } from "./log_commits.ts";
import { asOfReads } from "./log_reads.ts";
import { bareTable, clusteredTable } from "./log_rival.ts";
import { BATCH_ROWS, batchesOf, bytesUnder, commitOf, newPlace, type Place, STREAM, seconds } from "./log_rows.ts";

type Tell = (line: string) => void;

const ROWS = 3_000_000;
const BARE = "bare bun:sqlite, unsealed, unindexed, WAL, synchronous=FULL";
const CLUSTERED = "a clustered table of sealed rows, WAL, synchronous=FULL";
/** Commits that a pipeline of several steps has on their way at once. */
const IN_FLIGHT = 4;

/**
 * The sealed log as the pipeline uses it: every commit carries a run of lineage, a cursor and a position, is hashed into
 * the audit tree, sealed and acknowledged by the log thread at synchronous=FULL. Rows are made before the clock starts.
 * `--rows N` scales the work (the clustered table gets a tenth, and its rate counts); `--far` repeats the as-of reads
 * at 30 times as many rows.
 */
export const log: Bench = async (tell, flags) => {
  const rows = flags.rows ?? ROWS;
  const results: Result[] = [];
  const place = newPlace();
  try {
    results.push(...(await large(tell, place, rows)));
  } finally {
    place.remove();
  }
  results.push(...(await small(tell, Math.max(20_000, Math.floor(rows / 15)))));
  results.push(...(await asOfReads(tell, Math.max(1, Math.floor(rows / 3)), flags.far ? rows * 10 : undefined)));
  results.push(...(await acknowledgements(tell, Math.min(2_000, Math.max(300, Math.floor(rows / 1_500))))));
  results.push(...(await written(tell, rows)));
  return results;
};

/** Batches of 64 k rows: append, scan, and bytes at rest. */
async function large(tell: Tell, { directory, options }: Place, rows: number): Promise<Result[]> {
  const batches = batchesOf(rows, BATCH_ROWS);
  const store = await openStore(options);
  await store.commit(commitOf(batchesOf(1_000, 1_000)[0]!, 0)); // names and code are warm
  const append = await seconds(() => inFlight(batches.length, (i) => store.commit(commitOf(batches[i]!, i + 1))));
  const settle = await seconds(() => store.compact());
  tell(`append ${Math.round(rows / append)} rows/s; with all of it compacted ${Math.round(rows / (append + settle))}`);
  const bare = bareTable(directory);
  const bareAppend = await seconds(() => batches.forEach((batch) => void bare.append(batch)));
  tell(`bare append ${Math.round(rows / bareAppend)} rows/s`);
  const clusteredRows = Math.max(20_000, Math.floor(rows / 10));
  const clustered = clusteredTable(directory);
  const some = batchesOf(clusteredRows, BATCH_ROWS);
  const clusteredAppend = await seconds(() => some.forEach((batch) => void clustered.append(batch)));
  tell(`clustered append ${Math.round(clusteredRows / clusteredAppend)} rows/s, of ${clusteredRows} rows`);
  let scanned = { reading: 0, amount: 0 };
  const scan = await seconds(async () => {
    scanned = await sumOf(store);
  });
  let bareSum = { reading: 0, amount: 0 };
  const bareScan = await seconds(() => {
    bareSum = bare.sum();
  });
  checkSums(scanned, bareSum, rows);
  await store.close();
  bare.close();
  const clusteredKept = clustered.close();
  const kept = bytesUnder(options.directory) / rows;
  const scale = `, ${clusteredRows} rows`;
  return [
    more("append, 64 k rows a commit", "rows/s", rows / append, rows / bareAppend, BARE),
    more("append and compact, 64 k rows a commit", "rows/s", rows / (append + settle), rows / bareAppend, BARE),
    more(
      "append, 64 k rows a commit, clustered",
      "rows/s",
      rows / append,
      clusteredRows / clusteredAppend,
      CLUSTERED + scale,
    ),
    more("sum two columns of a scan", "rows/s", rows / scan, rows / bareScan, `${BARE}, by iteration`),
    less("bytes at rest, compacted", "bytes a row", kept, clusteredKept / clusteredRows, CLUSTERED + scale),
  ];
}

/** Commits of 100 rows, one after another and with several on their way. */
async function small(tell: Tell, rows: number): Promise<Result[]> {
  const place = newPlace();
  try {
    const batches = batchesOf(rows, 100);
    const half = batches.length >> 1;
    const store = await openStore(place.options);
    await store.commit(commitOf(batches[0]!, 0));
    const alone = await seconds(async () => {
      for (let i = 0; i < half; i++) await store.commit(commitOf(batches[i]!, i));
    });
    const grouped = await seconds(() =>
      inFlight(half, (i) => store.commit(commitOf(batches[half + i]!, half + i)), 16),
    );
    await store.close();
    const bare = bareTable(place.directory);
    const bareTook = await seconds(() => batches.forEach((batch) => void bare.append(batch)));
    bare.close();
    const rate = (took: number) => (half * 100) / took;
    tell(`100-row commits: one by one ${Math.round(rate(alone))} rows/s, 16 in flight ${Math.round(rate(grouped))}`);
    return [
      more("append, 100 rows a commit, one by one", "rows/s", rate(alone), rows / bareTook, BARE),
      more("append, 100 rows a commit, 16 in flight", "rows/s", rate(grouped), rows / bareTook, BARE),
    ];
  } finally {
    place.remove();
  }
}

/** Runs `count` pieces of work in order, at most `most` of them not finished. */
async function inFlight(count: number, work: (i: number) => Promise<unknown>, most = IN_FLIGHT): Promise<void> {
  let next = 0;
  const worker = async () => {
    while (next < count) await work(next++);
  };
  await Promise.all(Array.from({ length: most }, worker));
}

async function sumOf(store: Awaited<ReturnType<typeof openStore>>): Promise<{ reading: number; amount: number }> {
  let reading = 0;
  let amount = 0;
  for await (const { batch } of store.scan(STREAM, { columns: ["reading", "amount"] })) {
    const [, , readings, , amounts] = batch.columns;
    if (readings?.kind !== "number" || amounts?.kind !== "number") throw new Error("the columns are no numbers");
    for (let i = 0; i < batch.length; i++) {
      reading += readings.values[i]!;
      amount += amounts.values[i]!;
    }
  }
  return { reading, amount };
}

function checkSums(ours: { reading: number }, theirs: { reading: number }, rows: number): void {
  // Ours has the thousand rows that warmed it up too.
  const limit = 1_000 * 1_000 + rows * 1e-6;
  if (Math.abs(ours.reading - theirs.reading) > limit) {
    throw new Error(`the two did not sum the same rows: ${ours.reading} and ${theirs.reading}`);
  }
}
