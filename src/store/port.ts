import type { MlpeError } from "../base/errors.ts";
import type { Row, Value } from "../base/row.ts";
import type { Micros } from "../base/time.ts";
import type { Batch } from "../contract/batch.ts";
import type { Contract } from "../contract/contract.ts";

/** Rows to append to one stream. A stream is `landing/<source>`, `curated/<dataset>`, `features/<view>`, `control`, ... */
export interface Append {
  readonly stream: string;
  readonly batch: Batch;
  /** One byte a row, 1 where the row withdraws the record of the same record id, entity and event time. */
  readonly tombstones?: Uint8Array;
}

/** All or nothing: rows of any number of streams, moved cursors and reader positions, lineage and verdict rows too. */
export interface CommitRequest {
  readonly appends: readonly Append[];
  /** Source name -> where to go on reading: opaque text of the connector. */
  readonly cursors?: Readonly<Record<string, string>>;
  /** Reader name -> the commit number it has folded. */
  readonly readers?: Readonly<Record<string, number>>;
  /** The commit is refused with `store.stale_writer` unless these hold when it is applied (0 and "" mean never set). */
  readonly expect?: {
    readonly readers?: Readonly<Record<string, number>>;
    readonly cursors?: Readonly<Record<string, string>>;
  };
  /** Scores go first when commits queue. */
  readonly priority?: "score" | "pipeline";
  /**
   * What the acknowledgement outlives: a power cut (`power-loss`, the default), or the death of the process at once and a
   * power cut about a second later (`process`). Either way a power cut takes the end of the log, and whole commits.
   */
  readonly durability?: "power-loss" | "process";
}

export interface Receipt {
  /** Gapless from 1. */
  readonly commitNo: number;
  /** max(now, last known time + 1): strictly increasing. */
  readonly knownTime: Micros;
  /** For each stream appended to, the sequence of its first row; sequences are gapless from 0 within a stream. */
  readonly firstSequence: Readonly<Record<string, number>>;
}

export interface Head {
  /** 0 when nothing was ever committed. */
  readonly commitNo: number;
  readonly knownTime: Micros;
}

/** Rows with what the store knows of each. */
export interface StoredRows {
  readonly stream: string;
  readonly batch: Batch;
  readonly sequences: Float64Array;
  readonly commitNos: Float64Array;
  readonly knownTimes: Float64Array;
  /** One byte a row, 1 for a tombstone. */
  readonly tombstones: Uint8Array;
}

export interface TailPage {
  /** In order of commit number, then stream, then sequence. Rows of one commit and stream stand together. */
  readonly rows: readonly StoredRows[];
  /** The last commit number this page covers, also where it held no row of the streams asked for. */
  readonly upTo: number;
  /** The head when the page was read: the reader is at the end when `upTo` equals it. */
  readonly head: Head;
}

export interface ScanOptions {
  /** Only these fields are decoded; the other columns of the batch are all null. */
  readonly columns?: readonly string[];
  /** Only commits up to this one: the cutoff. Default the head. */
  readonly upTo?: number;
  /** Only commits after this one. */
  readonly after?: number;
  /** Event time bounds, inclusive. */
  readonly from?: Micros;
  readonly to?: Micros;
  /** Only this entity: values in the order of the contract's `entity`. */
  readonly entity?: readonly Value[];
  /** Texts may stay packed (`packed` of the columns) until they are asked for. */
  readonly packed?: boolean;
  /**
   * Told of each part that is damaged: its rows are left out and the scan goes on. Default: the scan throws store.damaged
   * before it would give out less than what was stored.
   */
  readonly leftOut?: ((damage: MlpeError) => void) | undefined;
}

export interface Probe {
  /** Values in the order of the contract's `entity`. */
  readonly entity: readonly Value[];
  readonly at: Micros;
}

export interface AsOfOptions {
  readonly columns?: readonly string[];
  readonly upTo?: number;
  /** Oldest event time allowed is `at - maxAge`, inclusive. Default unbounded. */
  readonly maxAge?: Micros;
}

export interface StreamInfo {
  readonly stream: string;
  /** Rows ever appended: those that were dropped or erased too. */
  readonly rows: number;
  /** The first sequence that retention left; absent where nothing was dropped. */
  readonly firstSequence?: number;
  /** Erased rows whose empty places are still there; absent where none. */
  readonly erased?: number;
  readonly firstCommit: number;
  readonly lastCommit: number;
  /** Bytes at rest in compacted segments. */
  readonly bytes: number;
  /** The contracts that stored rows have, that of the newest row first; of those dropped last, where retention left none. */
  readonly contracts: readonly Contract[];
}

/** Rows that are there to be read, tombstones and older versions too. */
export const storedRows = ({ rows, firstSequence = 0, erased = 0 }: Omit<StreamInfo, "contracts">): number =>
  rows - firstSequence - erased;

/**
 * The sealed log as the rooms see it. Nothing above this port knows SQLite. Every method is asynchronous because the
 * same port is served by a log thread here and can be served by a remote catalogue elsewhere.
 */
export interface Store {
  commit(request: CommitRequest): Promise<Receipt>;
  head(): Promise<Head>;
  /** The last commit known at or before that time; 0 when the first commit is later. */
  commitAt(knownTime: Micros): Promise<number>;
  /** Where a source goes on; "" when it never committed. */
  cursor(source: string): Promise<string>;
  /** What a reader has folded; 0 when it never committed. */
  position(reader: string): Promise<number>;
  /** The commits after `after`, at most about `maxRows` rows (always at least one whole commit when there is one). */
  tail(after: number, streams: readonly string[], maxRows?: number): Promise<TailPage>;
  /** Resolves once the head is beyond `after`, or after `timeoutMs`, or when the store closes. */
  waitBeyond(after: number, timeoutMs: number): Promise<void>;
  /**
   * Every stored row, all versions, in no promised order; each row carries its sequence. Holds no transaction, and lets
   * others have a turn before each part, which has a few thousand rows at most.
   */
  scan(stream: string, options?: ScanOptions): AsyncIterable<StoredRows>;
  /**
   * For each probe the row with the greatest (event time, `order` field, record id) among the latest versions known by
   * `upTo` with `at - maxAge <= event time <= at` and available time <= at; null when there is none. A null in the
   * entity matches nothing.
   */
  asOf(stream: string, probes: readonly Probe[], options?: AsOfOptions): Promise<readonly (Row | null)[]>;
  streams(): Promise<readonly StreamInfo[]>;
  close(): Promise<void>;
}
