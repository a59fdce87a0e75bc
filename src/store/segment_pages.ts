import { othersTurn } from "../base/turn.ts";
import { type Batch, type Column, concatBatches, joinNumbers, takeRows, usedTexts } from "../contract/batch.ts";
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
  const pause = rows >= LARGE_PAGE || picked.length > 1 ? othersTurn : async () => {};
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

/** The texts that the parts use, once each: a part at a time, since each may be thousands. */
async function joinedTexts(parts: readonly Batch[]): Promise<{ codes: Int32Array; dictionary: string[] }> {
  const codes = new Int32Array(parts.reduce((sum, { length }) => sum + length, 0));
  const dictionary: string[] = [];
  const known = new Map<string, number>();
  let at = 0;
  let since = 0;
  for (const { length, columns } of parts) {
    const used = usedTexts(columns[0]! as Column & { kind: "text" }, length);
    const renamed = used.dictionary.map((text) => {
      const code = known.get(text) ?? dictionary.push(text) - 1;
      if (code === dictionary.length - 1) known.set(text, code);
      return code;
    });
    for (let i = 0; i < length; i++) codes[at++] = used.codes[i]! < 0 ? -1 : renamed[used.codes[i]!]!;
    since += length;
    if (since < LARGE_PAGE) continue;
    await othersTurn();
    since = 0;
  }
  return { codes, dictionary };
}
