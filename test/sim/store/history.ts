import { toHex } from "../../../src/base/bytes.ts";
import type { Row, Value } from "../../../src/base/row.ts";
import { rowAt } from "../../../src/contract/batch.ts";
import { ERASURES, RETENTION } from "../../../src/contract/streams.ts";
import type { CommitRequest, Receipt, Store, StoredRows } from "../../../src/store/port.ts";
import { CURSORS, READERS } from "./requests.ts";

/** Streams that the log writes by itself: the audit looks at them. */
const OWN: ReadonlySet<string> = new Set([ERASURES, RETENTION]);

/** What a log must fold to: everything that can be asked of it, in short. */
export interface Folded {
  readonly commitNo: number;
  readonly knownTime: number;
  /** Stream -> rows, and a hash chained over them in order of sequence. */
  readonly streams: Readonly<Record<string, readonly [rows: number, chain: string]>>;
  readonly cursors: Readonly<Record<string, string>>;
  readonly readers: Readonly<Record<string, number>>;
}

export const NOTHING: Folded = { commitNo: 0, knownTime: 0, streams: {}, cursors: {}, readers: {} };

/** A commit that was acknowledged; an erasure is one too. */
export interface Made {
  readonly request: CommitRequest;
  readonly receipt: Receipt;
  /** Fields and the texts of their values: the rows with them are gone from here on. */
  readonly erased?: Readonly<Record<string, string>>;
  /** Stream -> the first sequence that retention left: the rows before it are gone from here on. */
  readonly dropped?: Readonly<Record<string, number>>;
}

export const isErased = (row: Row, entity: NonNullable<Made["erased"]>): boolean =>
  Object.entries(entity).every(([field, text]) => field in row && row[field] !== null && String(row[field]) === text);

/** The model: what the log holds after one more commit. Throws where the receipt is not the next one. */
export function after(before: Folded, made: readonly Made[], one: Made): Folded {
  const { commitNo, knownTime } = one.receipt;
  if (commitNo !== before.commitNo + 1) throw new Error(`commit ${before.commitNo} was followed by ${commitNo}`);
  if (knownTime <= before.knownTime) throw new Error(`commit ${commitNo} is known before the one before it`);
  const streams = one.erased || one.dropped ? streamsOf([...made, one]) : { ...before.streams };
  for (const [stream, lines] of linesOf(one)) {
    const [first, begun] = streams[stream] ?? [0, ""];
    streams[stream] = [first + lines.length, chainOn(begun, lines.length, (i) => lines[i]!.line(first + i))];
  }
  const cursors = { ...before.cursors, ...one.request.cursors };
  return { commitNo, knownTime, streams, cursors, readers: { ...before.readers, ...one.request.readers } };
}

/** Erased rows leave an empty place. */
const GONE = "gone";

interface Line {
  readonly row: Row;
  line(sequence: number): string;
}

function* linesOf({ request, receipt }: Made): Generator<readonly [string, readonly Line[]]> {
  for (const { stream, batch, tombstones } of request.appends) {
    const line = (i: number): Line => {
      const row = rowAt(batch, i);
      return { row, line: (at) => lineOf(row, [at, receipt.commitNo, receipt.knownTime, tombstones?.[i] ?? 0]) };
    };
    yield [stream, Array.from({ length: batch.length }, (_, i) => line(i))];
  }
}

/** From the beginning: the last of them takes rows away. */
function streamsOf(made: readonly Made[]): Record<string, readonly [number, string]> {
  const all = new Map<string, { readonly row: Row; text: string }[]>();
  for (const one of made) {
    for (const [stream, lines] of linesOf(one)) {
      const rows = all.get(stream) ?? [];
      all.set(stream, rows);
      for (const { row, line } of lines) rows.push({ row, text: line(rows.length) });
    }
    const { erased } = one;
    if (erased) for (const row of [...all.values()].flat()) if (isErased(row.row, erased)) row.text = GONE;
    for (const [stream, first] of Object.entries(one.dropped ?? {})) {
      for (const row of all.get(stream)!.slice(0, first)) row.text = GONE;
    }
  }
  return Object.fromEntries(
    [...all].map(([stream, rows]) => [stream, [rows.length, chainOn("", rows.length, (i) => rows[i]!.text)] as const]),
  );
}

/** What a store holds, in the same words. */
export async function folded(store: Store): Promise<Folded> {
  const { commitNo, knownTime } = await store.head();
  const streams: Record<string, readonly [number, string]> = {};
  for (const { stream, rows } of await store.streams()) {
    if (OWN.has(stream)) continue;
    const parts: StoredRows[] = [];
    for await (const part of store.scan(stream)) parts.push(part);
    const lines: string[] = [];
    for (const { batch, sequences, commitNos, knownTimes, tombstones } of parts) {
      for (let i = 0; i < batch.length; i++) {
        const sequence = sequences[i]!;
        if (lines[sequence] !== undefined) throw new Error(`${stream} has the sequence ${sequence} twice`);
        lines[sequence] = lineOf(rowAt(batch, i), [sequence, commitNos[i]!, knownTimes[i]!, tombstones[i]!]);
      }
    }
    if (lines.length > rows) throw new Error(`${stream} has ${lines.length} rows, and says ${rows}`);
    streams[stream] = [rows, chainOn("", rows, (i) => lines[i] ?? GONE)];
  }
  const cursors: Record<string, string> = {};
  for (const name of CURSORS) if ((await store.cursor(name)) !== "") cursors[name] = await store.cursor(name);
  const readers: Record<string, number> = {};
  for (const name of READERS) if ((await store.position(name)) !== 0) readers[name] = await store.position(name);
  return { commitNo, knownTime, streams, cursors, readers };
}

/** One sentence for each thing in which a store is not what it must be. */
export function differences(found: Folded, wanted: Folded): string[] {
  const list: string[] = [];
  const compare = (what: string, have: unknown, want: unknown) => {
    if (!Bun.deepEquals(have, want)) list.push(`${what} is ${JSON.stringify(have)}, not ${JSON.stringify(want)}`);
  };
  compare("the known time", found.knownTime, wanted.knownTime);
  for (const stream of new Set([...Object.keys(found.streams), ...Object.keys(wanted.streams)])) {
    compare(stream, found.streams[stream], wanted.streams[stream]);
  }
  for (const name of CURSORS) compare(`cursor ${name}`, found.cursors[name], wanted.cursors[name]);
  for (const name of READERS) compare(`reader ${name}`, found.readers[name], wanted.readers[name]);
  return list;
}

/** The chain must depend on where a row ends, not on where an append does. */
function chainOn(begun: string, count: number, line: (index: number) => string): string {
  let chain = begun;
  for (let i = 0; i < count; i++) chain = Bun.hash(chain + line(i)).toString(36);
  return chain;
}

const lineOf = (row: Readonly<Record<string, Value>>, known: readonly number[]): string =>
  `${known.join(" ")} ${Object.values(row).map(valueText).join("|")}`;

function valueText(value: Value): string {
  if (typeof value === "string") return `"${value}"`;
  if (value instanceof Uint8Array) return `0x${toHex(value)}`;
  return Object.is(value, -0) ? "-0" : String(value);
}
