/** Lets whatever else waits in this thread have a turn: for work that is long, and may be in the thread that serves. */
export const othersTurn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
