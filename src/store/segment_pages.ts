import { firstWhere } from "../base/bisect.ts";
import { concatBytes } from "../base/bytes.ts";
import { uncleared } from "../base/room.ts";
import { type Pace, pace } from "../base/turn.ts";
import { type Batch, type Column, joinNumbers, withUsedTexts } from "../contract/batch.ts";
import { gathering } from "./gather.ts";
import type { StoredRows } from "./port.ts";
import type { SegmentFile } from "./segment_read.ts";
import { pickRows, sliceStored, withoutErased } from "./select.ts";

/** A segment in windows of so many rows by sequence, each decoded when it is asked for. */
export interface SegmentWindows {
  readonly rows: number;
  /** The window that begins at `from`, a multiple of `rows` after the first sequence. */
  at(from: number): Promise<StoredRows | undefined>;
}

/**
 * The rows with sequences in [from, to), in that order, their texts packed; undefined where there are none. Every block is
 * looked at, those that hold one of the rows are decoded, a column at a time, and others have turns. Closes the file.
 */
export async function windowOf(file: SegmentFile, from: number, to: number): Promise<StoredRows | undefined> {
  const steps = pace();
  const { contract, footer, info } = file;
  const length = to - from;
  const columns = contract.fields.map((field) => gathering(field, length));
  const tombstones = new Uint8Array(length);
  const found = new Uint8Array(length);
  const room = new Float64Array(footer.blockRows.reduce((most, rows) => Math.max(most, rows), 0)); // of a column at a time
  try {
    for (let block = 0; block < footer.blockRows.length; block++) {
      if (steps.due()) await steps.turn();
      const sequences = file.sequences(block);
      if (steps.due()) await steps.turn();
      const { rows, targets } = rowsOfBlock(sequences, from, to);
      if (rows.length === 0) continue;
      for (let c = 0; c < columns.length; c++) {
        await columns[c]!.put(file.column(block, c, true, room), rows, targets, steps);
        if (steps.due()) await steps.turn();
      }
      const flags = file.tombstones(block);
      for (let i = 0; i < rows.length; i++) {
        tombstones[targets[i]!] = flags[rows[i]!]!;
        found[targets[i]!] = 1;
      }
    }
    const batch: Batch = { contract, length, columns: await finished(columns, steps) };
    const whole: StoredRows = {
      stream: info.stream,
      batch,
      ...(await knownFrom(file, from, length, steps)),
      tombstones,
    };
    return withoutMissing(whole, found);
  } finally {
    file.close();
  }
}

async function finished(columns: readonly ReturnType<typeof gathering>[], steps: Pace): Promise<Column[]> {
  const done: Column[] = [];
  for (const column of columns) done.push(await column.finish(steps));
  return done;
}

/** The rows of the block with sequences in [from, to), and which of those each is. */
function rowsOfBlock(sequences: Float64Array, from: number, to: number): { rows: Int32Array; targets: Int32Array } {
  const rows = new Int32Array(sequences.length);
  const targets = new Int32Array(sequences.length);
  let count = 0;
  for (let i = 0; i < sequences.length; i++) {
    const sequence = sequences[i]!;
    if (sequence < from || sequence >= to) continue;
    rows[count] = i;
    targets[count++] = sequence - from;
  }
  return { rows: rows.subarray(0, count), targets: targets.subarray(0, count) };
}

const doubles = (length: number) => new Float64Array(uncleared(length * 8));

/** Rows whose commits are noted before it is asked whether others should have a turn. */
const KNOWN_STEP = 4_096;

/** What the footer knows of `length` sequences from `from` on. */
async function knownFrom({ footer, spanOf }: SegmentFile, from: number, length: number, steps: Pace) {
  const [sequences, commitNos, knownTimes] = [doubles(length), doubles(length), doubles(length)];
  for (let span = spanOf(from), at = 0; at < length; span++) {
    const end = Math.min(length, (footer.firstSequences[span + 1] ?? Number.POSITIVE_INFINITY) - from);
    while (at < end) {
      const to = Math.min(end, at + KNOWN_STEP);
      if (steps.due()) await steps.turn();
      commitNos.fill(footer.commitNos[span]!, at, to);
      knownTimes.fill(footer.knownTimes[span]!, at, to);
      for (; at < to; at++) sequences[at] = from + at;
    }
  }
  return { sequences, commitNos, knownTimes };
}

/** A segment's sequences are gapless; should one not be, what it lacks is left out. */
function withoutMissing(whole: StoredRows, found: Uint8Array): StoredRows | undefined {
  if (!found.includes(0)) return whole;
  const kept = new Int32Array(found.length);
  let count = 0;
  for (let i = 0; i < found.length; i++) if (found[i] === 1) kept[count++] = i;
  return count === 0 ? undefined : pickRows(whole, kept.subarray(0, count));
}

/** The rows of each commit in (after, upTo], one StoredRows a commit, out of the windows of their segment. */
export async function commitsOf(
  { footer, info }: Pick<SegmentFile, "footer" | "info">,
  windows: SegmentWindows,
  after: number,
  upTo: number,
): Promise<StoredRows[]> {
  const sequenceOf = (commit: number) => footer.firstSequences[commit] ?? info.firstSequence + info.rows;
  const first = footer.commitNos.findIndex((commitNo) => commitNo > after);
  const next = footer.commitNos.findIndex((commitNo) => commitNo > upTo);
  if (first < 0) return [];
  const [from, to] = [sequenceOf(first), sequenceOf(next < 0 ? footer.commitNos.length : next)];
  const commits: StoredRows[][] = [];
  const steps = pace();
  const begin = from - ((from - info.firstSequence) % windows.rows);
  for (let at = begin; at < to; at += windows.rows) {
    const whole = await windows.at(at);
    if (!whole) continue;
    const { sequences } = whole;
    const start = firstWhere(0, sequences.length, (row) => sequences[row]! >= from);
    const end = firstWhere(start, sequences.length, (row) => sequences[row]! >= to);
    if (start === end) continue;
    const part = sliceStored(whole, start, end);
    if (steps.due()) await steps.turn();
    const batch = withUsedTexts(part.batch);
    if (steps.due()) await steps.turn();
    splitCommits({ ...part, batch }, commits);
    if (steps.due()) await steps.turn();
  }
  const found: StoredRows[] = [];
  for (const parts of commits) {
    const shown = withoutErased(parts.length === 1 ? parts[0]! : await joinedParts(parts, steps));
    if (shown.batch.length > 0) found.push(shown);
  }
  return found;
}

/** Adds the rows to `into`, a list of parts for each commit: one may have begun in the window before. */
function splitCommits(rows: StoredRows, into: StoredRows[][]): void {
  const { commitNos } = rows;
  for (let from = 0; from < commitNos.length; ) {
    let to = from + 1;
    while (to < commitNos.length && commitNos[to] === commitNos[from]) to++;
    const commit = sliceStored(rows, from, to);
    const last = into.at(-1);
    if (last && last[0]!.commitNos[0] === commitNos[from]) last.push(commit);
    else into.push([commit]);
    from = to;
  }
}

/** The parts of a commit, which are in order, as one: in turns, since it may be larger than a window. */
async function joinedParts(parts: readonly StoredRows[], steps: Pace): Promise<StoredRows> {
  const [{ stream, batch }] = parts as [StoredRows];
  const length = parts.reduce((sum, part) => sum + part.batch.length, 0);
  const columns: Column[] = [];
  const all = Int32Array.from({ length }, (_, i) => i);
  for (const [c, field] of batch.contract.fields.entries()) {
    const column = gathering(field, length);
    let at = 0;
    for (const part of parts) {
      const to = at + part.batch.length;
      await column.put(part.batch.columns[c]!, all.subarray(0, part.batch.length), all.subarray(at, to), steps);
      at = to;
      if (steps.due()) await steps.turn();
    }
    columns.push(await column.finish(steps));
  }
  return {
    stream,
    batch: { contract: batch.contract, length, columns },
    sequences: joinNumbers(parts.map((part) => part.sequences)),
    commitNos: joinNumbers(parts.map((part) => part.commitNos)),
    knownTimes: joinNumbers(parts.map((part) => part.knownTimes)),
    tombstones: concatBytes(parts.map((part) => part.tombstones)),
  };
}
