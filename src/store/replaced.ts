import { closeSync } from "node:fs";
import { firstWhere } from "../base/bisect.ts";
import { damagedRows, isDamage } from "./damage.ts";
import { storeErrors } from "./errors.ts";
import type { StoredRows } from "./port.ts";
import { smallest } from "./segment_files.ts";
import type { SegmentInfo } from "./segment_info.ts";
import { openHandle } from "./segment_read.ts";
import { pickRows } from "./select.ts";
import type { Snapshot } from "./tail_index.ts";

/*
 * Segments are replaced beside readers: merged, rewritten, dropped. A file that is open stays readable; one that a slow
 * reader has not opened yet may be gone by then. What replaced it holds the same rows under the same sequences and commits,
 * so a read that has handed nothing out yet is made again over the log as it is then, and answers the same.
 */

/** A read is made so often at most. */
export const REPLACED_TRIES_MAX = 5;
/** So many files are kept open for a long look at a snapshot, those first that are merged soonest. */
const HELD_FILES_MAX = 4_096;

type Look = () => Snapshot;

/**
 * What `read` gives of the log as it is; where a file of that was replaced and removed before it was opened, of the log as
 * it is then. Throws store.overtaken where that goes on.
 */
export function readAgain<T>(look: Look, read: (snapshot: Snapshot) => T): T {
  for (let tries = 1; ; tries++) {
    try {
      return read(look());
    } catch (cause) {
      checkReplaced(cause, look, tries);
    }
  }
}

/** The same of a read that takes turns. */
export async function readAgainInTurns<T>(look: Look, read: (snapshot: Snapshot) => Promise<T>): Promise<T> {
  for (let tries = 1; ; tries++) {
    try {
      return await read(look());
    } catch (cause) {
      checkReplaced(cause, look, tries);
    }
  }
}

/** Throws the cause, unless it is a replaced file and there are tries left; store.overtaken once there are none. */
function checkReplaced(cause: unknown, look: Look, tries: number): void {
  if (!isReplaced(cause, look)) throw cause;
  if (tries >= REPLACED_TRIES_MAX) throw overtaken(cause);
}

/** Whether the error is of a file that is gone because the log no longer names it. */
export function isReplaced(cause: unknown, look: Look): boolean {
  if (!isDamage(cause) || (cause.cause as { code?: string } | undefined)?.code !== "ENOENT") return false;
  const rows = damagedRows(cause);
  return rows !== undefined && !look().segments.some(({ file }) => file === rows.file);
}

/** The rows of a stream that a scan has given out: whole segments, so that it can go on over what replaced the others. */
export interface GivenRows {
  /** How many segments they were. */
  count(): number;
  add(segment: Sequences): void;
  /** Whether all rows of the segment were given, or some. */
  all(segment: Sequences): boolean;
  some(segment: Sequences): boolean;
  /** The rows that were not; undefined where all were. */
  rest(rows: StoredRows): StoredRows | undefined;
}

type Sequences = Pick<SegmentInfo, "firstSequence" | "rows">;

export function givenRows(): GivenRows {
  /** Ranges without gaps between them are one; in order. `ends` are exclusive. */
  let starts: number[] = [];
  let ends: number[] = [];
  let count = 0;
  /** Of the first range that ends behind a sequence. */
  const indexOf = (sequence: number): number => firstWhere(0, ends.length, (at) => ends[at]! > sequence);
  const has = (sequence: number): boolean => (starts[indexOf(sequence)] ?? Number.POSITIVE_INFINITY) <= sequence;
  return {
    count: () => count,
    add({ firstSequence, rows }) {
      count++;
      const all: (readonly [number, number])[] = starts.map((start, i) => [start, ends[i]!]);
      all.push([firstSequence, firstSequence + rows]);
      starts = [];
      ends = [];
      for (const [start, end] of all.sort((a, b) => a[0] - b[0])) {
        if (ends.length > 0 && start <= ends.at(-1)!) ends[ends.length - 1] = Math.max(end, ends.at(-1)!);
        else {
          starts.push(start);
          ends.push(end);
        }
      }
    },
    all({ firstSequence, rows }) {
      const at = indexOf(firstSequence);
      return has(firstSequence) && ends[at]! >= firstSequence + rows;
    },
    some: ({ firstSequence, rows }) =>
      (starts[indexOf(firstSequence)] ?? Number.POSITIVE_INFINITY) < firstSequence + rows,
    rest(stored) {
      const kept: number[] = [];
      for (let i = 0; i < stored.sequences.length; i++) if (!has(stored.sequences[i]!)) kept.push(i);
      if (kept.length === 0) return undefined;
      return kept.length === stored.sequences.length ? stored : pickRows(stored, Int32Array.from(kept));
    },
  };
}

export function overtaken(cause: unknown): Error {
  const rows = damagedRows(cause);
  const message = `segments of ${rows?.stream ?? "the log"} were replaced again and again before they were opened`;
  return storeErrors.error("overtaken", message, { cause });
}

/** A snapshot whose files stay readable, whatever becomes of their names. */
export interface HeldSnapshot {
  readonly snapshot: Snapshot;
  /** The open handle of each file that is held: of all but those that are damaged, or too many. */
  readonly handles: ReadonlyMap<string, number>;
  close(): void;
}

/** Looks, and opens the files at once: for work that goes through them for minutes. */
export function holdSnapshot(directory: string, look: Look, most = HELD_FILES_MAX): HeldSnapshot {
  return readAgain(look, (snapshot) => {
    const handles = holdFiles(directory, snapshot.segments, look, most);
    return { snapshot, handles, close: () => closeAll(handles) };
  });
}

function holdFiles(directory: string, segments: readonly SegmentInfo[], look: Look, most: number): Map<string, number> {
  const handles = new Map<string, number>();
  for (const info of smallest(segments, most)) {
    try {
      handles.set(info.file, openHandle(directory, info));
    } catch (cause) {
      if (!isReplaced(cause, look)) continue; // damage, or one file too many: who reads it says so
      closeAll(handles);
      throw cause;
    }
  }
  return handles;
}

function closeAll(handles: Map<string, number>): void {
  for (const handle of handles.values()) closeSync(handle);
  handles.clear();
}
