import { firstWhere } from "../base/bisect.ts";
import type { Micros } from "../base/time.ts";
import { type PointColumn, pointAt } from "../contract/codec_point.ts";
import { rowWith, STATIC_TIME, type Version, type VersionCursor } from "./as_of.ts";
import { type EntityRun, entityComparer, UNKNOWN } from "./entity_runs.ts";
import type { BlockColumns, SegmentFiles } from "./segment_files.ts";
import type { SegmentFile } from "./segment_read.ts";
import { ERASED, TOMBSTONE } from "./select.ts";
import { NO_TIME } from "./sort.ts";

/** What a read of one entity sees of a block: its rows from `from` up to `to`. */
interface Block {
  readonly columns: BlockColumns;
  readonly from: number;
  readonly to: number;
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
  const run = file.runs.of(key);
  if (!run) return undefined;
  const blockOf = blockReader(files, file, run, key);
  let number = newestBlock(file, run, blockOf, at);
  let block = blockOf(number);
  const hasTimes = file.footer.minTimes.length > 0;
  let row = hasTimes ? firstWhere(block.from, block.to, (middle) => block.timeAt(middle) > at) : block.to;
  const whole = upTo >= file.info.lastCommit;
  let time: Micros | undefined;
  /** Steps to the row before, if it is of this entity. */
  const step = () => {
    time = undefined;
    for (;;) {
      row--;
      while (row < block.from) {
        if (--number < run.firstBlock) return;
        block = blockOf(number);
        row = block.to - 1;
      }
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

/** The blocks of the run, and which rows of each are the entity's: looked for once, in the first and the last. */
function blockReader(files: SegmentFiles, file: SegmentFile, run: EntityRun, key: string): (number: number) => Block {
  const { contract, footer } = file;
  const timeField = timeFieldOf(file);
  return (number) => {
    const columns = files.block(file, number);
    const rows = footer.blockRows[number]!;
    const inFirst = number === run.firstBlock;
    const inLast = number === run.lastBlock;
    if ((inFirst && run.from === UNKNOWN) || (inLast && run.to === UNKNOWN)) {
      const fields = contract.entity.map((name) => contract.fields.findIndex((field) => field.name === name));
      const compare = entityComparer(
        fields.map((field) => files.column(columns, field)),
        key,
      );
      if (inFirst && run.from === UNKNOWN) run.from = firstWhere(0, rows, (row) => compare(row) >= 0);
      if (inLast && run.to === UNKNOWN) run.to = firstWhere(inFirst ? run.from : 0, rows, (row) => compare(row) > 0);
    }
    let times: PointColumn | undefined;
    return {
      columns,
      from: inFirst ? run.from : 0,
      to: inLast ? run.to : rows,
      timeAt(row) {
        if (timeField < 0) return STATIC_TIME;
        times ??= files.column(columns, timeField);
        const time = pointAt(times, row);
        return time === null ? NO_TIME : Number(time);
      },
    };
  };
}

function timeFieldOf({ contract }: SegmentFile): number {
  const { eventTime } = contract;
  return eventTime === undefined ? -1 : contract.fields.findIndex(({ name }) => name === eventTime);
}

/** The last block of the run that begins with an event time of at most `at`; the first, if none does. */
function newestBlock(
  { footer }: SegmentFile,
  { firstBlock, lastBlock, to }: EntityRun,
  blockOf: (number: number) => Block,
  at: Micros,
): number {
  if (footer.minTimes.length === 0) return lastBlock;
  const beginsBeyond = (number: number): boolean => {
    // A block of this entity alone begins with its least time, which the footer has.
    const alone = number < lastBlock || to === footer.blockRows[number];
    return (alone ? footer.minTimes[number]! : blockOf(number).timeAt(0)) > at;
  };
  return firstWhere(firstBlock + 1, lastBlock + 1, beginsBeyond) - 1;
}
