/** Where entities stand in a segment, and in which segments they are looked for: against going through everything. */
import { expect, test } from "bun:test";
import fc from "fast-check";
import { askFilter, entityFilter, filterTable, keyHasher, mayHold } from "../../src/store/entity_filter.ts";
import { entityRuns, UNKNOWN } from "../../src/store/entity_runs.ts";
import { decodeFooter, encodeFooter, type SegmentFooter } from "../../src/store/segment_format.ts";
import type { SegmentInfo } from "../../src/store/segment_info.ts";
import { segmentsByStream } from "../../src/store/segments_by_time.ts";

const NONE = new Float64Array(0);

/** The footer of blocks of these entity keys, row by row. */
function footerOf(blocks: readonly (readonly string[])[]): SegmentFooter {
  const footer = {
    blockRows: Float64Array.from(blocks, (rows) => rows.length),
    minTimes: NONE,
    maxTimes: NONE,
    firstEntities: blocks.map((rows) => rows[0]!),
    lastEntities: blocks.map((rows) => rows.at(-1)!),
    chunkLengths: NONE,
    dictionaries: NONE,
    commitNos: NONE,
    knownTimes: NONE,
    firstSequences: NONE,
  };
  return decodeFooter(encodeFooter(footer));
}

test("a run has every block of the entity, and knows its rows where the fences tell", () => {
  const key = fc.constantFrom<string>("", "sa", "sab", "sb", "sé", "n7;");
  const property = fc.property(
    fc.array(key, { minLength: 1, maxLength: 40 }),
    fc.integer({ min: 1, max: 7 }),
    (keys, size) => {
      const rows = keys.toSorted((a, b) => (a < b ? -1 : a > b ? 1 : 0));
      const blocks = Array.from({ length: Math.ceil(rows.length / size) }, (_, i) =>
        rows.slice(i * size, (i + 1) * size),
      );
      const runs = entityRuns(footerOf(blocks), () => {});
      for (const wanted of [...keys, "saa", "sz"]) {
        const holding = blocks.flatMap((block, i) => (block.includes(wanted) ? [i] : []));
        const run = runs.of(wanted);
        expect(runs.knows(wanted)).toBe(run !== undefined);
        expect(runs.of(wanted)).toBe(run); // the same again
        if (holding.length === 0) continue; // it may stand between two others of one block
        expect([run?.firstBlock, run?.lastBlock]).toEqual([holding[0]!, holding.at(-1)!]);
        const [first, last] = [blocks[run!.firstBlock]!, blocks[run!.lastBlock]!];
        expect(run!.from).toBe(first[0] === wanted ? 0 : UNKNOWN);
        expect(run!.to).toBe(last.at(-1) === wanted ? last.length : UNKNOWN);
      }
    },
  );
  fc.assert(property);
});

test("only so many runs are remembered, and what they take is told", () => {
  let told = 0;
  const names = Array.from({ length: 10_000 }, (_, i) => `s${String(i).padStart(5, "0")}`);
  const runs = entityRuns(footerOf([names]), () => told++);
  for (const name of names) runs.of(name);
  expect(told).toBe(names.length);
  expect([runs.knows(names[0]!), runs.knows(names.at(-1)!)]).toEqual([false, true]);
  const full = runs.bytes();
  runs.of("s00000x");
  expect(runs.bytes()).toBe(full);
});

test("a table of filters says what each says alone, and its first bits never deny an entity that is there", () => {
  const hashOf = keyHasher(new Uint8Array(16));
  const keysOf = (i: number) => Array.from({ length: 1 + i * 50 }, (_, k) => `s${i}-${k}`);
  const filters = Array.from({ length: 6 }, (_, i) => (i === 3 ? undefined : entityFilter(keysOf(i), hashOf)));
  const table = filterTable(filters);
  for (let i = 0; i < filters.length; i++) {
    for (const key of [...keysOf(i), ...keysOf(5 - i)]) {
      const filter = filters[i];
      expect(askFilter(table, i, hashOf(key))).toBe(filter && mayHold(filter, hashOf(key)));
    }
    for (const key of keysOf(i)) expect(askFilter(table, i, hashOf(key), 4)).not.toBe(false);
  }
});

test("segments come by their latest event time, without those that are all later or of later commits", () => {
  const bounds = fc.record({
    times: fc.option(fc.tuple(fc.integer({ min: 0, max: 9 }), fc.integer({ min: 0, max: 4 })), {
      nil: undefined,
      freq: 9,
    }),
    firstCommit: fc.integer({ min: 1, max: 5 }),
  });
  const list = fc.array(bounds, { maxLength: 12 });
  const property = fc.property(
    list,
    fc.integer({ min: -1, max: 14 }),
    fc.integer({ min: 0, max: 6 }),
    (parts, at, upTo) => {
      const infos = parts.map(({ times, firstCommit }, i): SegmentInfo => {
        const own = times && { minTime: times[0], maxTime: times[0] + times[1] };
        return { segmentId: i + 1, stream: i % 3 === 2 ? "other" : "own", firstCommit, ...own } as SegmentInfo;
      });
      const found: number[] = [];
      const bounded: (number | undefined)[] = [];
      const open = ({ segmentId }: SegmentInfo) => void found.push(segmentId);
      const sources = segmentsByStream(infos)("own").sources({ high: 1, low: 2 }, at, upTo, {
        knows: () => false,
        open,
      });
      for (let bound = sources.bound(); bound !== undefined; bound = sources.bound()) {
        bounded.push(bound);
        sources.next();
      }
      const latest = ({ maxTime }: SegmentInfo) => maxTime ?? Number.POSITIVE_INFINITY;
      const expected = infos
        .filter((info) => info.stream === "own" && !(info.minTime! > at) && info.firstCommit <= upTo)
        .sort((a, b) => (latest(a) === latest(b) ? b.segmentId - a.segmentId : latest(a) < latest(b) ? 1 : -1));
      expect(found).toEqual(expected.map(({ segmentId }) => segmentId));
      expect(bounded).toEqual(expected.map(latest));
    },
  );
  fc.assert(property);
});
