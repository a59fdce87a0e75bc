import { unlinkSync } from "node:fs";
import { join } from "node:path";
import type { Random } from "../base/random.ts";
import type { Row, Value } from "../base/row.ts";
import type { Micros } from "../base/time.ts";
import { othersTurn } from "../base/turn.ts";
import { type Batch, batchOf, rowsOf, takeRows } from "../contract/batch.ts";
import { ERASURES, erasureContract } from "../contract/streams.ts";
import { readSecret, readState, writeState } from "./catalogue.ts";
import { rowsOfSegment } from "./compact_work.ts";
import { segmentsPath } from "./database.ts";
import { type Encoder, encodeCommit } from "./encode.ts";
import { emptyRows } from "./erase_rows.ts";
import { type KeptRow, keptRows } from "./erased.ts";
import { storeErrors } from "./errors.ts";
import type { FoldKeeper } from "./folds.ts";
import { contentHasher, leavesOf } from "./leaves.ts";
import { HASH_BYTES } from "./record.ts";
import { replaceSegments } from "./replace.ts";
import { isPuncturable, puncture, SALT_BYTES, saltsOf } from "./salts.ts";
import { scrub } from "./scrub.ts";
import { readSegmentInfos, type SegmentInfo } from "./segment_info.ts";
import { type SegmentRows, type SegmentTarget, syncDirectory, writeSegment } from "./segment_write.ts";
import { ERASED, TOMBSTONE } from "./select.ts";
import type { LogWriter } from "./sqlite_log.ts";
import { STATEMENTS, statementContract } from "./statements.ts";

/** Rows of one stream that are to go. */
export interface ErasedRows {
  readonly stream: string;
  /** Sequences of those that become empty places. */
  readonly emptied: readonly number[];
  /** Those of which something stays: what stands there afterwards. */
  readonly replaced: readonly { readonly sequence: number; readonly row: Row }[];
}

/** What is to be erased, found in everything up to commit `head`. */
export interface Erasure {
  readonly erasure: string;
  readonly head: number;
  /** What names the entity, and the keyed digest of its values: see erased.ts. */
  readonly fields: readonly string[];
  readonly digest: Uint8Array;
  /** JSON, for whoever reads the log later. */
  readonly body: string;
  readonly at: Micros;
  readonly streams: readonly ErasedRows[];
}

export interface ErasureOutcome {
  readonly commitNo: number;
  readonly knownTime: Micros;
  /** Rows that are empty places now, and rows that were replaced. */
  readonly emptied: number;
  readonly replaced: number;
  /** Those of both in commits of an earlier version: with the store's salt key, guesses can be tested against their leaves. */
  readonly guessable: number;
  /** Segment files that were written anew. */
  readonly files: number;
  /** False where a reader held the database meanwhile: what is left in its unused places goes at the next start. */
  readonly scrubbed: boolean;
}

/** What erasing needs of the thread that writes. */
export interface Erasing {
  readonly log: LogWriter;
  readonly target: SegmentTarget;
  readonly encoder: Encoder;
  readonly saltKey: Uint8Array;
  readonly folds: Pick<FoldKeeper, "forget">;
}

export function erasingOf(
  log: LogWriter,
  folds: Pick<FoldKeeper, "forget">,
  directory: string,
  random: Random,
): Erasing {
  const { sealer, database } = log;
  const saltKey = readSecret(database, sealer, "salt");
  const encoder: Encoder = { sealer, contentRoot: contentHasher(saltKey), random, known: new Set() };
  return { log, folds, saltKey, encoder, target: { directory, sealer, random, pause: othersTurn } };
}

/**
 * Takes rows out of the log, for good: the segments that hold them and their statements are written anew without them and
 * without their salts, and one transaction puts these in the place of the old ones, whose nonces go, forgets the saved
 * folds, and commits the rows' leaves to the stream `erasures`. A crash before it leaves everything as it was; after it the
 * next start finishes. The tail must be compacted and no compaction may run. Throws store.stale_writer where the log has
 * moved on from `head`.
 */
export async function eraseRows(erasing: Erasing, erasure: Erasure): Promise<ErasureOutcome> {
  const { log, target, encoder, folds } = erasing;
  const { database, sealer } = log;
  if (log.state().head.commitNo !== erasure.head || log.state().tail.records > 0) {
    throw storeErrors.error("stale_writer", `the log has moved on from commit ${erasure.head}`);
  }
  const infos = readSegmentInfos(database, sealer);
  const gone: SegmentInfo[] = [];
  const written: Omit<SegmentInfo, "segmentId">[] = [];
  try {
    const kept = keptRows(partsOf(erasing, infos, ERASURES));
    const targets: Target[] = [];
    const rewrite = async (info: SegmentInfo, rows: SegmentRows) => {
      gone.push(info);
      written.push(await writeSegment(rows, info.level, target));
    };
    for (const stream of erasure.streams) {
      await emptySegments(erasing, infos, stream, kept.get(stream.stream), targets, rewrite);
    }
    const guessable = await punctureStatements(erasing, infos, targets, rewrite);
    if (written.length > 0) syncDirectory(segmentsPath(target.directory));
    const request = { appends: [{ stream: ERASURES, batch: erasureRows(erasure, targets) }] };
    const { commitNo, knownTime } = log.commitWith(encodeCommit(request, encoder), erasure.head, () => {
      const state = replaceSegments(database, sealer, readState(database, sealer), gone, written);
      writeState(database, sealer, { ...state, scrub: true });
      folds.forget();
    });
    removeFiles(target, gone);
    const replaced = targets.filter(({ replacement }) => replacement !== undefined).length;
    const files = written.length;
    const scrubbed = scrub(database, sealer, target.directory);
    return { commitNo, knownTime, emptied: targets.length - replaced, replaced, guessable, files, scrubbed };
  } catch (cause) {
    // Where the commit is there, these are the files of the log now.
    const named = new Set(readSegmentInfos(database, sealer).map(({ file }) => file));
    removeFiles(
      target,
      written.filter(({ file }) => !named.has(file)),
    );
    throw cause;
  }
}

export function removeFiles({ directory }: SegmentTarget, infos: readonly { readonly file: string }[]): void {
  for (const { file } of infos) {
    try {
      unlinkSync(join(segmentsPath(directory), file));
    } catch {
      // Its nonce is gone, so it can't be read; the next start sweeps it.
    }
  }
}

function* partsOf({ log, target }: Erasing, infos: readonly SegmentInfo[], stream: string): Generator<SegmentRows> {
  const own = infos.filter((info) => info.stream === stream).sort((a, b) => a.firstSequence - b.firstSequence);
  for (const info of own) yield rowsOfSegment(info, log, target.directory);
}

/** One row that goes: as it was, and what will be said of it. */
interface Target {
  readonly stream: string;
  readonly sequence: number;
  readonly flags: number;
  /** One row. */
  readonly batch: Batch;
  /** Its leaf in the audit: known at once where it was replaced before. */
  leaf: Uint8Array | undefined;
  readonly replacement?: Uint8Array;
  readonly salt?: Uint8Array;
}

type Rewrite = (info: SegmentInfo, rows: SegmentRows) => Promise<void>;

async function emptySegments(
  { log, target }: Erasing,
  infos: readonly SegmentInfo[],
  { stream, emptied, replaced }: ErasedRows,
  kept: ReadonlyMap<number, KeptRow> | undefined,
  targets: Target[],
  rewrite: Rewrite,
): Promise<void> {
  const rowsBySequence = new Map<number, Row | null>(emptied.map((sequence) => [sequence, null]));
  for (const { sequence, row } of replaced) rowsBySequence.set(sequence, row);
  const sequences = Float64Array.from(rowsBySequence.keys()).sort();
  for (const info of infos) {
    if (info.stream !== stream) continue;
    const own = between(sequences, info.firstSequence, info.firstSequence + info.rows);
    if (own.length === 0) continue;
    const rows = rowsOfSegment(info, log, target.directory);
    const flags = rows.tombstones.slice();
    const changes = new Map<number, Row | null>();
    for (const sequence of own) {
      const index = sequence - info.firstSequence;
      if ((flags[index]! & ERASED) !== 0) continue;
      const row = rowsBySequence.get(sequence)!;
      const batch = takeRows(rows.batch, [index]);
      const place = { stream, sequence, flags: flags[index]!, batch, leaf: kept?.get(sequence)?.leaf };
      changes.set(index, row);
      if (row) targets.push({ ...place, ...replacementOf(batch, row, flags[index]!, target) });
      else {
        targets.push(place);
        flags[index]! |= ERASED;
      }
    }
    if (changes.size > 0) await rewrite(info, { ...rows, batch: emptyRows(rows.batch, changes), tombstones: flags });
  }
}

function replacementOf({ contract }: Batch, row: Row, flags: number, { random }: SegmentTarget) {
  const salt = random.bytes(SALT_BYTES);
  const words = new Int32Array(salt.slice().buffer);
  return { salt, replacement: leavesOf(batchOf(contract, [row]), Uint8Array.of(flags), words) };
}

/** The sorted numbers from `from` up to but without `to`. */
function between(sorted: Float64Array, from: number, to: number): Float64Array {
  const lower = (bound: number) => {
    let [low, high] = [0, sorted.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (sorted[middle]! < bound) low = middle + 1;
      else high = middle;
    }
    return low;
  };
  return sorted.subarray(lower(from), lower(to));
}

/** Takes the leaves of the targets and then their salts away. Gives how many salts can't be taken away. */
async function punctureStatements(
  { log, target, saltKey }: Erasing,
  infos: readonly SegmentInfo[],
  targets: readonly Target[],
  rewrite: Rewrite,
): Promise<number> {
  const byStream = Map.groupBy(targets, ({ stream }) => stream);
  for (const list of byStream.values()) list.sort((a, b) => a.sequence - b.sequence);
  const sequences = new Map(
    [...byStream].map(([stream, list]) => [stream, Float64Array.from(list, ({ sequence }) => sequence)]),
  );
  let guessable = 0;
  for (const info of infos) {
    if (info.stream !== STATEMENTS || targets.length === 0) continue;
    const rows = rowsOfSegment(info, log, target.directory);
    const stated = rowsOf(rows.batch);
    let changed = false;
    stated.forEach((row, index) => {
      const all = sequences.get(String(row.stream));
      const first = row.first_sequence as number;
      const own = all && between(all, first, first + (row.rows as number));
      if (!all || !own || own.length === 0) return;
      const from = (own.byteOffset - all.byteOffset) / all.BYTES_PER_ELEMENT;
      const list = byStream.get(String(row.stream))!.slice(from, from + own.length);
      const salt = row.salt as Uint8Array;
      const count = row.rows as number;
      takeLeaves(list, first, saltsOf(saltKey, salt, count));
      if (!isPuncturable(salt)) guessable += list.length;
      else {
        const places = list.map(({ sequence }) => sequence - first);
        stated[index] = { ...row, salt: puncture(salt, count, places) };
        changed = true;
      }
    });
    if (changed) await rewrite(info, { ...rows, batch: batchOf(statementContract, stated) });
    await target.pause();
  }
  return guessable;
}

function takeLeaves(targets: readonly Target[], firstSequence: number, salts: Int32Array): void {
  for (const target of targets) {
    const at = (target.sequence - firstSequence) * 4;
    target.leaf ??= leavesOf(target.batch, Uint8Array.of(target.flags), salts.slice(at, at + 4));
    if (target.leaf.length !== HASH_BYTES) throw new Error("invariant broken: a leaf has 32 bytes");
  }
}

function erasureRows({ erasure, fields, digest, body, at }: Erasure, targets: readonly Target[]): Batch {
  const none: Record<string, Value> = Object.fromEntries(erasureContract.fields.map(({ name }) => [name, null]));
  const entity: Row = { ...none, erasure, kind: "entity", fields: JSON.stringify(fields), digest, body, at };
  const rows = targets.map(({ stream, sequence, flags, leaf, replacement = null, salt = null }): Row => {
    const tombstone = (flags & TOMBSTONE) !== 0;
    return { ...none, erasure, kind: "row", stream, sequence, tombstone, leaf: leaf!, replacement, salt, at };
  });
  return batchOf(erasureContract, [entity, ...rows]);
}
