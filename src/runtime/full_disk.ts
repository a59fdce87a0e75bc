import { isFull } from "../store/full.ts";
import { interrupted } from "../store/pending.ts";

/** What a full disk refused is tried again after so long, then twice as long, up to the second. */
const FIRST_AGAIN_MS = 1_000;
const LONGEST_AGAIN_MS = 60_000;

/** Tries what a full disk refused again until it is done or fails otherwise. Throws store.interrupted once `stopped`. */
export async function onceThereIsRoom<T>(act: () => Promise<T>, stopped: () => boolean): Promise<T> {
  for (let waitMs = FIRST_AGAIN_MS; ; waitMs = Math.min(LONGEST_AGAIN_MS, waitMs * 2)) {
    await new Promise<void>((resolve) => void setTimeout(resolve, waitMs).unref());
    if (stopped()) throw interrupted();
    try {
      return await act();
    } catch (cause) {
      if (!isFull(cause)) throw cause;
    }
  }
}
