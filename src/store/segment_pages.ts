import { othersTurn } from "../base/turn.ts";
import { type Batch, type Column, concatBatches, joinNumbers, takeRows, withUsedTexts } from "../contract/batch.ts";
import type { StoredRows } from "./port.ts";
import type { SegmentFile } from "./segment_read.ts";
import { pickRows, sliceStored, withoutErased } from "./select.ts";

/** Rows that are picked, or joined to one column, before others have a turn. */
const LARGE_PAGE = 2_048;

/** A segment in windows of so many rows by sequence, each decoded when it is asked for. */
export interface SegmentWindows {
  readonly rows: number;
  /** The window that begins at `from`, a multiple of `rows` after the first sequence. */
  at(from: number): Promise<StoredRows | undefined>;
}

/**
 * The rows with sequences in [from, to), in that order; undefined where there are none. Every block is looked at, those
 * that hold one of the rows are decoded, and others have a turn after each. Closes the file.
 */
export async function windowOf(file: SegmentFile, from: number, to: number): Promise<StoredRows | undefined> {
  try {
    const picked: StoredRows[] = [];
    for (let block = 0; block < file.footer.blockRows.length; block++) {
      const kept = rowsOfBlock(file.sequences(block), from, to);
      if (kept.length > 0) picked.push(pickRows(file.rows(block), kept));
      await othersTurn();
    }
    return await inOrder(picked, from, to);
  } finally {
    file.close();
  }
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
  const begin = from - ((from - info.firstSequence) % windows.rows);
  for (let at = begin; at < to; at += windows.rows) {
    const whole = await windows.at(at);
    if (!whole) continue;
    const [start, end] = [rankOf(whole.sequences, from), rankOf(whole.sequences, to)];
    if (start === end) continue;
    const part = sliceStored(whole, start, end);
    splitCommits({ ...part, batch: withUsedTexts(part.batch) }, commits);
    await othersTurn();
  }
  const found: StoredRows[] = [];
  for (const parts of commits) {
    const shown = withoutErased(await joinedParts(parts));
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
async function joinedParts(parts: readonly StoredRows[]): Promise<StoredRows> {
  const [first] = parts;
  if (parts.length === 1) return first!;
  return (await inOrder(parts, first!.sequences[0]!, parts.at(-1)!.sequences.at(-1)! + 1))!;
}

/** How many of the ascending sequences are less. */
function rankOf(sequences: Float64Array, sequence: number): number {
  let low = 0;
  let high = sequences.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (sequences[middle]! < sequence) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Rows with sequences in [from, to) of several blocks, in order of sequence. */
async function inOrder(picked: readonly StoredRows[], from: number, to: number): Promise<StoredRows | undefined> {
  if (picked.length === 0) return undefined;
  const pause = picked.length > 1 ? othersTurn : async () => {};
  const order = orderOf(joinNumbers(picked.map((part) => part.sequences)), from, to);
  await pause();
  const taken = async (parts: readonly Float64Array[]) => {
    const values = joinNumbers(parts);
    const into = new Float64Array(order.length);
    for (let i = 0; i < into.length; i++) into[i] = values[order[i]!]!;
    await pause();
    return into;
  };
  const flags = Buffer.concat(picked.map((part) => part.tombstones));
  return {
    stream: picked[0]!.stream,
    sequences: await taken(picked.map((part) => part.sequences)),
    commitNos: await taken(picked.map((part) => part.commitNos)),
    knownTimes: await taken(picked.map((part) => part.knownTimes)),
    tombstones: order.every((at) => flags[at] === 0)
      ? new Uint8Array(order.length)
      : Uint8Array.from(order, (at) => flags[at]!),
    batch: await joinedBatch(
      picked.map((part) => part.batch),
      order,
    ),
  };
}

/** Where each row stands that is next in sequence: by counting where no sequence of the range is missing. */
function orderOf(sequences: Float64Array, from: number, to: number): Int32Array {
  const order = new Int32Array(sequences.length);
  if (to - from !== sequences.length) {
    for (let i = 0; i < order.length; i++) order[i] = i;
    return order.sort((a, b) => sequences[a]! - sequences[b]!);
  }
  for (let i = 0; i < order.length; i++) order[sequences[i]! - from] = i;
  return order;
}

function rowsOfBlock(sequences: Float64Array, from: number, to: number): Int32Array {
  const kept = new Int32Array(sequences.length);
  let count = 0;
  for (let i = 0; i < sequences.length; i++) if (sequences[i]! >= from && sequences[i]! < to) kept[count++] = i;
  return kept.subarray(0, count);
}

/** The batches one after another, then in that order: a column at a time. */
async function joinedBatch(batches: readonly Batch[], order: Int32Array): Promise<Batch> {
  const { contract } = batches[0]!;
  const columns: Column[] = [];
  for (const [c, field] of contract.fields.entries()) {
    const alone = batches.map(
      ({ length, columns: own }): Batch => ({
        contract: { ...contract, fields: [field] },
        length,
        columns: [own[c]!],
      }),
    );
    columns.push(await joinedColumn(alone, order));
    if (order.length >= LARGE_PAGE) await othersTurn();
  }
  return { contract, length: order.length, columns };
}

async function joinedColumn(parts: readonly Batch[], order: Int32Array): Promise<Column> {
  if (parts.some(({ columns }) => columns[0]!.kind !== "text"))
    return takeRows(concatBatches(parts), order).columns[0]!;
  const { codes, dictionary } = await joinedTexts(parts);
  const ordered = new Int32Array(order.length);
  for (let i = 0; i < order.length; i++) ordered[i] = codes[order[i]!]!;
  return { kind: "text", codes: ordered, dictionary };
}

/** The texts that the parts use, once each: some rows at a time, since each may have a text of its own. */
async function joinedTexts(parts: readonly Batch[]): Promise<{ codes: Int32Array; dictionary: string[] }> {
  const codes = new Int32Array(parts.reduce((sum, { length }) => sum + length, 0));
  const dictionary: string[] = [];
  const known = new Map<string, number>();
  let at = 0;
  for (const { length, columns } of parts) {
    const own = columns[0] as Column & { kind: "text" };
    const renamed = new Int32Array(own.dictionary.length); // codes plus one, 0 before the first use
    for (let i = 0; i < length; i++) {
      const code = own.codes[i]!;
      if (code >= 0 && renamed[code] === 0) renamed[code] = 1 + codeIn(own.dictionary[code]!, known, dictionary);
      codes[at++] = code < 0 ? -1 : renamed[code]! - 1;
      if (at % LARGE_PAGE === 0) await othersTurn();
    }
  }
  return { codes, dictionary };
}

function codeIn(text: string, known: Map<string, number>, dictionary: string[]): number {
  const code = known.get(text);
  if (code !== undefined) return code;
  known.set(text, dictionary.length);
  return dictionary.push(text) - 1;
}
