import type { Micros } from "../base/time.ts";
import { codeAt, type PointColumn, pointAt } from "../contract/codec_point.ts";
import { compareText, type PackedTexts } from "../contract/codec_texts.ts";
import { rowWith, STATIC_TIME, type Version, type VersionCursor } from "./as_of.ts";
import type { BlockColumns, SegmentFiles } from "./segment_files.ts";
import type { SegmentFile } from "./segment_read.ts";
import { ERASED, entityKey, TOMBSTONE } from "./select.ts";
import { NO_TIME } from "./sort.ts";

/** What a search for one entity sees of a block. */
interface Block {
  readonly columns: BlockColumns;
  /** Negative where the row's entity comes before the one that is sought, 0 where it is that one. */
  compare(row: number): number;
  timeAt(row: number): Micros;
}

/** The versions of one entity in a segment with event time at most `at` and commit at most `upTo`, latest first. */
export function segmentCursor(
  files: SegmentFiles,
  file: SegmentFile,
  key: string,
  at: Micros,
  upTo: number,
): VersionCursor | undefined {
  const { footer } = file;
  const blockOf = blockReader(files, file, key);
  const after = firstBeyond(file, blockOf, key, at);
  if (after === undefined) return undefined;
  let { number, block, row } = after;
  const whole = upTo >= file.info.lastCommit;
  let time: Micros | undefined;
  /** Steps to the row before, if it is of this entity. */
  const step = () => {
    time = undefined;
    for (;;) {
      row--;
      while (row < 0) {
        if (--number < 0 || compareText(footer.lastEntities, number, key) < 0) return;
        block = blockOf(number);
        row = footer.blockRows[number]! - 1;
      }
      if (block.compare(row) !== 0) return;
      if (file.info.erased && (flagsAt(files, block.columns, row) & ERASED) !== 0) continue;
      if (!whole && commitOf(files, block.columns, row) > upTo) continue;
      const found = block.timeAt(row);
      if (found === NO_TIME) return;
      time = found;
      return;
    }
  };
  step();
  return {
    time: () => time,
    take() {
      const version = versionOf(files, block.columns, row);
      step();
      return version;
    },
  };
}

function commitOf(files: SegmentFiles, columns: BlockColumns, row: number): number {
  const { footer, spanOf } = columns.file;
  return footer.commitNos[spanOf(sequenceAt(files, columns, row))]!;
}

function sequenceAt(files: SegmentFiles, columns: BlockColumns, row: number): number {
  return Number(pointAt(files.column(columns, columns.file.contract.fields.length), row));
}

/** The bits of select.ts. */
function flagsAt(files: SegmentFiles, columns: BlockColumns, row: number): number {
  return Number(pointAt(files.column(columns, columns.file.contract.fields.length + 1), row));
}

function versionOf(files: SegmentFiles, columns: BlockColumns, row: number): Version {
  const { contract } = columns.file;
  const valueAt = (index: number) => pointAt(files.column(columns, index), row);
  return {
    contract,
    get sequence() {
      return sequenceAt(files, columns, row); // asked for only where versions of one time stand beside each other
    },
    tombstone: (flagsAt(files, columns, row) & TOMBSTONE) !== 0,
    value: (field) => valueAt(contract.fields.findIndex(({ name }) => name === field)),
    row: (wanted) => rowWith(contract, wanted, valueAt),
  };
}

/** The blocks of a file as a search for an entity sees them. A block of that entity alone is not opened to compare. */
function blockReader(files: SegmentFiles, file: SegmentFile, key: string): (number: number) => Block {
  const { contract, footer } = file;
  const fields = contract.entity.map((name) => contract.fields.findIndex((field) => field.name === name));
  const { eventTime } = contract;
  const timeField = eventTime === undefined ? -1 : contract.fields.findIndex(({ name }) => name === eventTime);
  return (number) => {
    const columns = files.block(file, number);
    const alone =
      compareText(footer.firstEntities, number, key) === 0 && compareText(footer.lastEntities, number, key) === 0;
    let times: PointColumn | undefined;
    return {
      columns,
      compare: alone
        ? () => 0
        : comparer(
            fields.map((field) => files.column(columns, field)),
            key,
          ),
      timeAt(row) {
        if (timeField < 0) return STATIC_TIME;
        times ??= files.column(columns, timeField);
        const time = pointAt(times, row);
        return time === null ? NO_TIME : Number(time);
      },
    };
  };
}

/** How the entity of a row compares with the key; a null entity is the empty text, as in the fences. */
function comparer(columns: readonly PointColumn[], key: string): (row: number) => number {
  const only = columns.length === 1 ? columns[0]! : undefined;
  if (only?.texts && key.startsWith("s")) return codeComparer(only, only.texts, key.slice(1));
  return (row) => {
    const own = entityKey(columns.map((column) => pointAt(column, row))) ?? "";
    return own === key ? 0 : own < key ? -1 : 1;
  };
}

/** Where the entity is one text, the key is that text after an `s`. Rows of one entity have one code, compared once. */
function codeComparer(column: PointColumn, texts: PackedTexts, text: string): (row: number) => number {
  let [last, order] = [-1, -1]; // null comes before every text
  return (row) => {
    const code = codeAt(column, texts, row);
    if (code !== last) [last, order] = [code, code < 0 ? -1 : compareText(texts, code, text)];
    return order;
  };
}

/** The first row that stands after every row of the entity with event time at most `at`. */
function firstBeyond(
  file: SegmentFile,
  blockOf: (number: number) => Block,
  key: string,
  at: Micros,
): { number: number; block: Block; row: number } | undefined {
  const { footer } = file;
  const isBeyond = (block: Block, row: number): boolean => {
    const order = block.compare(row);
    return order === 0 ? hasTimes && block.timeAt(row) > at : order > 0;
  };
  const hasTimes = footer.minTimes.length > 0;
  const beginsBeyond = (number: number): boolean => {
    const order = compareText(footer.firstEntities, number, key);
    if (order !== 0) return order > 0;
    // A block of one entity begins with its least time, which the footer has.
    const alone = hasTimes && compareText(footer.lastEntities, number, key) === 0;
    return alone ? footer.minTimes[number]! > at : isBeyond(blockOf(number), 0);
  };
  // The last block whose first row is not beyond.
  let low = 0;
  let high = footer.blockRows.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (beginsBeyond(middle)) high = middle;
    else low = middle + 1;
  }
  const number = low - 1;
  if (number < 0 || compareText(footer.lastEntities, number, key) < 0) return undefined;
  const block = blockOf(number);
  let from = 0;
  let to = footer.blockRows[number]!;
  while (from < to) {
    const middle = (from + to) >> 1;
    if (isBeyond(block, middle)) to = middle;
    else from = middle + 1;
  }
  return { number, block, row: from };
}
