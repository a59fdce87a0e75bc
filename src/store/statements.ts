import type { Row } from "../base/row.ts";
import { rowsOf } from "../contract/batch.ts";
import { streamContract } from "../contract/contract.ts";
import type { StoredRows } from "./port.ts";

/** The store's own stream: what each compacted commit said of itself, for the audit. Not among the port's streams. */
export const STATEMENTS = ".commits";

/** One row for each append of a commit, in order; a commit without appends is one row with a null stream. */
export const statementContract = streamContract({
  name: "commits",
  fields: {
    commit_no: "long",
    known_time: "long",
    stream: "string?",
    fingerprint: "string?",
    first_sequence: "long",
    rows: "long",
    salt: "bytes?",
    root: "bytes?",
  },
  recordId: "position",
});

export interface StatedAppend {
  readonly stream: string;
  readonly fingerprint: string;
  readonly firstSequence: number;
  readonly rows: number;
  readonly root: Uint8Array;
  readonly salt: Uint8Array;
}

export interface StatedCommit {
  readonly commitNo: number;
  readonly knownTime: number;
  readonly appends: readonly StatedAppend[];
}

export function statementRows(commits: readonly StatedCommit[]): Row[] {
  return commits.flatMap(({ commitNo, knownTime, appends }): Row[] => {
    const own = { commit_no: commitNo, known_time: knownTime };
    if (appends.length === 0) {
      return [{ ...own, stream: null, fingerprint: null, first_sequence: 0, rows: 0, salt: null, root: null }];
    }
    return appends.map(({ stream, fingerprint, firstSequence, rows, salt, root }) => ({
      ...own,
      stream,
      fingerprint,
      first_sequence: firstSequence,
      rows,
      salt,
      root,
    }));
  });
}

/** The commits that rows of the statements stream, in order of sequence, say. */
export function statedCommits(stored: StoredRows): StatedCommit[] {
  const commits: { commitNo: number; knownTime: number; appends: StatedAppend[] }[] = [];
  for (const row of rowsOf(stored.batch)) {
    let last = commits.at(-1);
    if (!last || last.commitNo !== row.commit_no) {
      last = { commitNo: row.commit_no as number, knownTime: row.known_time as number, appends: [] };
      commits.push(last);
    }
    if (row.stream === null) continue;
    last.appends.push({
      stream: row.stream as string,
      fingerprint: row.fingerprint as string,
      firstSequence: row.first_sequence as number,
      rows: row.rows as number,
      salt: row.salt as Uint8Array,
      root: row.root as Uint8Array,
    });
  }
  return commits;
}
