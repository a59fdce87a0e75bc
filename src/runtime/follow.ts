import { invariant } from "../base/errors.ts";
import { type Pace, pace } from "../base/turn.ts";
import type { Store, StoredRows } from "../store/port.ts";

/** A commit of more rows goes into the index by steps, between which requests may have a turn. */
const LARGE_COMMIT = 256;
const STEP_ROWS = 32;
const ROWS_A_PAGE = 4_096;

/** What a follower of the log does with what it reads. */
export interface Following {
  readonly store: Pick<Store, "tail">;
  readonly streams: readonly string[];
  /** Whether rows of that stream go into the index. */
  indexed(stream: string): boolean;
  apply(stored: StoredRows, from: number, to: number): void;
  /** Called once for the rows of each commit and stream, when the whole commit is in the index. */
  folded(stored: StoredRows): void;
  /** Whether the rows deploy a model. */
  deploys(stored: StoredRows): boolean;
  deploy(): Promise<void>;
  /** When others have a turn; by the time it takes, where nothing is said. */
  readonly steps?: Pace;
}

export interface FollowState {
  /** The last commit that is folded whole: the cutoff of answers. */
  position: number;
  /** While a commit is in the index in part: resolves when it is there whole. Answers wait for it. */
  folding: Promise<void> | undefined;
  /** A deployment was read and is not yet followed. */
  deployPending: boolean;
}

export const followState = (position: number): FollowState => ({
  position,
  folding: undefined,
  deployPending: false,
});

/**
 * Folds the next page of the log; answers the head that it saw. Where it throws, the position says what is folded, and
 * calling again goes on from there: no commit is folded or counted twice, and no deployment is passed over.
 */
export async function followPage(following: Following, state: FollowState): Promise<number> {
  const page = await following.store.tail(state.position, following.streams, ROWS_A_PAGE);
  const steps = following.steps ?? pace();
  for (let from = 0; from < page.rows.length; ) {
    const commitNo = commitOf(page.rows[from]!);
    let to = from + 1;
    while (to < page.rows.length && commitOf(page.rows[to]!) === commitNo) to++;
    await foldCommit(following, state, page.rows.slice(from, to), steps);
    from = to;
    if (steps.due()) await steps.turn();
  }
  state.position = page.upTo;
  // At the end only: a model that can't be loaded now must not keep the index from catching up.
  if (state.deployPending && page.upTo === page.head.commitNo) {
    await following.deploy();
    state.deployPending = false;
  }
  return page.head.commitNo;
}

const commitOf = (stored: StoredRows): number => {
  const commitNo = stored.commitNos[0];
  invariant(commitNo !== undefined, "a page holds no part without rows");
  return commitNo;
};

/**
 * One commit: at once where it is small; in slices where it is large, and answers wait meanwhile, since a position can't
 * say that half a commit was seen.
 */
async function foldCommit(
  following: Following,
  state: FollowState,
  parts: readonly StoredRows[],
  steps: Pace,
): Promise<void> {
  const indexed = parts.filter(({ stream }) => following.indexed(stream));
  const rows = indexed.reduce((sum, { batch }) => sum + batch.length, 0);
  const { promise, resolve } = Promise.withResolvers<void>();
  try {
    if (rows > LARGE_COMMIT) {
      state.folding = promise;
      await applyInSteps(following, indexed, steps);
    } else for (const stored of indexed) following.apply(stored, 0, stored.batch.length);
    for (const stored of parts) {
      following.folded(stored);
      if (following.deploys(stored)) state.deployPending = true;
    }
    state.position = commitOf(parts[0]!);
  } finally {
    // Only now: who waited must find the position of what is in the index.
    state.folding = undefined;
    resolve();
  }
}

async function applyInSteps(following: Following, parts: readonly StoredRows[], steps: Pace): Promise<void> {
  for (const stored of parts) {
    for (let at = 0; at < stored.batch.length; at += STEP_ROWS) {
      following.apply(stored, at, Math.min(at + STEP_ROWS, stored.batch.length));
      if (steps.due()) await steps.turn();
    }
  }
}
