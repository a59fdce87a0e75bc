import { systemClock } from "../base/clock.ts";
import { systemRandom } from "../base/random.ts";
import type { KeySettings } from "../keys/registry.ts";
import { failureOf, localChannel, serve } from "./channel.ts";
import { handsInThread } from "./compact_thread.ts";
import type { Keys } from "./sealer.ts";
import type { SpaceSettings } from "./space.ts";
import { openWriter } from "./writer.ts";

/**
 * The log thread: the entry file of a Worker that owns the store's writer. The first message opens it; the rest are
 * calls of channel.ts. The thread ends when its owner closes the store or goes away.
 */
declare const self: Worker;

export interface OpenMessage {
  readonly directory: string;
  readonly keys: KeySettings;
  readonly space?: SpaceSettings | undefined;
  /** The entry file of the compaction thread; by default the one beside this file. */
  readonly compactorUrl?: string | URL | undefined;
}

let answer: ReturnType<typeof serve> | undefined;

self.onmessage = (event: MessageEvent) => {
  if (answer) answer(event.data);
  else open(event.data as OpenMessage);
};

async function open({ directory, keys, space, compactorUrl }: OpenMessage): Promise<void> {
  try {
    const url = compactorUrl ?? new URL("./compact_worker.ts", import.meta.url);
    const makeHands = (now: () => Keys) => handsInThread(directory, now as () => KeySettings, url);
    const writer = await openWriter(directory, keys, systemClock, systemRandom, { space, makeHands });
    const channel = localChannel(writer);
    self.postMessage({ opened: true }); // before anything that serving tells at once
    answer = serve(
      channel,
      (message) => self.postMessage(message),
      () => channel.close(),
    );
  } catch (cause) {
    self.postMessage({ failure: failureOf(cause) });
  }
}
