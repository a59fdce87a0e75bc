import { contractErrors } from "../contract/errors.ts";
import type { Connector, Next } from "../contract/page.ts";
import {
  openParquet,
  type ParquetFile,
  type ParquetSlice,
  parquetJsonLines,
  readParquet,
} from "../contract/parquet.ts";
import { checkParquetSchema } from "../contract/parquet_schema.ts";
import type { ConnectorContext } from "./connector.ts";
import { connectorErrors } from "./errors.ts";
import {
  beyondEnd,
  endOf,
  type FileCursor,
  type FileIdentity,
  identify,
  parseFileCursor,
  readOn,
  requireSame,
  tellSameContent,
} from "./file_identity.ts";

/** Rows that are made into JSON at once. */
const SLICE_ROWS = 2_048;

interface Reading {
  readonly file: ParquetFile;
  readonly identity: FileIdentity;
  readonly slices: AsyncGenerator<ParquetSlice>;
  /** JSON lines not yet handed out, from row `at` on. */
  pending: string[];
  at: number;
}

/**
 * A Parquet file, a row group in memory at a time. Its pages land as JSON lines, because a run of rows is no run of bytes
 * in a columnar file. The columns are checked against every dataset's contract before the first row.
 */
export function parquetConnector(path: string, place: string, context: ConnectorContext): Connector {
  let reading: Reading | undefined;
  let finished = "";

  const close = async () => {
    const open = reading;
    reading = undefined;
    await open?.slices.return(undefined);
  };

  return {
    open: async (cursor) => {
      await close();
      finished = "";
      const from = parseFileCursor(cursor, place);
      const identity = readOn(from, await identify(path, place), path, place, context);
      if (from?.done) {
        finished = cursor;
        tellSameContent(from, path, place, context);
      } else reading = await openAt(path, place, context, identity, from?.at ?? 0);
    },
    next: async (maxBytes): Promise<Next> => {
      if (finished !== "") return { kind: "end", cursor: finished };
      if (!reading) throw connectorErrors.error("closed", `${path} is not open`, { place });
      const line = reading.at + 1;
      const payload = await nextLines(reading, Math.max(1, maxBytes));
      if (payload !== "") {
        const bytes = new TextEncoder().encode(payload);
        return {
          kind: "page",
          payload: bytes,
          format: { kind: "jsonl", line },
          cursor: cursorOf(reading),
          landed: JSON.stringify({ at: reading.at }),
          receivedAt: context.clock.now(),
        };
      }
      requireSame(reading.identity, await identify(path, place), path, place);
      finished = cursorOf(reading, context.shown?.(path) ?? path);
      await close();
      return { kind: "end", cursor: finished };
    },
    ack: async () => {},
    close,
  };
}

async function openAt(
  path: string,
  place: string,
  context: ConnectorContext,
  identity: FileIdentity,
  at: number,
): Promise<Reading> {
  const stored = Bun.file(path);
  const input = {
    byteLength: identity.size,
    slice: (start: number, end?: number) => stored.slice(start, end ?? identity.size).arrayBuffer(),
  };
  const file = await openParquet(input, path);
  for (const { contract, rename = {}, computed } of context.expectations) {
    const problems = checkParquetSchema(file.columns, contract, { rename, computed });
    const [first] = problems;
    if (first) {
      const message = `${path} does not fit ${contract.name}: ${first.message}`;
      throw contractErrors.error("structure_mismatch", message, { place: first.place, fix: first.fix, problems });
    }
  }
  if (at > file.rows) beyondEnd(path, at, "row", place);
  const slices = readParquet(file, path, { from: at, sliceRows: SLICE_ROWS });
  return { file, identity, slices, pending: [], at };
}

/** Whole lines of about `maxBytes` at most; "" at the end. */
async function nextLines(reading: Reading, maxBytes: number): Promise<string> {
  let payload = "";
  for (;;) {
    if (reading.pending.length === 0) {
      const { value, done } = await reading.slices.next();
      if (done) return payload;
      const text = parquetJsonLines(reading.file.columns, value.rows);
      reading.pending = text.split("\n").slice(0, -1);
    }
    let taken = 0;
    while (taken < reading.pending.length) {
      const line = reading.pending[taken]!;
      if (payload !== "" && payload.length + line.length + 1 > maxBytes) break;
      payload += `${line}\n`;
      taken++;
    }
    reading.pending = reading.pending.slice(taken);
    reading.at += taken;
    if (reading.pending.length > 0) return payload;
  }
}

function cursorOf({ at, identity }: Reading, readToItsEnd?: string): string {
  const cursor: FileCursor = { at, line: at + 1, header: "", ...identity, ...endOf(readToItsEnd) };
  return JSON.stringify(cursor);
}
