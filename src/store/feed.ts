import { storeErrors } from "./errors.ts";
import type { Store, StoredRows } from "./port.ts";

/** How far a reader of one stream has come: all of the commits before `commitNo`, and of that commit the first rows. */
export interface FeedPosition {
  readonly commitNo: number;
  /** The rows of that commit with lower sequences were read; undefined where all were. Good after rows went for ever, too. */
  readonly sequence?: number;
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

/** `12` is after all of commit 12, `12:3` after its rows of sequences below 3. Undefined for another text. */
export function parsePosition(text: string): FeedPosition | undefined {
  const match = /^(\d{1,15})(?::(\d{1,15}))?$/.exec(text);
  if (!match) return undefined;
  const commitNo = Number(match[1]);
  if (match[2] === undefined) return { commitNo };
  return commitNo === 0 ? undefined : { commitNo, sequence: Number(match[2]) };
}

export const positionText = ({ commitNo, sequence }: FeedPosition): string =>
  sequence === undefined ? String(commitNo) : `${commitNo}:${sequence}`;

/** Rows of one read where rows may hold byte strings (landing pages of a megabyte), and where they don't. */
const ROWS_AT_ONCE_HEAVY = 16;
const ROWS_AT_ONCE = 4_096;

/** How many rows to read next, having seen these. */
export function rowsAtOnce(rows: readonly StoredRows[]): number {
  const light =
    rows.length > 0 && rows.every(({ batch }) => batch.contract.fields.every(({ type }) => type !== "bytes"));
  return light ? ROWS_AT_ONCE : ROWS_AT_ONCE_HEAVY;
}

/** Throws store.beyond_head where a position is later than the last commit. */
export function checkPosition(after: FeedPosition, head: number, stream: string): void {
  if (after.commitNo <= head) return;
  const message = `the position ${positionText(after)} is beyond commit ${head}, the last that there is`;
  throw storeErrors.error("beyond_head", message, { place: stream });
}

/**
 * Every stored version of a stream's rows after a position, at most about `maxRows` (always all of the first commit that
 * has any), oldest first. A position goes on to be good after compaction: commits and their rows keep their order. Throws
 * store.beyond_head where the log ends before the position: what is committed next would be passed over without a word.
 */
export async function readFeed(
  store: Store,
  stream: string,
  after: FeedPosition,
  maxRows: number,
): Promise<FeedPage & { readonly parts: readonly StoredRows[] }> {
  const from = after.sequence === undefined ? after.commitNo : after.commitNo - 1;
  const page = await store.tail(from, [stream], maxRows);
  checkPosition(after, page.head.commitNo, stream);
  const rows: FeedRow[] = [];
  for (const stored of page.rows) {
    for (let index = 0; index < stored.batch.length; index++) {
      const commitNo = stored.commitNos[index]!;
      const sequence = stored.sequences[index]!;
      if (after.sequence !== undefined && commitNo === after.commitNo && sequence < after.sequence) continue;
      rows.push({ stored, index, position: { commitNo, sequence: sequence + 1 } });
    }
  }
  const next = page.upTo >= after.commitNo ? { commitNo: page.upTo } : after;
  return { rows, next, atHead: page.upTo >= page.head.commitNo, parts: page.rows };
}
