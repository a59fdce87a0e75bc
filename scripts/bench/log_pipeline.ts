import { systemClock } from "../../src/base/clock.ts";
import { systemRandom } from "../../src/base/random.ts";
import type { KeySettings } from "../../src/keys/registry.ts";
import { connectStore } from "../../src/store/store.ts";
import { batchesOf, commitOf } from "./log_rows.ts";

/** The entry file of a thread that commits as fast as it is acknowledged, until it is told to stop. */
declare const self: Worker;

export interface PipelineMessage {
  readonly directory: string;
  readonly keys: KeySettings;
  readonly port: MessagePort;
  readonly rowsACommit: number;
}

const BATCHES = 16;
let stopped = false;

self.onmessage = async (event: MessageEvent) => {
  if (event.data === "stop") {
    stopped = true;
    return;
  }
  const { directory, keys, port, rowsACommit } = event.data as PipelineMessage;
  const store = await connectStore({ directory, keys, clock: systemClock, random: systemRandom }, port);
  const batches = batchesOf(rowsACommit * BATCHES, rowsACommit);
  self.postMessage("started");
  let commits = 0;
  while (!stopped) {
    await store.commit(commitOf(batches[commits % batches.length]!, commits));
    commits++;
  }
  self.postMessage({ rows: commits * rowsACommit });
  await store.close();
};
