import type { Micros } from "../base/time.ts";
import type { Column } from "../contract/batch.ts";
import { valueAt } from "../contract/batch.ts";
import { rowWith, STATIC_TIME, type Version, type VersionCursor } from "./as_of.ts";
import type { SegmentFiles } from "./segment_files.ts";
import type { SegmentFile } from "./segment_read.ts";
import { ERASED, entityKeys, TOMBSTONE } from "./select.ts";
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
        if (--block < 0 || footer.lastEntities[block]! < key) return;
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
  return numberAt(files.cached(file, block, file.contract.fields.length), row);
}

/** The bits of select.ts. */
function flagsAt(files: SegmentFiles, file: SegmentFile, block: number, row: number): number {
  return numberAt(files.cached(file, block, file.contract.fields.length + 1), row);
}

const numberAt = (column: Column, row: number) => Number((column as Column & { kind: "number" }).values[row]!);

function timeAt(column: Column, row: number): Micros {
  const times = column as Column & { kind: "number" | "bigint" };
  return times.valid && times.valid[row] === 0 ? NO_TIME : Number(times.values[row]!);
}

function versionOf(files: SegmentFiles, file: SegmentFile, block: number, row: number): Version {
  const { contract } = file;
  return {
    contract,
    sequence: sequenceAt(files, file, block, row),
    tombstone: (flagsAt(files, file, block, row) & TOMBSTONE) !== 0,
    value(field) {
      const index = contract.fields.findIndex(({ name }) => name === field);
      return valueAt(files.cached(file, block, index), contract.fields[index]!.type, row);
    },
    row: (columns) => rowWith(contract, columns, (index) => files.cached(file, block, index), row),
  };
}

/** The entity key of each row of a block; a null entity is the empty text, as in the fences. Keeps the last block. */
function keyReader(files: SegmentFiles, file: SegmentFile): (block: number) => (row: number) => string {
  const { contract, footer } = file;
  if (contract.entity.length === 0) return () => () => "";
  const fields = contract.fields.map(({ name }) => contract.entity.includes(name));
  let last = -1;
  let keyAt: (row: number) => string = () => "";
  return (block) => {
    if (block === last) return keyAt;
    const columns = fields.map((isKey, index) => (isKey ? files.cached(file, block, index) : EMPTY));
    const read = entityKeys({ contract, length: footer.blockRows[block]!, columns });
    keyAt = (row) => read(row) ?? "";
    last = block;
    return keyAt;
  };
}

const EMPTY: Column = { kind: "bytes", values: [] };

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
  // The last block whose first row is not beyond; fences decide without reading where the entity differs.
  let low = 0;
  let high = footer.blockRows.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    const first = footer.firstEntities[middle]!;
    const beyond = first === key ? isBeyond(middle, 0) : first > key;
    if (beyond) high = middle;
    else low = middle + 1;
  }
  const block = low - 1;
  if (block < 0 || footer.lastEntities[block]! < key) return undefined;
  let from = 0;
  let to = footer.blockRows[block]!;
  while (from < to) {
    const middle = (from + to) >> 1;
    if (isBeyond(block, middle)) to = middle;
    else from = middle + 1;
  }
  return { block, row: from };
}
