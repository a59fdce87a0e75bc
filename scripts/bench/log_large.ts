import { verifyAudit } from "../../src/audit/verify.ts";
import type { Batch } from "../../src/contract/batch.ts";
import { type LogStore, type OpenOptions, openStore } from "../../src/store/store.ts";
import { less, median, type Result } from "./bench.ts";
import { duckDb } from "./log_duckdb.ts";
import { BARE, bareTable, CLUSTERED, clusteredTable } from "./log_rival.ts";
import {
  BATCH_ROWS,
  batchesOf,
  bytesUnder,
  commitOf,
  inFlight,
  newPlace,
  perSecond,
  STREAM,
  seconds,
} from "./log_rows.ts";

type Tell = (line: string) => void;

const ROUNDS = 3;
const SCANS = 5;
/** Commits that a pipeline of several steps has on their way at once. */
const IN_FLIGHT = 4;
const AUDIT_ROWS_A_SECOND = 1_000_000;

/** What one round of appending found. */
interface Round {
  readonly append: number;
  /** Until all of it is compacted. */
  readonly sustained: number;
  readonly bare: number;
  readonly clustered: number;
  readonly scan: number;
  readonly bareScan: number;
  /** Processor seconds, all threads, to hash all of it again. */
  readonly audit: number;
  readonly kept: number;
  readonly clusteredKept: number;
  /** Processor seconds of ours, all threads. */
  readonly work: number;
}

/** Batches of 64 k rows: append, scan, and bytes at rest. */
export async function large(tell: Tell, rows: number): Promise<Result[]> {
  const batches = batchesOf(rows, BATCH_ROWS);
  const clusteredRows = Math.max(20_000, Math.floor(rows / 10));
  const some = batchesOf(clusteredRows, BATCH_ROWS);
  const rounds: Round[] = [];
  for (let i = 0; i < ROUNDS; i++) {
    const round = await oneRound(batches, rows, some);
    rounds.push(round);
    const rate = (took: number, count = rows) => Math.round(count / took);
    tell(
      `append ${rate(round.append)} rows/s, with all of it compacted ${rate(round.sustained)} ` +
        `(${((round.work / rows) * 1e6).toFixed(2)} us of processor time a row); bare ${rate(round.bare)}, ` +
        `clustered ${rate(round.clustered, clusteredRows)} of ${clusteredRows}; ` +
        `scan ${rate(round.scan)}, bare ${rate(round.bareScan)}; audit ${rate(round.audit)}`,
    );
  }
  const of = (pick: (round: Round) => number) => median(rounds.map(pick));
  const rate = (pick: (round: Round) => number, count = rows) => count / of(pick);
  const scale = `${CLUSTERED}, ${clusteredRows} rows`;
  const [append, bare, scan] = [rate((r) => r.append), rate((r) => r.bare), rate((r) => r.scan)];
  const kept = of((r) => r.kept) / rows;
  const results = [
    perSecond("append, 64 k rows a commit", append, bare, BARE),
    perSecond(
      "append and compact, 64 k rows a commit",
      rate((r) => r.sustained),
      bare,
      BARE,
    ),
    perSecond(
      "append, 64 k rows a commit, clustered",
      append,
      rate((r) => r.clustered, clusteredRows),
      scale,
    ),
    perSecond(
      "sum two columns of a scan",
      scan,
      rate((r) => r.bareScan),
      `${BARE}, by iteration`,
    ),
    perSecond(
      "audit verify, in a second of processor time",
      rate((r) => r.audit),
      AUDIT_ROWS_A_SECOND,
      "what is asked for",
    ),
    less("bytes at rest, compacted", "bytes a row", kept, of((r) => r.clusteredKept) / clusteredRows, scale),
  ];
  return [...results, ...(await besideDuckDb(tell, batches, rows, scan, kept))];
}

async function oneRound(batches: readonly Batch[], rows: number, some: readonly Batch[]): Promise<Round> {
  const place = newPlace();
  try {
    const { directory, options } = place;
    const store = await openStore(options);
    await store.commit({ ...commitOf(batchesOf(1_000, 1_000)[0]!, 0), appends: warmUp() }); // code is warm
    const before = process.cpuUsage();
    const append = await seconds(() =>
      inFlight(batches.length, (i) => store.commit(commitOf(batches[i]!, i + 1)), IN_FLIGHT),
    );
    const settle = await seconds(() => store.compact());
    const { user, system } = process.cpuUsage(before);
    const bare = bareTable(directory);
    const bareAppend = await seconds(() => batches.forEach((batch) => void bare.append(batch)));
    const clustered = clusteredTable(directory);
    const clusteredAppend = await seconds(() => some.forEach((batch) => void clustered.append(batch)));
    const scans: number[] = [];
    const bareScans: number[] = [];
    for (let i = 0; i < SCANS; i++) {
      scans.push(await seconds(() => sumOf(store)));
      bareScans.push(await seconds(() => bare.sum()));
    }
    checkSums(await centsOf(store), bare.cents(), rows);
    await store.close();
    bare.close();
    const audit = await auditSeconds(options, rows);
    return {
      append,
      sustained: append + settle,
      bare: bareAppend,
      clustered: clusteredAppend,
      scan: median(scans),
      bareScan: median(bareScans),
      audit,
      kept: bytesUnder(options.directory),
      clusteredKept: clustered.close(),
      work: (user + system) / 1e6,
    };
  } finally {
    place.remove();
  }
}

async function auditSeconds(options: OpenOptions, rows: number): Promise<number> {
  const store = await openStore({ ...options, thread: false, mode: "read" });
  try {
    const before = process.cpuUsage();
    const report = verifyAudit(store);
    const { user, system } = process.cpuUsage(before);
    if (!report.verified || report.rows < rows) throw new Error(`the audit hashed ${report.rows} rows of ${rows}`);
    return (user + system) / 1e6;
  } finally {
    await store.close();
  }
}

/** Rows of another stream: what is summed later is what was measured. */
const warmUp = () => [{ stream: "curated/warm", batch: batchesOf(1_000, 1_000)[0]! }];

/** The same rows in an encrypted DuckDB file, where there is a DuckDB. */
async function besideDuckDb(tell: Tell, batches: readonly Batch[], rows: number, scan: number, kept: number) {
  const place = newPlace();
  try {
    const duck = await duckDb(tell, place.directory, batches);
    if (!duck) return [];
    const ours = batches.map(batchCents).reduce(addCents);
    checkSums(ours, { rows: duck.rows, reading: duck.readingCents, amount: duck.amountCents }, rows);
    const name = `DuckDB ${duck.version}, encrypted file (its own mbedtls), all its threads`;
    return [
      perSecond("sum two columns of a scan, DuckDB", scan, rows / duck.scanSeconds, name),
      less("bytes at rest, compacted, DuckDB", "bytes a row", kept, duck.bytes / rows, name),
    ];
  } finally {
    place.remove();
  }
}

async function sumOf(store: LogStore): Promise<{ reading: number; amount: number }> {
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

/** Rows and sums in whole hundredths: whole numbers add up exactly in any order. */
interface Cents {
  readonly rows: number;
  readonly reading: number;
  readonly amount: number;
}

const addCents = (a: Cents, b: Cents): Cents => ({
  rows: a.rows + b.rows,
  reading: a.reading + b.reading,
  amount: a.amount + b.amount,
});

function batchCents({ length, columns: [, , readings, , amounts] }: Batch): Cents {
  if (readings?.kind !== "number" || amounts?.kind !== "number") throw new Error("the columns are no numbers");
  let reading = 0;
  let amount = 0;
  for (let i = 0; i < length; i++) {
    reading += Math.round(readings.values[i]! * 100);
    amount += Math.round(amounts.values[i]! * 100);
  }
  return { rows: length, reading, amount };
}

async function centsOf(store: LogStore): Promise<Cents> {
  let sum: Cents = { rows: 0, reading: 0, amount: 0 };
  for await (const { batch } of store.scan(STREAM, { columns: ["reading", "amount"] })) {
    sum = addCents(sum, batchCents(batch));
  }
  return sum;
}

function checkSums(ours: Cents, theirs: Cents, rows: number): void {
  const same = ours.rows === rows && theirs.rows === rows && ours.reading === theirs.reading;
  if (same && ours.amount === theirs.amount) return;
  throw new Error(`the two did not sum the same ${rows} rows: ${JSON.stringify(ours)} and ${JSON.stringify(theirs)}`);
}
