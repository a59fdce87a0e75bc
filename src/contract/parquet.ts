import {
  type AsyncBuffer,
  type Compressors,
  type FileMetaData,
  type ParquetParsers,
  parquetMetadataAsync,
  parquetRead,
  snappyUncompress,
} from "hyparquet";
import { MlpeError } from "../base/errors.ts";
import type { Row, Value } from "../base/row.ts";
import { formatInstant } from "../base/time.ts";
import type { Contract } from "./contract.ts";
import { contractErrors } from "./errors.ts";
import { checkPages } from "./parquet_pages.ts";
import { checkParquetSchema, type ParquetColumn, type ParquetMapping, parquetColumns } from "./parquet_schema.ts";
import { valueJson } from "./row_text.ts";

const GROUP_ROWS_MAX = 16_777_216n;
const GROUP_BYTES_MAX = 512 * 1024 * 1024;
const PAGE_BYTES_MAX = 256 * 1024 * 1024;
const SLICE_ROWS = 4_096;

/** Bytes in memory, or anything that gives ranges of a file. */
export type ParquetInput = Uint8Array | AsyncBuffer;

/** What a Parquet file says of itself in its footer. */
export interface ParquetFile {
  readonly columns: readonly ParquetColumn[];
  readonly rows: number;
  /** Key-value metadata; `parquet.avro.schema` is the Avro schema, where the writer gave one. */
  readonly metadata: Readonly<Record<string, string>>;
  /** The footer as it was read, and the file: for `readParquet`. */
  readonly footer: FileMetaData;
  readonly input: AsyncBuffer;
}

/** Rows of one row group, in order; `first` is the number of the first in the file, from 0. */
export interface ParquetSlice {
  readonly first: number;
  readonly rows: readonly Row[];
}

/** Reads the footer. Throws `contract.bad_parquet` or `contract.parquet_unsupported`; `place` names the file. */
export async function openParquet(input: ParquetInput, place: string): Promise<ParquetFile> {
  const buffer = input instanceof Uint8Array ? bufferOf(input) : input;
  const footer = await reading(place, async () => {
    if (buffer.byteLength < 12) throw new Error("it is too short");
    // Without our parsers: they are strict, and the statistics of a bytes column are no text.
    return parquetMetadataAsync(buffer, { geoparquet: false });
  });
  const file = await reading(place, async () => ({
    columns: parquetColumns(footer),
    rows: Number(footer.num_rows),
    metadata: Object.fromEntries((footer.key_value_metadata ?? []).map(({ key, value }) => [key, value ?? ""])),
    footer,
    input: buffer,
  }));
  await reading(place, async () => checkReadable(footer, place));
  return file;
}

export interface ParquetReadOptions {
  /** The first row to give: where a reader goes on. */
  readonly from?: number;
  /** Most rows in a slice; default 4,096. */
  readonly sliceRows?: number;
  /** Checked before the first row; fields are read by their contract's types. */
  readonly contract?: Contract;
  readonly mapping?: ParquetMapping;
}

/**
 * The rows of a file in slices, a row group in memory at a time. Values are as everywhere (timestamps are microseconds,
 * dates days); an instant finer than a microsecond, and a local time, come as text, so that nothing is rounded or
 * guessed. Columns without a type are not read. With a contract, throws `contract.structure_mismatch` before the first
 * row, listing every misfit.
 */
export async function* readParquet(
  file: ParquetFile,
  place: string,
  options: ParquetReadOptions = {},
): AsyncGenerator<ParquetSlice> {
  const { from = 0, sliceRows = SLICE_ROWS, contract } = options;
  if (contract) requireFit(file, contract, options.mapping, place);
  const columns = file.columns.filter((column) => column.type !== undefined);
  const convert = columns.map((column) => converter(column));
  let start = 0;
  for (const group of file.footer.row_groups) {
    const end = start + Number(group.num_rows);
    const first = Math.max(start, from);
    start = end;
    if (first >= end) continue;
    const records = await reading(place, async () => {
      for (const column of columns) await checkPages(file.input, group, column.name, PAGE_BYTES_MAX);
      return readRows(file, columns, first, end);
    });
    for (let at = 0; at < records.length; at += sliceRows) {
      const rows = records.slice(at, at + sliceRows).map((record) => {
        const row: Record<string, Value> = {};
        for (let c = 0; c < columns.length; c++) row[columns[c]!.name] = convert[c]!(record[c]);
        return row;
      });
      yield { first: first + at, rows };
    }
  }
}

/**
 * Rows as JSON lines, in the spelling that contracts are read from: instants and dates as ISO texts, bytes as base64,
 * whole numbers as plain digits, NaN and infinities as texts (which no number field takes).
 */
export function parquetJsonLines(columns: readonly ParquetColumn[], rows: readonly Row[]): string {
  const read = columns.filter((column) => column.type !== undefined);
  return rows
    .map(
      (row) =>
        `{${read.map((column) => `${JSON.stringify(column.name)}:${valueJson(row[column.name]!, column.type)}`).join(",")}}\n`,
    )
    .join("");
}

function bufferOf(bytes: Uint8Array): AsyncBuffer {
  return {
    byteLength: bytes.byteLength,
    slice: (start, end) => bytes.slice(start, end).buffer as ArrayBuffer,
  };
}

/** Timestamps stay exact: the parsers give microseconds, or text where there is no such instant. */
const PARSERS: ParquetParsers = {
  timestampFromMilliseconds: (millis) => instant(BigInt(millis) * 1_000n),
  timestampFromMicroseconds: (micros) => instant(BigInt(micros)),
  timestampFromNanoseconds: (nanos) => {
    const exact = BigInt(nanos);
    if (exact % 1_000n === 0n) return instant(exact / 1_000n);
    const fraction = (((exact % 1_000_000_000n) + 1_000_000_000n) % 1_000_000_000n).toString().padStart(9, "0");
    const second = formatInstant(Number((exact - BigInt(fraction)) / 1_000n));
    return second.replace("Z", `.${fraction}Z`);
  },
  dateFromDays: (days) => days,
  stringFromBytes: (bytes) => bytes && new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes),
  jsonFromBytes: (bytes) => bytes && new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes),
  geometryFromBytes: (bytes) => bytes,
  geographyFromBytes: (bytes) => bytes,
  uuidFromBytes: (bytes) => {
    const hex = Buffer.from(bytes).toString("hex");
    return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
  },
};

/** Beyond 2^53 microseconds (the year 2255) no instant can be told exactly: its digits go on as text. */
function instant(micros: bigint): number | string {
  const small = Number(micros);
  return Number.isSafeInteger(small) ? small : `${micros}us`;
}

function converter(column: ParquetColumn): (value: unknown) => Value {
  return (value) => {
    if (value === null || value === undefined) return null;
    if (column.local)
      return typeof value === "number" ? formatInstant(value).slice(0, -1) : String(value).replace("Z", "");
    if (typeof value === "bigint") {
      const small = Number(value);
      return Number.isSafeInteger(small) ? small : value;
    }
    return value as Value;
  };
}

async function readRows(
  file: ParquetFile,
  columns: readonly ParquetColumn[],
  rowStart: number,
  rowEnd: number,
): Promise<unknown[][]> {
  if (columns.length === 0) return Array.from({ length: rowEnd - rowStart }, () => []);
  let rows: unknown[][] = [];
  await parquetRead({
    file: file.input,
    metadata: file.footer,
    columns: columns.map((column) => column.name),
    rowStart,
    rowEnd,
    utf8: false,
    parsers: PARSERS,
    compressors: decompressors((rowEnd - rowStart + 2) * columns.length),
    geoparquet: false,
    onComplete: (complete) => {
      rows = complete;
    },
  });
  if (rows.length !== rowEnd - rowStart)
    throw new Error(`it holds ${rows.length} rows where ${rowEnd - rowStart} are declared`);
  return rows;
}

/** A damaged page length can send the reader back over the same pages for ever: it may not ask for more than there can be. */
function decompressors(pagesMax: number): Compressors {
  let pages = 0;
  const counted = (decompress: Decompress) => (bytes: Uint8Array, length: number) => {
    if (++pages > pagesMax) throw new Error("its pages hold more than the rows it declares");
    if (length > PAGE_BYTES_MAX) throw new Error("a page is larger than 256 MiB");
    // A page without values has no compressed bytes either.
    return bytes.length === 0 ? new Uint8Array(0) : decompress(new Uint8Array(bytes), length);
  };
  return {
    ZSTD: counted((bytes) => Bun.zstdDecompressSync(bytes)),
    GZIP: counted((bytes) => Bun.gunzipSync(bytes)),
    SNAPPY: counted((bytes, length) => {
      const page = new Uint8Array(length);
      snappyUncompress(bytes, page);
      return page;
    }),
  };
}

type Decompress = (bytes: Uint8Array<ArrayBuffer>, length: number) => Uint8Array;

function requireFit(file: ParquetFile, contract: Contract, mapping: ParquetMapping | undefined, place: string): void {
  const problems = checkParquetSchema(file.columns, contract, mapping).map((problem) => ({
    ...problem,
    place: `${place} (${problem.place})`,
  }));
  const [first] = problems;
  if (!first) return;
  const more = problems.length === 1 ? "" : ` (and ${problems.length - 1} more)`;
  throw contractErrors.error("structure_mismatch", `${place} does not fit ${contract.name}: ${first.message}${more}`, {
    place: first.place,
    fix: first.fix,
    problems,
  });
}

const CODECS: ReadonlySet<string> = new Set(["UNCOMPRESSED", "SNAPPY", "GZIP", "ZSTD"]);

function checkReadable(footer: FileMetaData, place: string): void {
  const bad = (what: string) => new Error(what);
  if (footer.row_groups.reduce((sum, group) => sum + group.num_rows, 0n) !== footer.num_rows) {
    throw bad("its row groups do not add up to its rows");
  }
  const flat = new Set(
    footer.schema.filter((element) => element.repetition_type !== "REPEATED").map(({ name }) => name),
  );
  for (const [index, group] of footer.row_groups.entries()) {
    if (group.num_rows < 0n || group.num_rows > GROUP_ROWS_MAX)
      throw bad(`row group ${index} declares ${group.num_rows} rows`);
    if (Number(group.total_byte_size) > GROUP_BYTES_MAX) {
      const message = `row group ${index} of ${place} holds ${group.total_byte_size} bytes`;
      throw contractErrors.error("parquet_unsupported", message, { place });
    }
    for (const { meta_data: chunk } of group.columns) {
      if (!chunk) throw contractErrors.error("parquet_unsupported", `${place} is encrypted`, { place });
      const [name, ...nested] = chunk.path_in_schema;
      if (nested.length === 0 && flat.has(name!) && chunk.num_values !== group.num_rows) {
        throw bad(`the column "${name}" declares ${chunk.num_values} values in ${group.num_rows} rows`);
      }
      if (CODECS.has(chunk.codec)) continue;
      const message = `the column "${chunk.path_in_schema.join(".")}" of ${place} is compressed with ${chunk.codec}`;
      throw contractErrors.error("parquet_unsupported", message, { place });
    }
  }
}

/** Whatever the reader trips over in the bytes means that the file is damaged. */
async function reading<T>(place: string, read: () => Promise<T>): Promise<T> {
  try {
    return await read();
  } catch (cause) {
    if (cause instanceof MlpeError) throw cause;
    throw contractErrors.error("bad_parquet", `${place} can't be read as Parquet: ${(cause as Error).message}`, {
      place,
      cause,
    });
  }
}
