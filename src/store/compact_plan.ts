import type { MergedMost } from "./retention_rules.ts";
import type { SegmentInfo } from "./segment_info.ts";

/**
 * Which segments are merged. A **partition** is the largest segment there is: what merging it, reading it in order of
 * commit and auditing it take in memory is bounded by this. Inside a partition each entity stands in one place.
 */
export const PARTITION = {
  rows: 1 << 20,
  /** Decoded columns. */
  memory: 1 << 26,
  /** Packed. */
  bytes: 48 << 20,
} as const;

/** So many neighbours of one level become one of the next. */
const MERGE_COUNT = 16;

/**
 * The next run of neighbours (of one stream and contract, in order of sequence) to become one segment: one that fills a
 * partition, because what follows no longer fits in it; else MERGE_COUNT of one level. So each row is written again once
 * for each level that its partition grows through, and once when the partition is full; fewer than MERGE_COUNT small
 * segments are left of each level. The first rule never takes a full partition again: nothing fits beside it. Only
 * neighbours are merged, since a segment is one range of sequences: where a stream's contract changes, and at each file of
 * `without`, one segment is left.
 */
export function mergeable(
  infos: readonly SegmentInfo[],
  mostOf: (stream: string) => MergedMost,
  without: ReadonlySet<string> = new Set(),
): SegmentInfo[] | undefined {
  for (const [stream, list] of Map.groupBy(infos, (info) => info.stream)) {
    const inOrder = [...list].sort((a, b) => a.firstSequence - b.firstSequence);
    const runs = partitionsOf(inOrder, mostOf(stream), without);
    for (const run of runs.slice(0, -1)) if (run.length > 1) return run;
    const level = levelRun(runs.at(-1)!);
    if (level) return level;
  }
  return undefined;
}

/** Cuts the list into runs that fit in a partition each, from the oldest on. */
function partitionsOf(
  inOrder: readonly SegmentInfo[],
  most: MergedMost,
  without: ReadonlySet<string>,
): SegmentInfo[][] {
  const runs: SegmentInfo[][] = [];
  let sum = { rows: 0, memory: 0, bytes: 0 };
  for (const info of inOrder) {
    const run = runs.at(-1);
    const grown = { rows: sum.rows + info.rows, memory: sum.memory + memoryOf(info), bytes: sum.bytes + info.bytes };
    const first = run?.[0];
    const fits =
      first?.contractId === info.contractId &&
      !without.has(first.file) &&
      !without.has(info.file) &&
      info.lastKnownTime - first.firstKnownTime <= most.span &&
      grown.rows <= PARTITION.rows &&
      grown.memory <= PARTITION.memory &&
      grown.bytes <= Math.min(PARTITION.bytes, most.bytes);
    if (run && fits) {
      run.push(info);
      sum = grown;
    } else {
      runs.push([info]);
      sum = { rows: info.rows, memory: memoryOf(info), bytes: info.bytes };
    }
  }
  return runs;
}

/** Segments of older versions don't say: about ten times what they take packed. */
const memoryOf = ({ decodedBytes, bytes }: SegmentInfo): number => decodedBytes ?? bytes * 10;

/** The first MERGE_COUNT neighbours of one level. */
function levelRun(run: readonly SegmentInfo[]): SegmentInfo[] | undefined {
  let from = 0;
  for (let i = 0; i < run.length; i++) {
    if (run[i]!.level !== run[from]!.level) from = i;
    if (i + 1 - from === MERGE_COUNT) return run.slice(from, i + 1);
  }
  return undefined;
}
