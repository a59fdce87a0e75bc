import { othersTurn } from "../base/turn.ts";
import { type Batch, type Column, concatBatches, takeRows, usedTexts } from "../contract/batch.ts";
import type { StoredRows } from "./port.ts";
import type { SegmentFile } from "./segment_read.ts";
import { pickRows, sliceStored, withoutErased } from "./select.ts";

/** Rows that are picked, or joined to one column, before others have a turn. */
const LARGE_PAGE = 2_048;

/** Every block of a segment, decoded, in the segment's own order: others have a turn after each. Closes the file. */
export async function decodedBlocks(file: SegmentFile): Promise<readonly StoredRows[]> {
  try {
    const blocks: StoredRows[] = [];
    for (let block = 0; block < file.footer.blockRows.length; block++) {
      blocks.push(file.rows(block));
      await othersTurn();
    }
    return blocks;
  } finally {
    file.close();
  }
}

/** The rows of each commit in (after, upTo], one StoredRows a commit, out of the blocks of their segment. */
export async function commitsOf(
  { footer, info }: SegmentFile,
  blocks: readonly StoredRows[],
  after: number,
  upTo: number,
): Promise<StoredRows[]> {
  const sequenceOf = (commit: number) => footer.firstSequences[commit] ?? info.firstSequence + info.rows;
  const first = footer.commitNos.findIndex((commitNo) => commitNo > after);
  const next = footer.commitNos.findIndex((commitNo) => commitNo > upTo);
  if (first < 0) return [];
  const whole = await rowsBetween(blocks, sequenceOf(first), sequenceOf(next < 0 ? footer.commitNos.length : next));
  if (!whole) return [];
  const found: StoredRows[] = [];
  const { commitNos } = whole;
  for (let from = 0; from < commitNos.length; ) {
    let to = from + 1;
    while (to < commitNos.length && commitNos[to] === commitNos[from]) to++;
    const shown = withoutErased(sliceStored(whole, from, to));
    if (shown.batch.length > 0) found.push(shown);
    from = to;
  }
  return found;
}

/** The rows with sequences in [from, to), in order of sequence; undefined where there are none. */
async function rowsBetween(blocks: readonly StoredRows[], from: number, to: number): Promise<StoredRows | undefined> {
  const picked: StoredRows[] = [];
  let rows = 0;
  for (const block of blocks) {
    const kept = rowsOfBlock(block.sequences, from, to);
    if (kept.length === 0) continue;
    picked.push(pickRows(block, kept));
    rows += kept.length;
    if (rows < LARGE_PAGE) continue;
    await othersTurn();
    rows = 0;
  }
  if (picked.length === 0) return undefined;
  const sequences = joined(picked.map((part) => part.sequences));
  const order = orderOf(sequences, from, to);
  const take = (parts: readonly Float64Array[]): Float64Array => {
    const values = joined(parts);
    return Float64Array.from(order, (at) => values[at]!);
  };
  const flags = Buffer.concat(picked.map((part) => part.tombstones));
  return {
    stream: picked[0]!.stream,
    batch: await joinedBatch(
      picked.map((part) => part.batch),
      order,
    ),
    sequences: take(picked.map((part) => part.sequences)),
    commitNos: take(picked.map((part) => part.commitNos)),
    knownTimes: take(picked.map((part) => part.knownTimes)),
    tombstones: Uint8Array.from(order, (at) => flags[at]!),
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

function joined(parts: readonly Float64Array[]): Float64Array {
  const whole = new Float64Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

/** The batches one after another, then in that order: a column at a time. */
async function joinedBatch(batches: readonly Batch[], order: Int32Array): Promise<Batch> {
  const { contract } = batches[0]!;
  const columns: Column[] = [];
  for (const [c, field] of contract.fields.entries()) {
    const alone = batches.map(({ length, columns: own }): Batch => {
      const column = own[c]!;
      const used = column.kind === "text" ? usedTexts(column, length) : column;
      return { contract: { ...contract, fields: [field] }, length, columns: [used] };
    });
    columns.push(takeRows(concatBatches(alone), order).columns[0]!);
    if (order.length >= LARGE_PAGE) await othersTurn();
  }
  return { contract, length: order.length, columns };
}
