import { storeErrors } from "./errors.ts";
import type { Receipt } from "./port.ts";
import type { EncodedCommit } from "./record.ts";

/** Bytes of records in one transaction, about: a larger one would keep others waiting. */
const TRANSACTION_BYTES = 1 << 20;
/** The same where scores wait. */
const BESIDE_SCORES_BYTES = 64 << 10;
/** One SQLite blob can't be larger than about 1 GB; a commit should be far below. */
const LARGEST_RECORD = 256 << 20;

export interface Queued {
  readonly request: EncodedCommit;
  resolve(receipt: Receipt): void;
  reject(error: unknown): void;
}

/** Requests that wait for their group. One group runs at a time, and others have a turn between groups. */
export function commitQueue(run: (group: readonly Queued[]) => void) {
  const scores: Queued[] = [];
  const others: Queued[] = [];
  let scheduled = false;
  let passed = false; // the last group left others waiting
  let closing: (() => void) | undefined;
  let held = false;
  const empty = () => scores.length + others.length === 0;
  const schedule = () => {
    if (scheduled || held) return;
    scheduled = true;
    setImmediate(() => {
      scheduled = false;
      if (held) return;
      const group = takeGroup(scores, others, passed);
      passed = !passed && others.length > 0;
      run(group);
      if (empty()) closing?.();
      else schedule();
    });
  };
  return {
    add(request: EncodedCommit): Promise<Receipt> {
      if (closing) return Promise.reject(storeErrors.error("closed", "the store is closed"));
      if (request.record.length > LARGEST_RECORD) {
        const message = `a commit of ${request.record.length} bytes is over the limit of ${LARGEST_RECORD}`;
        return Promise.reject(storeErrors.error("too_large", message));
      }
      return new Promise((resolve, reject) => {
        (request.score ? scores : others).push({ request, resolve, reject });
        schedule();
      });
    },
    /** What is queued, and what comes, waits until the answer is called. */
    hold(): () => void {
      held = true;
      return () => {
        held = false;
        if (!empty()) schedule();
      };
    },
    drain: (): Promise<void> =>
      new Promise((resolve) => {
        closing = resolve;
        if (empty()) resolve();
      }),
  };
}

/**
 * Scores first, then in order of arrival, up to about one megabyte and at least one. Where scores wait, little else goes
 * with them, for they would wait for its bytes; `fair` lets the others come first, so that they are not held up for ever.
 */
function takeGroup(scores: Queued[], others: Queued[], fair: boolean): Queued[] {
  const group: Queued[] = [];
  let bytes = 0;
  const most = scores.length > 0 && !fair ? BESIDE_SCORES_BYTES : TRANSACTION_BYTES;
  for (const queue of fair ? [others, scores] : [scores, others]) {
    let count = 0;
    while (count < queue.length) {
      const next = queue[count]!.request.record.length;
      if (group.length + count > 0 && bytes + next > (queue === scores ? TRANSACTION_BYTES : most)) break;
      bytes += next;
      count++;
    }
    group.push(...queue.splice(0, count));
  }
  return group;
}
