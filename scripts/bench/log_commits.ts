import { type LogStore, openStore } from "../../src/store/store.ts";
import { less, type Result } from "./bench.ts";
import type { PipelineMessage } from "./log_pipeline.ts";
import { batchesOf, bytesUnder, bytesWritten, commitOf, newPlace, quantile, seconds } from "./log_rows.ts";

type Tell = (line: string) => void;

const PIPELINE_ROWS = 8_192;
const ROUNDS = 5;
/** A one-row commit may wait this many times as long while a pipeline commits. */
const SLOWER_AT_MOST = 3;

/** Acknowledgements of one-row commits alone, and beside another thread that commits as fast as it can, in turns. */
export async function acknowledgements(tell: Tell, count: number): Promise<Result[]> {
  const place = newPlace();
  try {
    const store = await openStore(place.options);
    const { options } = place;
    const worker = new Worker(new URL("./log_pipeline.ts", import.meta.url));
    const port = store.port();
    const message: PipelineMessage = {
      directory: options.directory,
      keys: options.keys as PipelineMessage["keys"],
      port,
      rowsACommit: PIPELINE_ROWS,
    };
    await answerOf(worker, () => worker.postMessage(message, [port]));
    await oneRowCommits(store, 100); // code is warm
    const idle: number[] = [];
    const busy: number[] = [];
    let rows = 0;
    let took = 0;
    for (let round = 0; round < ROUNDS; round++) {
      idle.push(...(await oneRowCommits(store, Math.ceil(count / ROUNDS))));
      await answerOf(worker, () => worker.postMessage("go"));
      took += await seconds(async () => busy.push(...(await oneRowCommits(store, Math.ceil(count / ROUNDS)))));
      rows += ((await answerOf(worker, () => worker.postMessage("pause"))) as { rows: number }).rows;
    }
    await answerOf(worker, () => worker.postMessage("stop"));
    worker.terminate();
    await store.close();
    tell(`beside the one-row commits: ${Math.round(rows / took)} rows/s in commits of ${PIPELINE_ROWS}`);
    const at = (values: readonly number[], part: number) => quantile(values, part);
    const said = (values: readonly number[]) =>
      `p50 ${at(values, 0.5).toFixed(3)} p90 ${at(values, 0.9).toFixed(3)} p99 ${at(values, 0.99).toFixed(3)} ms`;
    tell(`one-row commit: idle ${said(idle)}; beside a pipeline ${said(busy)}; ${idle.length} of each`);
    const bound = at(idle, 0.99) * SLOWER_AT_MOST;
    const name = `${SLOWER_AT_MOST} times ours, idle, p99`;
    return [less("one-row commit beside a pipeline, p99", "ms", at(busy, 0.99), bound, name)];
  } finally {
    place.remove();
  }
}

/** The next message of a worker, once it was asked. */
export function answerOf(worker: Worker, ask: () => void): Promise<unknown> {
  return new Promise((resolve, reject) => {
    worker.onmessage = (event: MessageEvent) => resolve(event.data);
    worker.onerror = (event) => reject(new Error(event.message));
    ask();
  });
}

/** Milliseconds of each acknowledgement. */
async function oneRowCommits(store: LogStore, count: number): Promise<number[]> {
  const batches = batchesOf(count, 1, 1e8);
  const times: number[] = [];
  for (let i = 0; i < count; i++) {
    const from = performance.now();
    await store.commit({ ...commitOf(batches[i]!, i), priority: "score" });
    times.push(performance.now() - from);
  }
  return times;
}

const BYTES_AT_MOST: Readonly<Record<number, number>> = { 1: 6 * 1024, 100: 20 * 1024 };
const AMPLIFICATION_AT_MOST: Readonly<Record<number, number>> = { 100: 16, 1000: 6 };

/** What reaches the disk: of one durable commit by itself, and in the long run with compaction. */
export async function written(tell: Tell, rows: number): Promise<Result[]> {
  const results: Result[] = [];
  for (const size of [1, 100]) {
    const bytes = await bytesACommit(size, 200);
    tell(
      `${size}-row commit: ${bytes.toFixed(0)} bytes written; one a second: ${((bytes * 86_400) / 1e9).toFixed(2)} GB a day`,
    );
    results.push(less(`bytes written by a ${size}-row commit`, "bytes", bytes, BYTES_AT_MOST[size]!, "the bound"));
  }
  for (const size of [100, 1_000]) {
    const { amplification, perCommit } = await sustained(size, Math.max(size * 600, Math.floor(rows / 10)));
    const day = ((perCommit * 86_400) / 1e9).toFixed(2);
    tell(
      `${size}-row commits, compacted: ${amplification.toFixed(1)} bytes written a byte kept; ${day} GB a day at one a second`,
    );
    results.push(
      less(
        `bytes written a byte kept, ${size}-row commits`,
        "times",
        amplification,
        AMPLIFICATION_AT_MOST[size]!,
        "the bound",
      ),
    );
  }
  return results;
}

/** In a tail that is not compacted meanwhile. */
async function bytesACommit(size: number, commits: number): Promise<number> {
  const place = newPlace();
  try {
    const store = await openStore(place.options);
    const batches = batchesOf(commits * size, size);
    await store.commit(commitOf(batches[0]!, 0));
    const before = bytesWritten();
    for (let i = 1; i < commits; i++) await store.commit(commitOf(batches[i]!, i));
    const bytes = bytesWritten() - before;
    await store.close();
    return bytes / (commits - 1);
  } finally {
    place.remove();
  }
}

async function sustained(size: number, rows: number): Promise<{ amplification: number; perCommit: number }> {
  const place = newPlace();
  try {
    const store = await openStore(place.options);
    const before = bytesWritten();
    const batches = batchesOf(rows, size);
    for (let i = 0; i < batches.length; i++) await store.commit(commitOf(batches[i]!, i));
    await store.compact();
    await store.close();
    const bytes = bytesWritten() - before;
    return { amplification: bytes / bytesUnder(place.options.directory), perCommit: bytes / batches.length };
  } finally {
    place.remove();
  }
}
