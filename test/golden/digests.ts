import { toHex } from "../../src/base/bytes.ts";
import { sha256HexOf } from "../../src/base/digest.ts";
import type { Value } from "../../src/base/row.ts";
import { rowAt } from "../../src/contract/batch.ts";
import type { Probe, Store } from "../../src/store/port.ts";

/** What a store folds to: no later version may see anything else in it. */
export interface Fold {
  readonly head: { readonly commitNo: number; readonly knownTime: number };
  /** Stream -> rows, first and last commit, and the digest of every row in order of sequence. */
  readonly streams: Readonly<Record<string, StreamFold>>;
  readonly cursors: Readonly<Record<string, string>>;
  readonly readers: Readonly<Record<string, number>>;
  /** The digest of what as-of reads answer, by stream. */
  readonly asOf: Readonly<Record<string, string>>;
}

interface StreamFold {
  readonly rows: number;
  readonly firstCommit: number;
  readonly lastCommit: number;
  readonly digest: string;
}

/** What is asked of a store beyond its streams, which it names itself. */
export interface Questions {
  readonly cursors: readonly string[];
  readonly readers: readonly string[];
  readonly probes: Readonly<Record<string, readonly Probe[]>>;
}

export async function foldOf(store: Store, questions: Questions): Promise<Fold> {
  const streams: Record<string, StreamFold> = {};
  const infos = [...(await store.streams())].sort((a, b) => (a.stream < b.stream ? -1 : 1));
  for (const { stream, rows, firstCommit, lastCommit } of infos) {
    streams[stream] = { rows, firstCommit, lastCommit, digest: await rowsDigest(store, stream) };
  }
  const cursors: Record<string, string> = {};
  for (const name of questions.cursors) cursors[name] = await store.cursor(name);
  const readers: Record<string, number> = {};
  for (const name of questions.readers) readers[name] = await store.position(name);
  const asOf: Record<string, string> = {};
  for (const [stream, probes] of Object.entries(questions.probes)) {
    const rows = await store.asOf(stream, probes);
    asOf[stream] = sha256HexOf(rows.map((row) => `${row === null ? "none" : valuesText(Object.values(row))}\n`));
  }
  const { commitNo, knownTime } = await store.head();
  return { head: { commitNo, knownTime }, streams, cursors, readers, asOf };
}

/** Every row with all that the store knows of it, whatever the order in which it comes. */
async function rowsDigest(store: Store, stream: string): Promise<string> {
  const lines: [number, string][] = [];
  for await (const { batch, sequences, commitNos, knownTimes, tombstones } of store.scan(stream)) {
    for (let i = 0; i < batch.length; i++) {
      const known = [sequences[i], commitNos[i], knownTimes[i], tombstones[i], batch.contract.fingerprint].join(" ");
      lines.push([sequences[i]!, `${known} ${valuesText(Object.values(rowAt(batch, i)))}\n`]);
    }
  }
  return sha256HexOf(lines.sort(([a], [b]) => a - b).map(([, line]) => line));
}

const valuesText = (values: readonly Value[]): string => values.map(valueText).join("|");

/** One text for one value: no two values of a field share one. */
function valueText(value: Value): string {
  if (Object.is(value, -0)) return "-0";
  if (value instanceof Uint8Array) return `0x${toHex(value)}`;
  return typeof value === "string" ? JSON.stringify(value) : String(value);
}
