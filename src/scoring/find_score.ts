import type { Row } from "../base/row.ts";
import { MICROS_PER_SECOND } from "../base/time.ts";
import { rowAt } from "../contract/batch.ts";
import { scoresStream } from "../contract/streams.ts";
import type { Store, StoredRows } from "../store/port.ts";

export interface StoredScore {
  /** The model's name. */
  readonly model: string;
  readonly row: Row;
  readonly commitNo: number;
  readonly sequence: number;
}

const UUID7 = /^([0-9a-f]{8})-([0-9a-f]{4})-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;
const PREFIX = scoresStream("");
/** How far the commit of a score may be behind the making of its id before the whole stream is read. */
const COMMITS_NEAR = 256;
const CLOCK_SLACK = 2 * MICROS_PER_SECOND;

/**
 * The stored score of that id, null where there is none. The id names the millisecond it was made in, so the commits of
 * about that time are looked at first; only then whole streams are scanned.
 */
export async function findScore(store: Store, scoreId: string, model?: string): Promise<StoredScore | null> {
  const match = UUID7.exec(scoreId);
  if (!match) return null;
  const all = model === undefined ? (await store.streams()).map(({ stream }) => stream) : [scoresStream(model)];
  const streams = all.filter((stream) => stream.startsWith(PREFIX));
  if (streams.length === 0) return null;
  const madeAt = Number.parseInt(match[1]! + match[2]!, 16) * 1000;
  let after = await store.commitAt(madeAt - CLOCK_SLACK);
  const last = (await store.commitAt(madeAt + CLOCK_SLACK)) + COMMITS_NEAR;
  while (after < last) {
    const page = await store.tail(after, streams, 4096);
    const found = page.rows.map((rows) => within(rows, scoreId)).find((score) => score !== null);
    if (found) return found;
    if (page.upTo === after || page.upTo >= page.head.commitNo) break;
    after = page.upTo;
  }
  for (const stream of streams) {
    for await (const rows of store.scan(stream)) {
      const found = within(rows, scoreId);
      if (found) return found;
    }
  }
  return null;
}

function within({ stream, batch, commitNos, sequences, tombstones }: StoredRows, scoreId: string): StoredScore | null {
  const column = batch.columns[batch.contract.fields.findIndex(({ name }) => name === "score_id")];
  if (column?.kind !== "text") return null;
  const code = column.dictionary.indexOf(scoreId);
  if (code < 0) return null;
  const index = column.codes.indexOf(code);
  if (index < 0 || tombstones[index] === 1) return null;
  return {
    model: stream.slice(PREFIX.length),
    row: rowAt(batch, index),
    commitNo: commitNos[index]!,
    sequence: sequences[index]!,
  };
}
