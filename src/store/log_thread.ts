import { errorOf, remoteChannel, type WriteChannel } from "./channel.ts";
import { storeErrors } from "./errors.ts";
import type { OpenMessage } from "./log_worker.ts";

/** Starts the log thread and opens the store in it. Throws what `openWriter` throws there. */
export async function startLogThread(message: OpenMessage, workerUrl?: string | URL): Promise<WriteChannel> {
  // Written out here, so that the bundler finds the entry file.
  const worker = workerUrl ? new Worker(workerUrl) : new Worker(new URL("./log_worker.ts", import.meta.url));
  const remote = remoteChannel(worker, async () => worker.terminate());
  return new Promise<WriteChannel>((resolve, reject) => {
    const ended = (why: string) => {
      const cause = storeErrors.error("writer_ended", `the log thread ended: ${why}`);
      remote.ended(cause);
      reject(cause);
    };
    worker.onerror = (event) => ended(event.message);
    worker.addEventListener("close", () => ended("it stopped by itself"));
    worker.onmessage = (event: MessageEvent) => {
      if (event.data.opened) {
        worker.onmessage = (later: MessageEvent) => remote.receive(later.data);
        resolve(remote.channel);
        return;
      }
      worker.terminate();
      reject(errorOf(event.data.failure));
    };
    worker.postMessage(message);
  });
}
