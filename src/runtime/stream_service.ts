import { valueAt } from "../contract/batch.ts";
import { valueCsv, valueJson } from "../contract/row_text.ts";
import { type FeedPosition, type FeedRow, parsePosition, positionText, readFeed, rowsAtOnce } from "../store/feed.ts";
import type { Store } from "../store/port.ts";
import { streamNamed } from "../store/stream_named.ts";
import type { StreamRows, StreamServices } from "./faces.ts";
import { requestErrors } from "./requests.ts";

/** Rows of one answer, and its bytes: the answer ends with the row that reaches either. */
const ROWS_DEFAULT = 1_000;
const ROWS_MAX = 10_000;
const ANSWER_BYTES_MAX = 8 << 20;

/** What every row of a feed says of itself beside its fields. */
const OWN = ["_position", "_sequence", "_commit_no", "_known_time", "_tombstone"] as const;

const ownValues = ({ stored, index, position }: FeedRow) =>
  [
    [positionText(position), "string"],
    [stored.sequences[index]!, "long"],
    [stored.commitNos[index]!, "long"],
    [stored.knownTimes[index]!, "timestamp"],
    [stored.tombstones[index] === 1, "boolean"],
  ] as const;

/** A stored row as one JSON object in one line. */
export function feedLine(row: FeedRow): string {
  const { batch } = row.stored;
  const own = ownValues(row).map(([value, type], i) => `"${OWN[i]}":${valueJson(value, type)}`);
  const fields = batch.contract.fields.map(
    ({ name, type }, c) => `${JSON.stringify(name)}:${valueJson(valueAt(batch.columns[c]!, type, row.index), type)}`,
  );
  return `{${[...own, ...fields].join(",")}}`;
}

function feedRecord(row: FeedRow): string {
  const { batch } = row.stored;
  const own = ownValues(row).map(([value, type]) => valueCsv(value, type));
  const fields = batch.contract.fields.map(({ type }, c) =>
    valueCsv(valueAt(batch.columns[c]!, type, row.index), type),
  );
  return [...own, ...fields].join(",");
}

/** What is stored, read in the thread that serves: a few thousand rows at a time. */
export function streamServices(store: Store): StreamServices {
  return {
    async streams() {
      const streams = await store.streams();
      const { commitNo } = await store.head();
      return {
        commit_no: commitNo,
        streams: streams.map(({ stream, rows, firstCommit, lastCommit, bytes }) => {
          return { stream, rows, first_commit: firstCommit, last_commit: lastCommit, segment_bytes: bytes };
        }),
      };
    },
    rows: (name, options) => readRows(store, name, options),
  };
}

async function readRows(
  store: Store,
  name: string,
  options: Parameters<StreamServices["rows"]>[1],
): Promise<StreamRows> {
  const { stream } = await streamNamed(store, name);
  const limit = limitOf(options.limit);
  let position = positionOf(options.after);
  const lines: string[] = [];
  let rows = 0;
  let bytes = 0;
  let fingerprint: string | undefined;
  const full = () => rows >= limit || bytes >= ANSWER_BYTES_MAX;
  for (let maxRows = rowsAtOnce([]), atHead = false; !atHead && !full(); ) {
    const page = await readFeed(store, stream, position, Math.min(maxRows, limit - rows));
    maxRows = rowsAtOnce(page.parts);
    for (const row of page.rows) {
      const { contract } = row.stored.batch;
      // The rows of one CSV have one header: an answer ends where the contract changes.
      const changed = options.csv && fingerprint !== undefined && fingerprint !== contract.fingerprint;
      if (full() || changed) return answer(lines, position, options.csv);
      if (options.csv && fingerprint === undefined) {
        fingerprint = contract.fingerprint;
        lines.push([...OWN, ...contract.fields.map((field) => valueCsv(field.name, "string"))].join(","));
      }
      const line = options.csv ? feedRecord(row) : feedLine(row);
      lines.push(line);
      bytes += line.length;
      rows++;
      position = row.position;
    }
    position = page.next;
    atHead = page.atHead;
  }
  return answer(lines, position, options.csv);
}

const answer = (lines: readonly string[], next: FeedPosition, csv: boolean): StreamRows => ({
  text: lines.map((line) => (csv ? `${line}\r\n` : `${line}\n`)).join(""),
  type: csv ? "text/csv; charset=utf-8; header=present" : "application/x-ndjson",
  next: positionText(next),
});

function positionOf(text: string | undefined): FeedPosition {
  const position = parsePosition(text ?? "0");
  if (position) return position;
  throw requestErrors.error("bad_request", "after is no position", {
    place: "after",
    fix: "Give a _position of a row, the Mlpe-Next of an answer, or a commit number; leave it out to begin.",
  });
}

function limitOf(text: string | undefined): number {
  const limit = text === undefined ? ROWS_DEFAULT : Number(text);
  if (Number.isInteger(limit) && limit >= 1 && limit <= ROWS_MAX) return limit;
  const fix = `Give a whole number from 1 to ${ROWS_MAX}.`;
  throw requestErrors.error("bad_request", "limit is no number of rows", { place: "limit", fix });
}
