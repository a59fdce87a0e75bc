import type { Value } from "../base/row.ts";
import type { Micros } from "../base/time.ts";
import { valueAt } from "../contract/batch.ts";
import type { Contract, Field, FieldType } from "../contract/contract.ts";
import { parquetAppender } from "../contract/parquet_write.ts";
import { storeErrors } from "./errors.ts";
import { rowsAtOnce } from "./feed.ts";
import { identityOf, type LatestRows, latestRows } from "./latest.ts";
import type { Head, Store, StoredRows, StreamInfo } from "./port.ts";
import { streamNamed } from "./stream_named.ts";

export interface StreamExportOptions {
  /** Event time bounds, inclusive, of the versions that are written. */
  readonly from?: Micros;
  readonly to?: Micros;
  /** Only these fields, in this order. */
  readonly columns?: readonly string[];
  /** Every stored version instead of the latest, with `_sequence`, `_commit_no`, `_known_time` and `_tombstone`. */
  readonly versions?: boolean;
}

export interface StreamExport {
  readonly stream: string;
  /** What the file shows: everything that was committed up to here. */
  readonly cutoff: Head;
  readonly columns: readonly string[];
  /** The bytes of the file, a row group at a time; returns how many rows it has. */
  parts(): AsyncGenerator<Uint8Array, number>;
}

/**
 * A stream's rows as one Parquet file, in order of sequence, typed by the stream's contract. Where rows were stored under
 * several contracts the newest decides; older fields follow it, numbers take the wider type, and what a row's contract
 * lacks is null. The same rows at the same cutoff give the same bytes, compacted or not.
 *
 * Memory: a row group and, unless `versions`, 32 to 64 bytes a record of the stream. Throws `store.unknown_stream`,
 * `store.export_refused` or `store.export_too_large`.
 */
export async function exportStream(store: Store, name: string, options: StreamExportOptions): Promise<StreamExport> {
  const info = await streamNamed(store, name);
  const { stream } = info;
  const cutoff = await store.head();
  const contracts = await contractsOf(store, info, cutoff.commitNo);
  const timed = contracts.every(({ eventTime }) => eventTime !== undefined);
  if (!timed && (options.from !== undefined || options.to !== undefined)) {
    const fix = "Leave out --from and --to.";
    throw storeErrors.error("export_refused", `${stream} has no event time`, { place: stream, fix });
  }
  const fields = chosen(mergedFields(contracts, stream, options.columns), stream, options.columns);
  const all = options.versions ? [...fields, ...VERSION_FIELDS] : fields;
  return {
    stream,
    cutoff,
    columns: all.map((field) => field.name),
    async *parts() {
      const latest = options.versions ? undefined : await latestOf(store, stream, contracts, cutoff.commitNo);
      const metadata = { "mlpe.stream": stream, "mlpe.cutoff": JSON.stringify(cutoff) };
      const appender = parquetAppender(contracts[0]!.name, all, metadata);
      let count = 0;
      for await (const stored of pagesOf(store, stream, cutoff.commitNo)) {
        const read = rowReader(stored, fields, options.versions === true);
        const inside = timeTest(stored, options);
        for (let row = 0; row < stored.batch.length; row++) {
          if (!inside(row) || latest?.isLatest(stored.sequences[row]!) === false) continue;
          appender.add(read(row));
          count++;
        }
        const bytes = appender.take();
        if (bytes.length > 0) yield bytes;
      }
      yield appender.finish();
      return count;
    },
  };
}

/** Memory for telling which rows are the latest versions. */
const LATEST_BYTES_MAX = 1 << 30;

async function latestOf(
  store: Store,
  stream: string,
  contracts: readonly Contract[],
  upTo: number,
): Promise<LatestRows> {
  const latest = latestRows();
  const columns = [...new Set(contracts.flatMap(identityOf))];
  for await (const stored of store.scan(stream, { columns, upTo })) {
    latest.add(stored);
    if (latest.bytes() <= LATEST_BYTES_MAX) continue;
    const message = `telling which rows of ${stream} are the latest takes more than ${LATEST_BYTES_MAX >> 20} MiB`;
    throw storeErrors.error("export_too_large", message, { place: stream });
  }
  return latest;
}

const versionField = (name: string, type: FieldType): Field => ({
  name,
  type,
  nullable: false,
  classification: "internal",
});
const VERSION_FIELDS: readonly Field[] = [
  versionField("_sequence", "long"),
  versionField("_commit_no", "long"),
  versionField("_known_time", "timestamp"),
  versionField("_tombstone", "boolean"),
];

/** The contracts of the stored rows, the one of the newest row first; of those there were, where none is left. */
async function contractsOf(
  store: Store,
  { stream, contracts }: StreamInfo,
  upTo: number,
): Promise<readonly Contract[]> {
  const newest = new Map<string, { contract: Contract; sequence: number }>();
  for await (const { batch, sequences } of store.scan(stream, { columns: [], upTo })) {
    const { contract } = batch;
    const last = sequences.reduce((most, sequence) => Math.max(most, sequence), -1);
    const known = newest.get(contract.fingerprint);
    if (!known || known.sequence < last) newest.set(contract.fingerprint, { contract, sequence: last });
  }
  const ordered = [...newest.values()].sort((a, b) => b.sequence - a.sequence).map(({ contract }) => contract);
  if (ordered.length > 0) return ordered;
  if (contracts.length > 0) return contracts;
  throw storeErrors.error("export_refused", `${stream} has no rows`, { place: stream, fix: "Export it once it has." });
}

const WIDTHS: Readonly<Partial<Record<FieldType, number>>> = { int: 1, long: 2, float: 3, double: 4 };
const TEXTS: ReadonlySet<FieldType> = new Set(["string", "enum"]);

/** The fields of all contracts: the newest decides the order, and a field that some lack may be null. */
function mergedFields(
  contracts: readonly Contract[],
  stream: string,
  columns: readonly string[] | undefined,
): readonly Field[] {
  const merged = new Map<string, Field>();
  contracts.forEach(({ fields }, index) => {
    const names = new Set(fields.map(({ name }) => name));
    for (const [name, field] of merged) if (!names.has(name)) merged.set(name, { ...field, nullable: true });
    for (const field of fields) {
      if (columns && !columns.includes(field.name)) continue;
      const known = merged.get(field.name);
      if (!known) merged.set(field.name, index === 0 ? field : { ...field, nullable: true });
      else {
        const nullable = known.nullable || field.nullable;
        merged.set(field.name, { ...known, nullable, type: commonType(known, field, stream) });
      }
    }
  });
  return [...merged.values()];
}

function commonType(newer: Field, older: Field, stream: string): FieldType {
  if (newer.type === older.type) return newer.type;
  if (TEXTS.has(newer.type) && TEXTS.has(older.type)) return "string";
  const [a, b] = [WIDTHS[newer.type], WIDTHS[older.type]];
  // A float holds no whole number beyond 2^24, so it meets whole numbers as a double.
  if (a !== undefined && b !== undefined) return a <= 2 && b <= 2 ? "long" : "double";
  const message = `${stream}: "${newer.name}" is a ${newer.type} in newer rows and a ${older.type} in older ones`;
  throw storeErrors.error("export_refused", message, {
    place: newer.name,
    fix: "Name the other columns with --columns.",
  });
}

function chosen(fields: readonly Field[], stream: string, columns: readonly string[] | undefined): readonly Field[] {
  if (columns === undefined) return fields;
  const twice = columns.find((name, at) => columns.indexOf(name) !== at);
  if (twice !== undefined) {
    const fix = "Name each column once: readers tell them apart by name.";
    throw storeErrors.error("export_refused", `"${twice}" is named twice`, { place: "--columns", fix });
  }
  return columns.map((name) => {
    const field = fields.find((candidate) => candidate.name === name);
    if (field) return field;
    const message = `${stream} has no column "${name}"`;
    throw storeErrors.error("export_refused", message, { place: "--columns", fix: "Name fields of its contract." });
  });
}

/** The rows in order of sequence, from the oldest commit to `upTo`. */
async function* pagesOf(store: Store, stream: string, upTo: number): AsyncGenerator<StoredRows> {
  let maxRows = rowsAtOnce([]);
  for (let after = 0; after < upTo; ) {
    const page = await store.tail(after, [stream], maxRows);
    for (const stored of page.rows) {
      // Rows of one commit stand together: a part is wholly within the cutoff or wholly beyond it.
      if (stored.commitNos[0]! > upTo) return;
      yield stored;
    }
    if (page.rows.length > 0) maxRows = rowsAtOnce(page.rows);
    after = page.upTo;
  }
}

function rowReader({ batch, ...stored }: StoredRows, fields: readonly Field[], versions: boolean) {
  const readers = fields.map((field): ((row: number) => Value) => {
    const at = batch.contract.fields.findIndex(({ name }) => name === field.name);
    if (at < 0) return () => null;
    const column = batch.columns[at]!;
    const own = batch.contract.fields[at]!.type;
    // A 64-bit whole number in a column that later became one of doubles.
    if (own === "long" && field.type === "double") {
      return (row) => {
        const value = valueAt(column, own, row);
        return value === null ? null : Number(value);
      };
    }
    return (row) => valueAt(column, own, row);
  });
  return (row: number): Value[] => {
    const values = readers.map((read) => read(row));
    if (!versions) return values;
    const { sequences, commitNos, knownTimes, tombstones } = stored;
    values.push(sequences[row]!, commitNos[row]!, knownTimes[row]!, tombstones[row] === 1);
    return values;
  };
}

function timeTest({ batch }: StoredRows, { from, to }: StreamExportOptions): (row: number) => boolean {
  const { eventTime, fields } = batch.contract;
  if (eventTime === undefined || (from === undefined && to === undefined)) return () => true;
  const column = batch.columns[fields.findIndex(({ name }) => name === eventTime)]!;
  const [least, most] = [from ?? Number.NEGATIVE_INFINITY, to ?? Number.POSITIVE_INFINITY];
  return (row) => {
    const time = valueAt(column, "timestamp", row);
    return typeof time === "number" && time >= least && time <= most;
  };
}
