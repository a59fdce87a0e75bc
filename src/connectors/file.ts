import { sha256Hex } from "../base/digest.ts";
import { MlpeError } from "../base/errors.ts";
import type { FileSourceConfig } from "../config/schema.ts";
import { recordEnd, splitFields, trimBreak } from "../contract/csv.ts";
import type { Connector, Next, Page, PageFormat } from "../contract/page.ts";
import { type ByteWindow, byteWindow } from "./byte_window.ts";
import type { ConnectorContext, ConnectorKind } from "./connector.ts";
import { type Cutter, cutCsv, cutLines, nextRun, RECORD_BYTES_MAX, type Run } from "./cut.ts";
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
import { parquetConnector } from "./file_parquet.ts";

/**
 * A file read once to its end: CSV and JSON lines, plain or compressed with gzip or zstd, in bounded memory, and Parquet.
 * The cursor is a place in the unpacked text, so resuming a compressed file unpacks it from the beginning. A file that is
 * not byte for byte the one that was begun (size and first 64 KiB) is refused.
 */
export const fileKind: ConnectorKind<FileSourceConfig> = {
  connector: "file",
  description: "a CSV, JSONL or Parquet file, optionally .gz or .zst, read once to its end",
  finite: true,
  create: (name, config, context) => {
    const path = context.resolve(config.path);
    const place = `sources.${name}`;
    const { format, packing } = formatOf(config, place);
    if (format === "parquet") return parquetConnector(path, place, context);
    return textConnector({ path, place, format, packing, csv: csvOf(config, place), context });
  },
};

type Packing = "none" | "gzip" | "zstd";

function formatOf(config: FileSourceConfig, place: string): { format: "csv" | "jsonl" | "parquet"; packing: Packing } {
  const path = config.path.toLowerCase();
  const packing: Packing = path.endsWith(".gz") ? "gzip" : path.endsWith(".zst") ? "zstd" : "none";
  const ending =
    path
      .replace(/\.(gz|zst)$/, "")
      .split(".")
      .at(-1) ?? "";
  const byName: Readonly<Record<string, "csv" | "jsonl" | "parquet">> = {
    csv: "csv",
    jsonl: "jsonl",
    ndjson: "jsonl",
    parquet: "parquet",
  };
  const format = config.format ?? byName[ending];
  if (format === undefined) {
    throw connectorErrors.error("unknown_format", `the name ${config.path} does not say its format`, { place });
  }
  if (format === "parquet" && packing !== "none") {
    const fix = "Unpack the file: Parquet compresses its own columns.";
    throw connectorErrors.error("unknown_format", `${config.path} is a Parquet file inside ${packing}`, { place, fix });
  }
  return { format, packing };
}

interface CsvOptions {
  readonly delimiter: string;
  readonly nulls: readonly string[];
}

function csvOf(config: FileSourceConfig, place: string): CsvOptions {
  const { delimiter, nulls } = config.csv ?? { delimiter: ",", nulls: ["", "NA"] };
  const code = delimiter.charCodeAt(0);
  if (delimiter.length !== 1 || code > 126 || delimiter === '"' || code === 10 || code === 13) {
    throw connectorErrors.error("bad_delimiter", `${JSON.stringify(delimiter)} can't separate fields`, { place });
  }
  return { delimiter, nulls };
}

interface TextFile {
  readonly path: string;
  readonly place: string;
  readonly format: "csv" | "jsonl";
  readonly packing: Packing;
  readonly csv: CsvOptions;
  readonly context: ConnectorContext;
}

/** An open file: the window on it, and where it stands. */
interface Reading {
  readonly window: ByteWindow;
  readonly identity: FileIdentity;
  readonly header: readonly string[];
  readonly headerDigest: string;
  /** With its line break and the byte order mark. */
  readonly headerBytes: number;
  at: number;
  line: number;
}

function textConnector(file: TextFile): Connector {
  const cutter: Cutter = file.format === "csv" ? cutCsv(file.csv.delimiter) : cutLines;
  let reading: Reading | undefined;
  let finished = "";

  const close = async () => {
    const open = reading;
    reading = undefined;
    await open?.window.close();
  };

  return {
    open: async (cursor) => {
      await close();
      finished = "";
      const from = parseFileCursor(cursor, file.place);
      const is = await identify(file.path, file.place);
      const identity = readOn(from, is, file.path, file.place, file.context);
      if (from?.done) {
        finished = cursor;
        tellSameContent(from, file.path, file.place, file.context);
      } else reading = await unpacking(file, () => openAt(file, identity, from));
    },
    next: async (maxBytes): Promise<Next> => {
      if (finished !== "") return { kind: "end", cursor: finished };
      if (!reading) throw connectorErrors.error("closed", `${file.path} is not open`, { place: file.place });
      const current = reading;
      const more = () => unpacking(file, () => nextRun(current.window, cutter, Math.max(1, maxBytes)));
      let run = await more();
      if (run && current.at === 0 && run.bytes <= current.headerBytes) {
        current.at = run.bytes; // the header alone is no page
        current.line += run.lines;
        run = await more();
      }
      if (run) return pageOf(file, current, run);
      requireSame(current.identity, await identify(file.path, file.place), file.path, file.place);
      finished = cursorOf(current, file.context.shown?.(file.path) ?? file.path);
      await close();
      return { kind: "end", cursor: finished };
    },
    ack: async () => {},
    close,
  };
}

function pageOf(file: TextFile, reading: Reading, run: Run): Page {
  const headed = file.format === "csv" && reading.at === 0;
  const { line } = reading;
  reading.at += run.bytes;
  reading.line += run.lines;
  const format: PageFormat = run.cut
    ? { kind: "cut", line, bytes: run.bytes }
    : file.format === "csv"
      ? { kind: "csv", header: reading.header, ...file.csv, headed, line }
      : { kind: "jsonl", line };
  const at = { at: reading.at, line: reading.line };
  return {
    kind: "page",
    payload: run.payload,
    format,
    cursor: cursorOf(reading),
    landed: JSON.stringify(at),
    receivedAt: file.context.clock.now(),
  };
}

function cursorOf(reading: Reading, readToItsEnd?: string): string {
  const cursor: FileCursor = {
    at: reading.at,
    line: reading.line,
    header: reading.headerDigest,
    ...reading.identity,
    ...endOf(readToItsEnd),
  };
  return JSON.stringify(cursor);
}

async function openAt(file: TextFile, identity: FileIdentity, from: FileCursor | undefined): Promise<Reading> {
  const { header, digest, bytes } = file.format === "csv" ? await readHeader(file) : NO_HEADER;
  if (from) requireSame({ ...from, head: from.header }, { ...identity, head: digest }, file.path, file.place);
  const at = from?.at ?? 0;
  const plain = file.packing === "none";
  if (plain && at > identity.size) beyondEnd(file.path, at, "byte", file.place);
  const window = byteWindow(unpacked(file, plain ? at : 0));
  if (!plain && !(await window.skip(at))) {
    await window.close();
    beyondEnd(file.path, at, "byte", file.place);
  }
  return { window, identity, header, headerDigest: digest, headerBytes: bytes, at, line: from?.line ?? 1 };
}

function unpacked(file: TextFile, at: number): ReadableStream<Uint8Array> {
  const stored = Bun.file(file.path);
  if (file.packing === "none") return (at === 0 ? stored : stored.slice(at)).stream();
  return stored.stream().pipeThrough(new DecompressionStream(file.packing));
}

interface Header {
  readonly header: readonly string[];
  readonly digest: string;
  readonly bytes: number;
}

/** An empty file has none, and no records either. */
const NO_HEADER: Header = { header: [], digest: "", bytes: 0 };

async function readHeader(file: TextFile): Promise<Header> {
  const window = byteWindow(unpacked(file, 0));
  try {
    const mark = file.csv.delimiter.charCodeAt(0);
    for (let seen = 1 << 12; ; seen *= 2) {
      await window.fill(seen);
      const bytes = window.view();
      if (bytes.length === 0) return NO_HEADER;
      const bom = bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf ? 3 : 0;
      const found = recordEnd(bytes, bom, bytes.length, mark, window.ended());
      if (found && !found.broken) {
        return { ...headerOf(file, bytes.slice(bom, trimBreak(bytes, bom, found.next))), bytes: found.next };
      }
      if (found || seen >= RECORD_BYTES_MAX) {
        throw connectorErrors.error("bad_header", `the header of ${file.path} never ends`, { place: file.place });
      }
    }
  } finally {
    await window.close();
  }
}

function headerOf(file: TextFile, bytes: Uint8Array): { header: string[]; digest: string } {
  const bad = (what: string, cause?: unknown) =>
    connectorErrors.error("bad_header", `the header of ${file.path} ${what}`, {
      place: `${file.place}, line 1`,
      cause,
    });
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (cause) {
    throw bad("is not UTF-8", cause);
  }
  const header = splitFields(text, file.csv.delimiter).map((name) => name.trim());
  if (header.some((name) => name === "")) throw bad("has a column without a name");
  const twice = header.find((name, i) => header.indexOf(name) !== i);
  if (twice !== undefined) throw bad(`has the column "${twice}" twice`);
  return { header, digest: sha256Hex(text).slice(0, 32) };
}

/** Errors of the decompressor as ours. */
async function unpacking<T>(file: TextFile, act: () => Promise<T>): Promise<T> {
  try {
    return await act();
  } catch (cause) {
    if (cause instanceof MlpeError) throw cause;
    const message = `${file.path} can't be read on: ${(cause as Error).message}`;
    throw connectorErrors.error(file.packing === "none" ? "file_missing" : "file_damaged", message, {
      place: file.place,
      cause,
    });
  }
}
