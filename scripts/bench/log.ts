import type { CommitRequest } from "../../src/store/port.ts";
import { type LogStore, openStore } from "../../src/store/store.ts";
import { type Bench, median, type Result } from "./bench.ts";
import { acknowledgements, answerOf, written } from "./log_commits.ts";
import { large } from "./log_large.ts";
import { asOfReads } from "./log_reads.ts";
import { BARE, bareTable } from "./log_rival.ts";
import { batchesOf, commitOf, inFlight, newPlace, perSecond, quantile, seconds } from "./log_rows.ts";

type Tell = (line: string) => void;

const ROWS = 3_000_000;
const FAR_FROM = 1_000_000;
const FAR_TO = 30_000_000;
const SMALL_ROUNDS = 20;
/** 100-row commits on their way: as of few clients that push rows, and of many. */
const FEW = 4;
const MANY = 16;
const MESSAGES = 2_000;

/**
 * The sealed log as the pipeline uses it: every commit carries a run of lineage, a cursor and a position, is hashed into
 * the audit tree, sealed and acknowledged by the log thread at synchronous=FULL. Rows are made before the clock starts.
 * Ours and the rival take turns, and the figures are medians of the rounds. `--rows N` scales the work (the clustered
 * table gets a tenth, and its rate counts). `--far` compares as-of reads at 1 M and at 30 M rows, whatever N.
 */
export const log: Bench = async (tell, flags) => {
  const rows = flags.rows ?? ROWS;
  const results: Result[] = [];
  results.push(...(await large(tell, rows)));
  results.push(...(await small(tell, Math.max(120_000, Math.floor(rows / 15)))));
  const reads = flags.far ? [FAR_FROM, FAR_TO] : [Math.max(1, Math.floor(rows / 3))];
  results.push(...(await asOfReads(tell, reads)));
  results.push(...(await acknowledgements(tell, Math.min(2_000, Math.max(500, Math.floor(rows / 1_500))))));
  results.push(...(await written(tell, rows)));
  return results;
};

/**
 * Commits of 100 rows: one after another, the same with the writer in the committing thread, and with few and many on their way.
 * Either way a thread of its own compacts, as in a server.
 * The first rounds are not counted: whoever commits 100 rows at a time does it for days.
 */
async function small(tell: Tell, rows: number): Promise<Result[]> {
  const [threaded, local, rival] = [newPlace(), newPlace(), newPlace()];
  try {
    const requests = batchesOf(rows, 100).map((batch, i) => ({ batch, request: commitOf(batch, i) }));
    const part = Math.floor(requests.length / SMALL_ROUNDS);
    const store = await openStore(threaded.options);
    const compactorUrl = new URL("../../src/store/compact_worker.ts", import.meta.url);
    const own = await openStore({ ...local.options, thread: false, compactorUrl });
    const bare = bareTable(rival.directory);
    const times = {
      alone: [] as number[],
      inThread: [] as number[],
      few: [] as number[],
      grouped: [] as number[],
      bare: [] as number[],
    };
    for (let round = 0; round < SMALL_ROUNDS; round++) {
      const now = requests.slice(round * part, (round + 1) * part);
      times.alone.push(await oneByOne(store, now));
      times.bare.push(await seconds(() => now.forEach(({ batch }) => void bare.append(batch))));
      times.few.push(await seconds(() => inFlight(part, (i) => store.commit(now[i]!.request), FEW)));
      times.grouped.push(await seconds(() => inFlight(part, (i) => store.commit(now[i]!.request), MANY)));
      times.inThread.push(await oneByOne(own, now));
    }
    await store.close();
    await own.close();
    bare.close();
    const rate = (took: readonly number[]) => (part * 100) / median(took.slice(SMALL_ROUNDS / 4));
    const line = (name: string, took: readonly number[]) =>
      perSecond(`append, 100 rows a commit, ${name}`, rate(took), rate(times.bare), BARE);
    const said = Object.entries(times).map(([name, took]) => `${name} ${Math.round(rate(took))}`);
    tell(`100-row commits, rows/s: ${said.join(", ")}; medians of ${SMALL_ROUNDS} rounds of ${part}`);
    tell(`a message to another thread and back: ${await roundTrip()}; what a commit waits for beside its work`);
    return [
      line("one by one", times.alone),
      line("one by one, no log thread", times.inThread),
      line(`${FEW} in flight`, times.few),
      line(`${MANY} in flight`, times.grouped),
    ];
  } finally {
    for (const place of [threaded, local, rival]) place.remove();
  }
}

const oneByOne = (store: LogStore, requests: readonly { readonly request: CommitRequest }[]): Promise<number> =>
  seconds(async () => {
    for (const { request } of requests) await store.commit(request);
  });

/** How long a message to another thread and its answer take: much longer where a core must be woken for each. */
async function roundTrip(): Promise<string> {
  const worker = new Worker(new URL("./log_echo.ts", import.meta.url));
  try {
    const times: number[] = [];
    for (let i = 0; i < MESSAGES; i++) {
      const from = performance.now();
      await answerOf(worker, () => worker.postMessage(i));
      times.push(performance.now() - from);
    }
    return `p50 ${quantile(times, 0.5).toFixed(3)} p90 ${quantile(times, 0.9).toFixed(3)} ms`;
  } finally {
    worker.terminate();
  }
}
