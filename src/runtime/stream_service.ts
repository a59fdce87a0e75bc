import { othersTurn } from "../base/turn.ts";
import {
  checkPosition,
  type FeedPosition,
  type FeedRow,
  parsePosition,
  positionText,
  readFeed,
  rowsAtOnce,
} from "../store/feed.ts";
import { type Store, type StreamInfo, storedRows } from "../store/port.ts";
import { streamNamed } from "../store/stream_named.ts";
import { runtimeErrors } from "./errors.ts";
import type { StreamedBody, StreamRows, StreamServices } from "./faces.ts";
import { requestErrors } from "./requests.ts";
import { ROWS_FORMS, type RowsForm, type RowsWriter } from "./stream_rows.ts";

/** Rows of one whole answer, and its bytes: it ends with the part that reaches either. Beyond it rows are streamed. */
const ROWS_DEFAULT = 1_000;
const ROWS_MAX = 10_000;
const ANSWER_BYTES_MAX = 8 << 20;
/** Answers that are made while they are sent, at a time: each holds a page of rows for as long as its reader takes. */
const STREAMED_MAX = 16;
/** Rows that are made at once: requests have a turn before more are. */
const SLICE_ROWS = 512;

/** What is stored, read in the thread that serves: a few hundred rows at a time. */
export function streamServices(store: Store): StreamServices {
  const streamed = { count: 0 };
  return {
    async streams() {
      const streams = await store.streams();
      const { commitNo } = await store.head();
      return {
        commit_no: commitNo,
        streams: streams.map((info) => {
          const { stream, rows: appended, firstCommit, lastCommit, bytes } = info;
          const commits = { first_commit: firstCommit, last_commit: lastCommit };
          return { stream, rows: storedRows(info), appended, ...commits, segment_bytes: bytes };
        }),
      };
    },
    rows: (name, options) => readRows(store, streamed, name, options),
  };
}

async function readRows(
  store: Store,
  streamed: { count: number },
  name: string,
  { after, limit: asked, format }: Parameters<StreamServices["rows"]>[1],
): Promise<StreamRows> {
  const limit = limitOf(asked);
  const position = positionOf(after);
  const { commitNo: upTo } = await store.head();
  const stream = await streamNamed(store, name);
  checkPosition(position, upTo, stream.stream); // before an answer begins that can't be taken back
  const form = ROWS_FORMS[format];
  const { type } = form;
  const parts = answerParts(store, { stream, form, position, limit, upTo });
  if (limit > ROWS_MAX) return { type, body: oneOfFew(streamed, bytesOf(parts)), next: undefined };
  const held: Uint8Array[] = [];
  let next = position;
  let bytes = 0;
  for await (const part of parts) {
    held.push(part.bytes);
    bytes += part.bytes.length;
    next = part.next;
  }
  return { type, body: new Uint8Array(Buffer.concat(held, bytes)), next: positionText(next) };
}

/** Counts from now until the end of the parts, an error or their `return`; throws runtime.busy where there are too many. */
function oneOfFew(streamed: { count: number }, parts: AsyncGenerator<Uint8Array, void>): StreamedBody {
  if (streamed.count >= STREAMED_MAX) {
    throw runtimeErrors.error("busy", `${STREAMED_MAX} answers of all rows are being sent`, {
      fix: `Send again after the time in Retry-After, or ask for at most ${ROWS_MAX} rows at a time.`,
    });
  }
  streamed.count++;
  let counted = true;
  const over = () => {
    if (counted) streamed.count--;
    counted = false;
  };
  return {
    async next() {
      try {
        const result = await parts.next();
        if (result.done) over();
        return result;
      } catch (cause) {
        over();
        throw cause;
      }
    },
    async return() {
      over();
      await parts.return();
    },
  };
}

async function* bytesOf(parts: AsyncGenerator<Part, void>): AsyncGenerator<Uint8Array, void> {
  for await (const { bytes } of parts) if (bytes.length > 0) yield bytes;
}

interface Asked {
  readonly stream: StreamInfo;
  readonly form: RowsForm;
  readonly position: FeedPosition;
  readonly limit: number;
  /** The commit that was the last when the request came: an answer of all rows has an end. */
  readonly upTo: number;
}

interface Part {
  readonly bytes: Uint8Array;
  /** The position after it. */
  readonly next: FeedPosition;
}

/** Ends at the limit, at the head, and where rows come that the header does not fit. */
async function* answerParts(store: Store, { stream, form, limit, upTo, ...asked }: Asked): AsyncGenerator<Part, void> {
  let { position } = asked;
  let [contract] = stream.contracts;
  let writer: RowsWriter | undefined;
  let rows = 0;
  let bytes = 0;
  const part = (made: Uint8Array): Part => {
    bytes += made.length;
    return { bytes: made, next: position };
  };
  const full = () => rows >= limit || (limit <= ROWS_MAX && bytes >= ANSWER_BYTES_MAX);
  for (let maxRows = rowsAtOnce([]), atEnd = false; !atEnd && !full(); ) {
    const page = await readFeed(store, stream.stream, position, Math.min(maxRows, limit - rows));
    if (page.parts.length > 0) maxRows = rowsAtOnce(page.parts);
    for (const run of runsOf(page.rows, Math.min(maxRows, SLICE_ROWS))) {
      const found = run[0]!.stored.batch.contract;
      const another = writer !== undefined && form.headed && found.fingerprint !== contract?.fingerprint;
      if (another || full()) return yield part(writer!.end());
      if (writer === undefined) {
        contract = found;
        writer = await form.open(contract);
        yield part(writer.begin());
      }
      const given = run.slice(0, limit - rows);
      rows += given.length;
      position = given.at(-1)!.position;
      yield part(writer.rows(given));
      await othersTurn();
    }
    if (!full()) position = page.next;
    atEnd = page.atHead || page.next.commitNo >= upTo;
  }
  if (writer !== undefined) return yield part(writer.end());
  if (contract === undefined) return yield part(new Uint8Array(0));
  writer = await form.open(contract);
  yield part(writer.begin());
  yield part(writer.end());
}

/** The rows in order, in runs of one contract that are no longer than `most`. */
function* runsOf(rows: readonly FeedRow[], most: number): Generator<readonly FeedRow[]> {
  for (let from = 0; from < rows.length; ) {
    const { contract } = rows[from]!.stored.batch;
    let to = from + 1;
    while (to < rows.length && to - from < most && rows[to]!.stored.batch.contract === contract) to++;
    yield rows.slice(from, to);
    from = to;
  }
}

function positionOf(text: string | undefined): FeedPosition {
  const position = parsePosition(text ?? "0");
  if (position) return position;
  throw requestErrors.error("bad_request", "after is no position", {
    place: "after",
    fix: "Give a _position of a row, the Mlpe-Next of an answer, or a commit number; leave it out to begin.",
  });
}

function limitOf(text: string | undefined): number {
  if (text === "all") return Number.POSITIVE_INFINITY;
  const limit = text === undefined ? ROWS_DEFAULT : Number(text);
  if (Number.isSafeInteger(limit) && limit >= 1) return limit;
  const fix = "Give a whole number from 1, or all.";
  throw requestErrors.error("bad_request", "limit is no number of rows", { place: "limit", fix });
}
