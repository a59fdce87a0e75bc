import type { Store, StoredRows } from "./port.ts";

/** How far a reader of one stream has come: all of the commits before `commitNo`, and of that commit so many rows. */
export interface FeedPosition {
  readonly commitNo: number;
  /** Rows of the stream in that commit that were read; undefined where all were. */
  readonly row?: number;
}

/** One stored row, and the position after it. */
export interface FeedRow {
  readonly stored: StoredRows;
  readonly index: number;
  readonly position: FeedPosition;
}

export interface FeedPage {
  /** In order of commit, then sequence. */
  readonly rows: readonly FeedRow[];
  /** The position after this page, also where it holds no row. */
  readonly next: FeedPosition;
  /** True where nothing more was committed when the page was read. */
  readonly atHead: boolean;
}

/** `12` is after all of commit 12, `12:3` after the first three rows of the stream in it. Undefined for another text. */
export function parsePosition(text: string): FeedPosition | undefined {
  const match = /^(\d{1,15})(?::(\d{1,15}))?$/.exec(text);
  if (!match) return undefined;
  const commitNo = Number(match[1]);
  if (match[2] === undefined) return { commitNo };
  return commitNo === 0 ? undefined : { commitNo, row: Number(match[2]) };
}

export const positionText = ({ commitNo, row }: FeedPosition): string =>
  row === undefined ? String(commitNo) : `${commitNo}:${row}`;

/** Rows of one read where rows may hold byte strings (landing pages of a megabyte), and where they don't. */
const ROWS_AT_ONCE_HEAVY = 16;
const ROWS_AT_ONCE = 4_096;

/** How many rows to read next, having seen these. */
export function rowsAtOnce(rows: readonly StoredRows[]): number {
  const light =
    rows.length > 0 && rows.every(({ batch }) => batch.contract.fields.every(({ type }) => type !== "bytes"));
  return light ? ROWS_AT_ONCE : ROWS_AT_ONCE_HEAVY;
}

/**
 * Every stored version of a stream's rows after a position, at most about `maxRows` (always all of the first commit that
 * has any), oldest first. A position goes on to be good after compaction: commits and their rows keep their order.
 */
export async function readFeed(
  store: Store,
  stream: string,
  after: FeedPosition,
  maxRows: number,
): Promise<FeedPage & { readonly parts: readonly StoredRows[] }> {
  const skipped = after.row ?? 0;
  const from = after.row === undefined ? after.commitNo : after.commitNo - 1;
  const page = await store.tail(from, [stream], maxRows + skipped);
  const rows: FeedRow[] = [];
  let commitNo = 0;
  let row = 0;
  for (const stored of page.rows) {
    for (let index = 0; index < stored.batch.length; index++) {
      if (stored.commitNos[index] !== commitNo) row = 0;
      commitNo = stored.commitNos[index]!;
      row++;
      if (after.row !== undefined && commitNo === after.commitNo && row <= after.row) continue;
      rows.push({ stored, index, position: { commitNo, row } });
    }
  }
  const next = page.upTo >= after.commitNo ? { commitNo: page.upTo } : after;
  return { rows, next, atHead: page.upTo >= page.head.commitNo, parts: page.rows };
}
