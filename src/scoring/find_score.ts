import type { Row } from "../base/row.ts";
import { MICROS_PER_SECOND } from "../base/time.ts";
import { columnNamed, rowAt, valueAt } from "../contract/batch.ts";
import { scoresStream } from "../contract/streams.ts";
import type { ScanOptions, Store, StoredRows } from "../store/port.ts";

export interface StoredScore {
  /** The model's name. */
  readonly model: string;
  readonly row: Row;
  readonly commitNo: number;
  readonly sequence: number;
}

const UUID7 = /^([0-9a-f]{8})-([0-9a-f]{4})-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;
const PREFIX = scoresStream("");
/**
 * How far the commit of a score may be from the making of its id: an hour by its known time, for clocks that were set, and
 * so many commits more, for known times that ran ahead of a clock set back. Further away a score is not found.
 */
const CLOCK_SLACK = 3_600 * MICROS_PER_SECOND;
const COMMITS_NEAR = 256;

/**
 * The stored score of that id, null where there is none. The id names the millisecond it was made in: only the commits of
 * about that time are looked at, and of the others' rows no more than their ids and times.
 */
export async function findScore(store: Store, scoreId: string, model?: string): Promise<StoredScore | null> {
  const match = UUID7.exec(scoreId);
  if (!match) return null;
  const all = model === undefined ? (await store.streams()).map(({ stream }) => stream) : [scoresStream(model)];
  const streams = all.filter((stream) => stream.startsWith(PREFIX));
  if (streams.length === 0) return null;
  const madeAt = Number.parseInt(match[1]! + match[2]!, 16) * 1000;
  const after = await store.commitAt(madeAt - CLOCK_SLACK);
  const upTo = (await store.commitAt(madeAt + CLOCK_SLACK)) + COMMITS_NEAR;
  for (const stream of streams) {
    const place = await firstWith(store, stream, scoreId, { after, upTo, columns: ["score_id", "as_of"] });
    if (!place) continue;
    const { commitNo, asOf } = place;
    const whole = await firstWith(store, stream, scoreId, {
      after: commitNo - 1,
      upTo: commitNo,
      from: asOf,
      to: asOf,
    });
    const { rows, index } = whole!;
    return {
      model: stream.slice(PREFIX.length),
      row: rowAt(rows.batch, index),
      commitNo,
      sequence: rows.sequences[index]!,
    };
  }
  return null;
}

interface Place {
  readonly rows: StoredRows;
  readonly index: number;
  readonly commitNo: number;
  readonly asOf: number;
}

/** The first row of the scan with that score id; undefined where there is none. */
async function firstWith(
  store: Store,
  stream: string,
  scoreId: string,
  options: ScanOptions,
): Promise<Place | undefined> {
  for await (const rows of store.scan(stream, options)) {
    const column = columnNamed(rows.batch, "score_id");
    if (column.kind !== "text") continue;
    const code = column.dictionary.indexOf(scoreId);
    const index = code < 0 ? -1 : column.codes.indexOf(code);
    if (index < 0 || rows.tombstones[index] === 1) continue;
    const asOf = valueAt(columnNamed(rows.batch, "as_of"), "timestamp", index) as number;
    return { rows, index, commitNo: rows.commitNos[index]!, asOf };
  }
  return undefined;
}
