import type { Micros } from "../base/time.ts";
import type { PointColumn } from "../contract/codec_point.ts";
import { rowWith, STATIC_TIME, type Version, type VersionCursor } from "./as_of.ts";
import type { SegmentFiles } from "./segment_files.ts";
import type { SegmentFile } from "./segment_read.ts";
import { ERASED, entityKey, TOMBSTONE } from "./select.ts";
import { NO_TIME } from "./sort.ts";

/** The versions of one entity in a segment with event time at most `at` and commit at most `upTo`, latest first. */
export function segmentCursor(
  files: SegmentFiles,
  file: SegmentFile,
  key: string,
  at: Micros,
  upTo: number,
): VersionCursor | undefined {
  const { footer, contract } = file;
  const { eventTime } = contract;
  const timeField = eventTime === undefined ? -1 : contract.fields.findIndex(({ name }) => name === eventTime);
  const keysOf = keyReader(files, file);
  const after = firstBeyond(files, file, keysOf, key, at, timeField);
  if (after === undefined) return undefined;
  let { block, row } = after;
  const whole = upTo >= file.info.lastCommit;
  let time: Micros | undefined;
  /** Steps to the row before, if it is of this entity. */
  const step = () => {
    time = undefined;
    for (;;) {
      row--;
      while (row < 0) {
        if (--block < 0 || footer.lastEntities.at(block)! < key) return;
        row = footer.blockRows[block]! - 1;
      }
      if (keysOf(block)(row) !== key) return;
      if (file.info.erased && (flagsAt(files, file, block, row) & ERASED) !== 0) continue;
      if (!whole && commitOf(files, file, block, row) > upTo) continue;
      const found = timeField < 0 ? STATIC_TIME : timeAt(files.cached(file, block, timeField), row);
      if (found === NO_TIME) return;
      time = found;
      return;
    }
  };
  step();
  return {
    time: () => time,
    take() {
      const version = versionOf(files, file, block, row);
      step();
      return version;
    },
  };
}

function commitOf(files: SegmentFiles, file: SegmentFile, block: number, row: number): number {
  return file.footer.commitNos[file.spanOf(sequenceAt(files, file, block, row))]!;
}

function sequenceAt(files: SegmentFiles, file: SegmentFile, block: number, row: number): number {
  return Number(files.cached(file, block, file.contract.fields.length).at(row));
}

/** The bits of select.ts. */
function flagsAt(files: SegmentFiles, file: SegmentFile, block: number, row: number): number {
  return Number(files.cached(file, block, file.contract.fields.length + 1).at(row));
}

function timeAt(column: PointColumn, row: number): Micros {
  const time = column.at(row);
  return time === null ? NO_TIME : Number(time);
}

function versionOf(files: SegmentFiles, file: SegmentFile, block: number, row: number): Version {
  const { contract } = file;
  return {
    contract,
    sequence: sequenceAt(files, file, block, row),
    tombstone: (flagsAt(files, file, block, row) & TOMBSTONE) !== 0,
    value(field) {
      const index = contract.fields.findIndex(({ name }) => name === field);
      return files.cached(file, block, index).at(row);
    },
    row: (columns) => rowWith(contract, columns, (index) => files.cached(file, block, index).at(row)),
  };
}

/** The entity key of each row of a block; a null entity is the empty text, as in the fences. Keeps the last block. */
function keyReader(files: SegmentFiles, file: SegmentFile): (block: number) => (row: number) => string {
  const { contract, footer } = file;
  if (contract.entity.length === 0) return () => () => "";
  const fields = contract.entity.map((key) => contract.fields.findIndex(({ name }) => name === key));
  let last = -1;
  let keyAt: (row: number) => string = () => "";
  return (block) => {
    if (block === last) return keyAt;
    last = block;
    const first = footer.firstEntities.at(block)!;
    if (first === footer.lastEntities.at(block)) {
      keyAt = () => first; // a block of one entity: nothing is opened
      return keyAt;
    }
    const columns = fields.map((index) => files.cached(file, block, index));
    keyAt = (row) => entityKey(columns.map((column) => column.at(row))) ?? "";
    return keyAt;
  };
}

/** The first row that stands after every row of the entity with event time at most `at`. */
function firstBeyond(
  files: SegmentFiles,
  file: SegmentFile,
  keysOf: (block: number) => (row: number) => string,
  key: string,
  at: Micros,
  timeField: number,
): { block: number; row: number } | undefined {
  const { footer } = file;
  const isBeyond = (block: number, row: number): boolean => {
    const own = keysOf(block)(row);
    if (own !== key) return own > key;
    return timeField >= 0 && timeAt(files.cached(file, block, timeField), row) > at;
  };
  const beginsBeyond = (block: number): boolean => {
    const first = footer.firstEntities.at(block)!;
    if (first !== key) return first > key;
    // A block of one entity begins with its least time, which the footer has.
    const alone = footer.lastEntities.at(block) === key && footer.minTimes.length > 0;
    return alone ? footer.minTimes[block]! > at : isBeyond(block, 0);
  };
  // The last block whose first row is not beyond.
  let low = 0;
  let high = footer.blockRows.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (beginsBeyond(middle)) high = middle;
    else low = middle + 1;
  }
  const block = low - 1;
  if (block < 0 || footer.lastEntities.at(block)! < key) return undefined;
  let from = 0;
  let to = footer.blockRows[block]!;
  while (from < to) {
    const middle = (from + to) >> 1;
    if (isBeyond(block, middle)) to = middle;
    else from = middle + 1;
  }
  return { block, row: from };
}
