import { systemClock } from "../../src/base/clock.ts";
import { systemRandom } from "../../src/base/random.ts";
import type { KeySettings } from "../../src/keys/registry.ts";
import { giveWay } from "../../src/store/priority.ts";
import { connectStore } from "../../src/store/store.ts";
import { batchesOf, commitOf } from "./log_rows.ts";

/** The entry file of a thread that commits as fast as it is acknowledged, while it may. */
declare const self: Worker;

export interface PipelineMessage {
  readonly directory: string;
  readonly keys: KeySettings;
  readonly port: MessagePort;
  readonly rowsACommit: number;
}

const BATCHES = 16;
const NICE = 5; // as in src/pipeline_worker.ts
let running: Promise<number> | undefined;
let paused = false;
let commit: (index: number) => Promise<unknown>;
let close: () => Promise<void>;

/** A message opens the store; then "go", "pause" (answered with the rows committed meanwhile) and "stop". */
self.onmessage = async (event: MessageEvent) => {
  if (event.data === "go") {
    paused = false;
    running = run();
    self.postMessage("going");
  } else if (event.data === "pause") {
    paused = true;
    self.postMessage({ rows: await running });
  } else if (event.data === "stop") {
    await close();
    self.postMessage("stopped");
  } else {
    await open(event.data as PipelineMessage);
    self.postMessage("opened");
  }
};

let rows = 0;

async function open({ directory, keys, port, rowsACommit }: PipelineMessage): Promise<void> {
  giveWay(NICE);
  const store = await connectStore({ directory, keys, clock: systemClock, random: systemRandom }, port);
  const batches = batchesOf(rowsACommit * BATCHES, rowsACommit);
  rows = rowsACommit;
  commit = (index) => store.commit(commitOf(batches[index % BATCHES]!, index));
  close = () => store.close();
}

async function run(): Promise<number> {
  let commits = 0;
  while (!paused) await commit(commits++);
  return commits * rows;
}
