import { systemClock } from "../base/clock.ts";
import { systemRandom } from "../base/random.ts";
import type { KeySettings } from "../keys/registry.ts";
import { failureOf, localChannel, serve } from "./channel.ts";
import { openWriter } from "./writer.ts";

/**
 * The log thread: the entry file of a Worker that owns the store's writer. The first message opens it; the rest are
 * calls of channel.ts. The thread ends when its owner closes the store or goes away.
 */
declare const self: Worker;

export interface OpenMessage {
  readonly directory: string;
  readonly keys: KeySettings;
}

let answer: ReturnType<typeof serve> | undefined;

self.onmessage = (event: MessageEvent) => {
  if (answer) answer(event.data);
  else open(event.data as OpenMessage);
};

async function open({ directory, keys }: OpenMessage): Promise<void> {
  try {
    const writer = await openWriter(directory, keys, systemClock, systemRandom);
    const channel = localChannel(writer);
    answer = serve(
      channel,
      (message) => self.postMessage(message),
      () => channel.close(),
    );
    self.postMessage({ opened: true });
  } catch (cause) {
    self.postMessage({ failure: failureOf(cause) });
  }
}
