import type { Append, CommitRequest, Receipt } from "../../src/store/port.ts";
import type { Sabotage } from "./faults.ts";

/** Each breaks one promise of the log a few times in a run. The checks must notice every one of them. */
export const SABOTAGES: Readonly<Record<string, () => Sabotage>> = {
  "a commit of a source is applied twice": often(
    (request) => request.cursors !== undefined,
    async (request, commit) => {
      await commit(request);
      return commit({ ...request, expect: {} });
    },
  ),
  "rows are kept and the cursor is lost": often(
    (request) => request.cursors !== undefined && request.appends.length > 0,
    ({ cursors: _, ...request }, commit) => commit(request),
  ),
  "the cursor is kept and the curated rows are lost": often(
    (request) => writes(request, "curated/"),
    (request, commit) => commit(without(request, "curated/")),
  ),
  "labels are kept and the position of their reader is lost": often(
    (request) => writes(request, "labels/"),
    ({ readers: _, ...request }, commit) => commit(request),
  ),
  "the reader's position is kept and feature rows are lost": often(
    (request) => writes(request, "features/"),
    (request, commit) => commit(without(request, "features/")),
  ),
  "scores are committed twice": often(
    (request) => writes(request, "scores/"),
    async (request, commit) => {
      await commit(request);
      return commit({ ...request, expect: {} });
    },
  ),
  "the reader's position is kept and scores are lost": often(
    (request) => writes(request, "scores/"),
    (request, commit) => commit(without(request, "scores/")),
  ),
  "a tombstone is kept as a row": often(
    (request) => request.appends.some(({ tombstones }) => tombstones?.includes(1)),
    (request, commit) =>
      commit({ ...request, appends: request.appends.map(({ stream, batch }): Append => ({ stream, batch })) }),
  ),
};

type Act = (request: CommitRequest, commit: (request: CommitRequest) => Promise<Receipt>) => Promise<Receipt>;

/** The second, third and fourth commit that qualify: the first may lie before anything depends on it. */
function often(qualifies: (request: CommitRequest) => boolean, act: Act): () => Sabotage {
  return () => {
    let seen = 0;
    return (request, commit) => {
      if (!qualifies(request)) return commit(request);
      seen++;
      return seen >= 2 && seen <= 4 ? act(request, commit) : commit(request);
    };
  };
}

const writes = (request: CommitRequest, prefix: string): boolean =>
  request.appends.some(({ stream }) => stream.startsWith(prefix));

const without = (request: CommitRequest, prefix: string): CommitRequest => ({
  ...request,
  appends: request.appends.filter(({ stream }) => !stream.startsWith(prefix)),
});
