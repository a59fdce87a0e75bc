import { firstWhere } from "../base/bisect.ts";
import type { Row } from "../base/row.ts";
import { type Batch, batchOf, rowsOf, takeRows } from "../contract/batch.ts";
import { readSecret } from "./catalogue.ts";
import { rowsOfSegment, type Workshop, type WrittenSegment } from "./compact_work.ts";
import { segmentsPath } from "./database.ts";
import { emptyRows } from "./erase_rows.ts";
import { type KeptRow, keptRows } from "./erased.ts";
import { leavesOf } from "./leaves.ts";
import { isPuncturable, puncture, SALT_BYTES, saltsOf } from "./salts.ts";
import type { SegmentInfo } from "./segment_info.ts";
import { syncDirectory, writeSegment } from "./segment_write.ts";
import { ERASED } from "./select.ts";
import { statementContract } from "./statements.ts";

/**
 * The long part of an erasure: segments are written anew without some rows, and statements without their salts. Like
 * compaction it changes nothing of the catalogue, so it can be done in any thread and given up at any point.
 */

/** What is to be emptied, of some segments. */
export interface EmptyWork {
  /** By sequence what stands there afterwards, null for nothing. */
  readonly segments: readonly { readonly info: SegmentInfo; readonly rows: ReadonlyMap<number, Row | null> }[];
  /** The statements of all their commits. */
  readonly statements: readonly SegmentInfo[];
  /** The stream `erasures` up to now. */
  readonly erasures: readonly SegmentInfo[];
}

/** A row that is gone, and what will be said of it. */
export interface ErasedRow {
  readonly stream: string;
  readonly sequence: number;
  readonly flags: number;
  /** Its leaf in the audit, as it was committed. */
  readonly leaf: Uint8Array;
  readonly replacement?: Uint8Array;
  readonly salt?: Uint8Array;
}

export interface EmptiedSegments {
  /** For each segment what stands for it now; undefined where nothing of it was left to go. */
  readonly written: readonly (WrittenSegment | undefined)[];
  readonly rows: readonly ErasedRow[];
}

/** Salts that are to be forgotten: sorted sequences by stream. */
export interface PunctureWork {
  readonly statements: readonly SegmentInfo[];
  readonly sequences: ReadonlyMap<string, Float64Array>;
}

export interface PuncturedStatements {
  readonly written: readonly (WrittenSegment | undefined)[];
  /** How many of the salts can't be taken away. */
  readonly guessable: number;
}

export async function emptySegments(shop: Workshop, work: EmptyWork): Promise<EmptiedSegments> {
  const leafOf = leavesBy(shop, work);
  const written: (WrittenSegment | undefined)[] = [];
  const gone: ErasedRow[] = [];
  for (const { info, rows } of work.segments) {
    const held = rowsOfSegment(info, shop, shop.directory);
    const flags = held.tombstones.slice();
    const changes = new Map<number, Row | null>();
    for (const [sequence, row] of rows) {
      const index = sequence - info.firstSequence;
      if ((flags[index]! & ERASED) !== 0) continue;
      const batch = takeRows(held.batch, [index]);
      const place = { stream: info.stream, sequence, flags: flags[index]! };
      const leaf = leafOf(place, batch);
      changes.set(index, row);
      if (row) gone.push({ ...place, leaf, ...replacementOf(batch, row, flags[index]!, shop) });
      else {
        gone.push({ ...place, leaf });
        flags[index]! |= ERASED;
      }
    }
    const left = { ...held, batch: emptyRows(held.batch, changes), tombstones: flags };
    written.push(changes.size === 0 ? undefined : await writeSegment(left, info.level, shop));
    await shop.pause();
  }
  syncDirectory(segmentsPath(shop.directory));
  return { written, rows: gone };
}

function replacementOf({ contract }: Batch, row: Row, flags: number, { random }: Workshop) {
  const salt = random.bytes(SALT_BYTES);
  const words = new Int32Array(salt.slice().buffer);
  return { salt, replacement: leavesOf(batchOf(contract, [row]), Uint8Array.of(flags), words) };
}

interface Place {
  readonly stream: string;
  readonly sequence: number;
  readonly flags: number;
}

/** Gives the leaf that a row was committed with: known at once where it was replaced before. */
function leavesBy(
  shop: Workshop,
  { segments, statements, erasures }: EmptyWork,
): (place: Place, batch: Batch) => Uint8Array {
  const saltKey = readSecret(shop.database, shop.sealer, "salt");
  const kept: ReadonlyMap<string, ReadonlyMap<number, KeptRow>> = keptRows(
    [...erasures]
      .sort((a, b) => a.firstSequence - b.firstSequence)
      .map((info) => rowsOfSegment(info, shop, shop.directory)),
  );
  const appends = new Map(segments.map(({ info }) => [info.stream, [] as StatedSalt[]]));
  for (const info of statements) {
    for (const { stream, first_sequence, rows, salt } of rowsOf(rowsOfSegment(info, shop, shop.directory).batch)) {
      const append = { first: first_sequence as number, rows: rows as number, salt: salt as Uint8Array };
      if (append.rows > 0) appends.get(String(stream))?.push(append);
    }
  }
  for (const own of appends.values()) own.sort((a, b) => a.first - b.first);
  let last: { readonly of: object; readonly salts: Int32Array } | undefined;
  return ({ stream, sequence, flags }, batch) => {
    const known = kept.get(stream)?.get(sequence)?.leaf;
    if (known) return known;
    const append = appendOf(appends.get(stream)!, sequence);
    if (!append) throw new Error("invariant broken: a row has a statement");
    if (last?.of !== append) last = { of: append, salts: saltsOf(saltKey, append.salt, append.rows) };
    const at = (sequence - append.first) * 4;
    return leavesOf(batch, Uint8Array.of(flags), last.salts.slice(at, at + 4));
  };
}

/** One append of a stream: where it begins, and what its rows' salts come from. */
interface StatedSalt {
  readonly first: number;
  readonly rows: number;
  readonly salt: Uint8Array;
}

function appendOf(sorted: readonly StatedSalt[], sequence: number): StatedSalt | undefined {
  const found = sorted[firstWhere(0, sorted.length, (at) => sorted[at]!.first > sequence) - 1];
  return found && sequence < found.first + found.rows ? found : undefined;
}

export async function punctureStatements(shop: Workshop, work: PunctureWork): Promise<PuncturedStatements> {
  const written: (WrittenSegment | undefined)[] = [];
  let guessable = 0;
  for (const info of work.statements) {
    const rows = rowsOfSegment(info, shop, shop.directory);
    const stated = rowsOf(rows.batch);
    let changed = false;
    stated.forEach((row, index) => {
      const all = work.sequences.get(String(row.stream));
      const [first, count, salt] = [row.first_sequence as number, row.rows as number, row.salt as Uint8Array];
      const own = all && between(all, first, first + count);
      if (!own || own.length === 0) return;
      if (!isPuncturable(salt)) guessable += own.length;
      else {
        const places = Array.from(own, (sequence) => sequence - first);
        stated[index] = { ...row, salt: puncture(salt, count, places) };
        changed = true;
      }
    });
    const left = { ...rows, batch: batchOf(statementContract, stated) };
    written.push(changed ? await writeSegment(left, info.level, shop) : undefined);
    await shop.pause();
  }
  syncDirectory(segmentsPath(shop.directory));
  return { written, guessable };
}

/** The sorted numbers from `from` up to but without `to`. */
export function between(sorted: Float64Array, from: number, to: number): Float64Array {
  const lower = (bound: number) => firstWhere(0, sorted.length, (at) => sorted[at]! >= bound);
  return sorted.subarray(lower(from), lower(to));
}
