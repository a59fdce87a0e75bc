import { firstWhere } from "../base/bisect.ts";
import { codeAt, type PointColumn, pointAt } from "../contract/codec_point.ts";
import { compareText, type PackedTexts } from "../contract/codec_texts.ts";
import type { SegmentFooter } from "./segment_format.ts";
import { entityKey } from "./select.ts";

/** Where the rows of one entity stand in a segment: from one row of one block up to another. */
export interface EntityRun {
  readonly firstBlock: number;
  readonly lastBlock: number;
  /** Its first row in `firstBlock`; UNKNOWN until that block was looked into. */
  from: number;
  /** The row after its last in `lastBlock`; UNKNOWN likewise. */
  to: number;
}

export const UNKNOWN = -1;

/** Runs of a file that are remembered, so that reads of an entity that was read before search no more. */
const RUNS_MAX = 4_096;
/** What one takes, about. */
const RUN_BYTES = 192;

export interface EntityRuns {
  /** The run of an entity, found where it is not known; undefined where the fences rule it out. */
  of(key: string): EntityRun | undefined;
  /** Whether it was found before. */
  knows(key: string): boolean;
  bytes(): number;
}

/** The runs found so far; the oldest goes where there are RUNS_MAX. `grown` is called when they take more. */
export function entityRuns(footer: SegmentFooter, grown: () => void): EntityRuns {
  const known = new Map<string, EntityRun>();
  return {
    of(key) {
      const own = known.get(key);
      if (own) return own;
      const found = runWithin(footer, key);
      if (!found) return undefined;
      if (known.size >= RUNS_MAX) known.delete(known.keys().next().value!);
      known.set(key, found);
      grown();
      return found;
    },
    knows: (key) => known.has(key),
    bytes: () => known.size * RUN_BYTES,
  };
}

/** By the fences alone: where one stands between two others of a block, it may still not be there. */
function runWithin({ blockRows, firstEntities, lastEntities }: SegmentFooter, key: string): EntityRun | undefined {
  const firstBlock = firstWhere(0, blockRows.length, (block) => compareText(lastEntities, block, key) >= 0);
  const lastBlock = firstWhere(firstBlock, blockRows.length, (block) => compareText(firstEntities, block, key) > 0) - 1;
  if (lastBlock < firstBlock) return undefined;
  return {
    firstBlock,
    lastBlock,
    from: compareText(firstEntities, firstBlock, key) === 0 ? 0 : UNKNOWN,
    to: compareText(lastEntities, lastBlock, key) === 0 ? blockRows[lastBlock]! : UNKNOWN,
  };
}

/**
 * How the entity of a row compares with the key: negative where it comes before; a null entity is the empty text, as in
 * the fences. `columns` are those of the entity's fields in one block.
 */
export function entityComparer(columns: readonly PointColumn[], key: string): (row: number) => number {
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
