import { leafOf } from "../store/record.ts";
import { readAgain } from "../store/replaced.ts";
import { bySequence } from "../store/segment_files.ts";
import { STATEMENTS, statedCommits } from "../store/statements.ts";
import type { LogStore } from "../store/store.ts";
import { auditErrors } from "./errors.ts";
import { inclusionPath } from "./proofs.ts";

export interface InclusionProof {
  readonly commitNo: number;
  /** How many commits the tree has. */
  readonly size: number;
  readonly leaf: Uint8Array;
  /** Siblings from the leaf to the root. */
  readonly path: readonly Uint8Array[];
}

/**
 * Shows that a commit is in the tree as it stands, without showing anything else. Reads the statements of all commits
 * and holds 32 bytes for each. Throws audit.no_such_commit.
 */
export function inclusionProof(store: LogStore, commitNo: number): InclusionProof {
  const leaves = leavesOf(store);
  const leaf = leaves[commitNo - 1];
  if (!leaf) throw auditErrors.error("no_such_commit", `there is no commit ${commitNo}; the log has ${leaves.length}`);
  return { commitNo, size: leaves.length, leaf, path: inclusionPath(leaves, commitNo - 1) };
}

/** The leaf of every commit, in order. */
function leavesOf(store: LogStore): Uint8Array[] {
  const { reader } = store;
  return readAgain(reader.snapshot, ({ segments, tail }) => {
    const holders = segments.filter((info) => info.stream === STATEMENTS);
    holders.sort((a, b) => a.firstCommit - b.firstCommit);
    const compacted = holders.flatMap((info) => statedCommits(bySequence(reader.segments.open(info))).map(leafOf));
    return [...compacted, ...tail.map((commit) => commit.leaf)];
  });
}
