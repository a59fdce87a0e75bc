/** A part of a running server that is to end. */
export interface Stopping {
  readonly name: string;
  /** Ends it in order: what is under way is finished first. */
  stop(): Promise<void>;
  /** Ends it at once: called where it did not end in time. */
  leave(): void;
}

/**
 * Ends one part after another, each within `waitMs`. What is under way then is left: every commit is whole or not there, and
 * the next start goes on from the last. Answers the names of those that were left. Throws what a part throws while it stops.
 */
export async function stopInTurn(parts: readonly Stopping[], waitMs: number): Promise<string[]> {
  const left: string[] = [];
  for (const { name, stop, leave } of parts) {
    if (await endsWithin(stop(), waitMs)) continue;
    left.push(name);
    leave();
  }
  return left;
}

async function endsWithin(ending: Promise<void>, waitMs: number): Promise<boolean> {
  const late = Promise.withResolvers<boolean>();
  const timer = setTimeout(() => late.resolve(false), waitMs);
  ending.catch(() => {}); // one that fails after it was left is no news
  try {
    return await Promise.race([ending.then(() => true), late.promise]);
  } finally {
    clearTimeout(timer);
  }
}
