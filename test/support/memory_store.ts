import { toHex } from "../../src/base/bytes.ts";
import type { Clock } from "../../src/base/clock.ts";
import type { Row, Value } from "../../src/base/row.ts";
import type { Micros } from "../../src/base/time.ts";
import { batchOf, rowAt, rowsOf, takeRows } from "../../src/contract/batch.ts";
import type { Contract } from "../../src/contract/contract.ts";
import { storeErrors } from "../../src/store/errors.ts";
import type {
  AsOfOptions,
  CommitRequest,
  Head,
  Probe,
  Receipt,
  ScanOptions,
  Store,
  StoredRows,
} from "../../src/store/port.ts";

/** The store's port as plainly as it can be said: the model that the real one is compared with, and a fast stand-in for tests of rooms above it. */
export class MemoryStore implements Store {
  readonly #clock: Clock;
  #rows: StoredRows[] = [];
  readonly #knownTimes: Micros[] = [];
  readonly #cursors = new Map<string, string>();
  readonly #readers = new Map<string, number>();
  readonly #counts = new Map<string, number>();
  /** First and last commit of each stream. */
  readonly #commits = new Map<string, readonly [number, number]>();
  #waiters: (() => boolean)[] = [];
  #closed = false;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  #head(): Head {
    return { commitNo: this.#knownTimes.length, knownTime: this.#knownTimes.at(-1) ?? 0 };
  }

  async commit(request: CommitRequest): Promise<Receipt> {
    for (const [name, position] of Object.entries(request.readers ?? {})) {
      if (!Number.isSafeInteger(position) || position < 0) throw storeErrors.error("bad_position", name);
    }
    for (const [name, position] of Object.entries(request.expect?.readers ?? {})) {
      if ((this.#readers.get(name) ?? 0) !== position)
        throw storeErrors.error("stale_writer", `reader ${name} has moved`);
    }
    for (const [name, cursor] of Object.entries(request.expect?.cursors ?? {})) {
      if ((this.#cursors.get(name) ?? "") !== cursor)
        throw storeErrors.error("stale_writer", `source ${name} has moved`);
    }
    const commitNo = this.#knownTimes.length + 1;
    const knownTime = Math.max(this.#clock.now(), this.#head().knownTime + 1);
    this.#knownTimes.push(knownTime);
    const firstSequence: Record<string, number> = {};
    for (const { stream, batch, tombstones } of request.appends) {
      const first = this.#counts.get(stream) ?? 0;
      firstSequence[stream] ??= first;
      this.#counts.set(stream, first + batch.length);
      const [from] = this.#commits.get(stream) ?? [commitNo];
      this.#commits.set(stream, [from, commitNo]);
      if (batch.length === 0) continue;
      this.#rows.push({
        stream,
        batch,
        sequences: Float64Array.from({ length: batch.length }, (_, i) => first + i),
        commitNos: new Float64Array(batch.length).fill(commitNo),
        knownTimes: new Float64Array(batch.length).fill(knownTime),
        tombstones: tombstones ?? new Uint8Array(batch.length),
      });
    }
    for (const [name, cursor] of Object.entries(request.cursors ?? {})) this.#cursors.set(name, cursor);
    for (const [name, position] of Object.entries(request.readers ?? {})) this.#readers.set(name, position);
    this.#wake();
    return { commitNo, knownTime, firstSequence };
  }

  /** Erases or drops rows: their places stay empty. */
  forget(isGone: (stream: string, row: Row, sequence: number) => boolean): void {
    this.#rows = this.#rows.flatMap((stored) => {
      const gone = (row: Row, i: number) => isGone(stored.stream, row, stored.sequences[i]!);
      const kept = rowsOf(stored.batch).flatMap((row, i) => (gone(row, i) ? [] : [i]));
      return kept.length === 0 ? [] : [pick(stored, kept)];
    });
  }

  head = async () => this.#head();
  commitAt = async (time: Micros) => this.#knownTimes.filter((known) => known <= time).length;
  cursor = async (source: string) => this.#cursors.get(source) ?? "";
  position = async (reader: string) => this.#readers.get(reader) ?? 0;

  async tail(after: number, streams: readonly string[], maxRows = 65_536) {
    const rows: StoredRows[] = [];
    let upTo = after;
    for (let count = 0; upTo < this.#head().commitNo && count < maxRows; ) {
      upTo++;
      const found = this.#rows.filter((stored) => stored.commitNos[0] === upTo && streams.includes(stored.stream));
      found.sort((a, b) => (a.stream < b.stream ? -1 : a.stream > b.stream ? 1 : a.sequences[0]! - b.sequences[0]!));
      rows.push(...found);
      count += found.reduce((sum, stored) => sum + stored.batch.length, 0);
    }
    return { rows, upTo, head: this.#head() };
  }

  async waitBeyond(after: number, timeoutMs: number): Promise<void> {
    if (this.#closed || this.#head().commitNo > after) return;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, timeoutMs);
      this.#waiters.push(() => {
        if (!this.#closed && this.#head().commitNo <= after) return false;
        clearTimeout(timer);
        resolve();
        return true;
      });
    });
  }

  async *scan(stream: string, options: ScanOptions = {}): AsyncIterable<StoredRows> {
    const upTo = options.upTo ?? Number.POSITIVE_INFINITY;
    for (const stored of this.#rows) {
      if (stored.stream !== stream || stored.commitNos[0]! > upTo) continue;
      if (stored.commitNos[0]! <= (options.after ?? 0)) continue;
      const kept: number[] = [];
      for (let i = 0; i < stored.batch.length; i++) if (matches(stored, i, options)) kept.push(i);
      if (kept.length > 0) yield onlyColumns(pick(stored, kept), options.columns);
    }
  }

  async asOf(stream: string, probes: readonly Probe[], options: AsOfOptions = {}): Promise<(Row | null)[]> {
    const latest = new Map<string, { row: Row; dead: boolean; sequence: number }>();
    let contract = this.#rows.find((stored) => stored.stream === stream)?.batch.contract;
    for await (const stored of this.scan(stream, options.upTo === undefined ? {} : { upTo: options.upTo })) {
      contract = stored.batch.contract;
      for (let i = 0; i < stored.batch.length; i++) {
        const row = rowAt(stored.batch, i);
        const sequence = stored.sequences[i]!;
        const id = versionKey(contract, row, sequence);
        latest.set(id, { row, dead: stored.tombstones[i] === 1, sequence });
      }
    }
    if (!contract) return probes.map(() => null);
    const { entity, eventTime, availableTime, order, recordId } = contract;
    const live = [...latest.values()].filter(({ dead }) => !dead);
    return probes.map((probe) => {
      if (probe.entity.some((value) => value === null)) return null;
      const candidates = live.filter(({ row }) => {
        if (entity.some((name, i) => row[name] !== probe.entity[i])) return false;
        if (eventTime === undefined) return true;
        if (row[eventTime] === null) return false;
        const time = row[eventTime] as number;
        const available = ((availableTime === undefined ? null : row[availableTime]) ?? time) as number;
        return (
          time <= probe.at && available <= probe.at && time >= probe.at - (options.maxAge ?? Number.POSITIVE_INFINITY)
        );
      });
      candidates.sort((a, b) => {
        const byTime = eventTime === undefined ? 0 : (a.row[eventTime] as number) - (b.row[eventTime] as number);
        if (byTime !== 0) return byTime;
        const byOrder = order === undefined ? 0 : compareValues(a.row[order]!, b.row[order]!);
        if (byOrder !== 0) return byOrder;
        const named = recordId === "content" ? Object.keys(a.row) : recordId === "position" ? [] : recordId;
        for (const name of named) {
          const compared = compareValues(a.row[name]!, b.row[name]!);
          if (compared !== 0) return compared;
        }
        return a.sequence - b.sequence;
      });
      const winner = candidates.at(-1)?.row;
      if (!winner) return null;
      const wanted = (name: string) => options.columns?.includes(name) ?? true;
      return Object.fromEntries(Object.entries(winner).map(([name, value]) => [name, wanted(name) ? value : null]));
    });
  }

  streams = async () =>
    [...this.#counts].map(([stream, rows]) => {
      const [firstCommit, lastCommit] = this.#commits.get(stream)!;
      const stored = this.#rows.filter((part) => part.stream === stream && part.batch.length > 0).reverse();
      const contracts = new Map(stored.map(({ batch }) => [batch.contract.fingerprint, batch.contract]));
      return { stream, rows, firstCommit, lastCommit, bytes: 0, contracts: [...contracts.values()] };
    });

  #wake(): void {
    this.#waiters = this.#waiters.filter((wake) => !wake());
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#wake();
  }
}

/** Versions of one record: the same record id, entity and event time (a correction that moves a record withdraws it). */
function versionKey({ recordId, entity, eventTime }: Contract, row: Row, sequence: number): string {
  if (recordId === "position") return String(sequence);
  const id = recordId === "content" ? Object.keys(row) : recordId;
  const names = [...id, ...entity, ...(eventTime === undefined ? [] : [eventTime])];
  const plain = (value: Value) =>
    typeof value === "bigint" ? `${value}n` : value instanceof Uint8Array ? toHex(value) : value;
  return JSON.stringify(names.map((name) => plain(row[name]!)));
}

function compareValues(a: Value, b: Value): number {
  if (a === b) return 0;
  if (a === null) return -1;
  if (b === null) return 1;
  return a < b ? -1 : 1;
}

function matches(stored: StoredRows, index: number, options: ScanOptions): boolean {
  const row = rowAt(stored.batch, index);
  const { eventTime, entity } = stored.batch.contract;
  if (options.entity && entity.some((name, i) => row[name] === null || row[name] !== options.entity![i])) return false;
  if (eventTime === undefined || (options.from === undefined && options.to === undefined)) return true;
  if (row[eventTime] === null) return false;
  const time = row[eventTime] as number;
  return time >= (options.from ?? Number.NEGATIVE_INFINITY) && time <= (options.to ?? Number.POSITIVE_INFINITY);
}

function onlyColumns(stored: StoredRows, columns: readonly string[] | undefined): StoredRows {
  if (columns === undefined) return stored;
  const { contract } = stored.batch;
  const rows = rowsOf(stored.batch).map((row) =>
    Object.fromEntries(Object.entries(row).filter(([name]) => columns.includes(name))),
  );
  return { ...stored, batch: batchOf(contract, rows) };
}

function pick(stored: StoredRows, kept: readonly number[]): StoredRows {
  if (kept.length === stored.batch.length) return stored;
  const take = (values: Float64Array) => Float64Array.from(kept, (index) => values[index]!);
  return {
    stream: stored.stream,
    batch: takeRows(stored.batch, kept),
    sequences: take(stored.sequences),
    commitNos: take(stored.commitNos),
    knownTimes: take(stored.knownTimes),
    tombstones: Uint8Array.from(kept, (index) => stored.tombstones[index]!),
  };
}
