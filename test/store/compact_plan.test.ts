/** The plan of merging, over made-up segments: what is merged fits in a partition, little is left, little is written twice. */
import { expect, test } from "bun:test";
import fc from "fast-check";
import { mergeable, PARTITION } from "../../src/store/compact_plan.ts";
import type { SegmentInfo } from "../../src/store/segment_info.ts";

const forEver = () => ({ span: Infinity, bytes: Infinity });

type Made = SegmentInfo & { readonly weight: number };

const level0 = (n: number, rows: number, firstSequence: number, contractId: number): Made =>
  ({
    segmentId: n,
    file: `f${n}`,
    stream: "s",
    contractId,
    level: 0,
    firstSequence,
    rows,
    bytes: rows * 20,
    decodedBytes: rows * 64,
    firstKnownTime: firstSequence,
    lastKnownTime: firstSequence + rows,
    weight: rows,
  }) as unknown as Made;

/** As compaction does: merges until nothing is worth it. Returns how many rows were written again. */
function settle(list: Made[]): { list: Made[]; rewritten: number } {
  let rewritten = 0;
  for (;;) {
    const run = mergeable(list, forEver) as Made[] | undefined;
    if (!run) return { list, rewritten };
    const sum = (field: "rows" | "bytes" | "decodedBytes") => run.reduce((total, info) => total + info[field]!, 0);
    expect(run.length).toBeGreaterThan(1);
    expect(sum("rows")).toBeLessThanOrEqual(PARTITION.rows);
    expect(sum("bytes")).toBeLessThanOrEqual(PARTITION.bytes);
    expect(sum("decodedBytes")).toBeLessThanOrEqual(PARTITION.memory);
    expect(new Set(run.map(({ contractId }) => contractId)).size).toBe(1);
    for (let i = 1; i < run.length; i++) {
      expect(run[i]!.firstSequence).toBe(run[i - 1]!.firstSequence + run[i - 1]!.rows);
    }
    rewritten += sum("rows");
    const level = Math.max(...run.map((info) => info.level)) + 1;
    const merged = {
      ...run[0]!,
      rows: sum("rows"),
      bytes: sum("bytes"),
      decodedBytes: sum("decodedBytes"),
      level,
    } as Made;
    const at = list.indexOf(run[0]!);
    list = list.toSpliced(at, run.length, merged);
  }
}

test("every merge fits in a partition; few small segments are left; a row is written again three times at most", () => {
  const property = fc.property(
    fc.array(fc.tuple(fc.integer({ min: 1, max: 60_000 }), fc.integer({ min: 0, max: 200 })), {
      minLength: 1,
      maxLength: 300,
    }),
    (sizes) => {
      let list: Made[] = [];
      let rewritten = 0;
      let rows = 0;
      let contractId = 0;
      sizes.forEach(([size, chance], n) => {
        if (chance === 0) contractId++;
        const settled = settle([...list, level0(n, size, rows, contractId)]);
        list = settled.list;
        rewritten += settled.rewritten;
        rows += size;
      });
      expect(list.reduce((sum, info) => sum + info.rows, 0)).toBe(rows);
      expect(rewritten).toBeLessThanOrEqual(3 * rows);
      // Of each two neighbouring partitions under one contract more than one partition's worth is there.
      const last = list.findLastIndex((info, i) => i > 0 && info.contractId !== list[i - 1]!.contractId);
      const small = list.filter((info, i) => i >= last && info.rows < PARTITION.rows / 2).length;
      expect(small).toBeLessThanOrEqual(3 * 15 + 1);
      expect(list.length).toBeLessThanOrEqual(small + (2 * rows) / PARTITION.rows + 2 * (contractId + 1));
    },
  );
  fc.assert(property, { numRuns: 60 });
});

test("segments that are left out divide their neighbours, and a stream that changes contracts keeps one for each change", () => {
  const list = Array.from({ length: 40 }, (_none, n) => level0(n, 100, n * 100, 0));
  const without = new Set(["f20"]);
  const run = mergeable(list, forEver, without)!;
  expect(run.map(({ file }) => file)).toEqual(list.slice(0, 20).map(({ file }) => file));
  const rest = [{ ...list[0]!, rows: 2_000 }, ...list.slice(20)];
  expect(mergeable(rest, forEver, without)!.map(({ segmentId }) => segmentId)).toEqual(
    Array.from({ length: 16 }, (_none, n) => 21 + n),
  );
  const changing = Array.from({ length: 60 }, (_none, n) => level0(n, 100, n * 100, Math.floor(n / 2) % 2));
  expect(settle(changing).list.length).toBe(31); // one for each change of the contract, two of the last
});

test("what an older version wrote is merged too", () => {
  const old = Array.from({ length: 16 }, (_none, n) => {
    const { decodedBytes: _said, ...info } = level0(n, 1_000, n * 1_000, 0);
    return info as SegmentInfo;
  });
  expect(mergeable(old, forEver)?.length).toBe(16);
  expect(mergeable(old.slice(1), forEver)).toBeUndefined();
});
