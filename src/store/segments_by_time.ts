import type { Micros } from "../base/time.ts";
import type { VersionCursor, VersionSources } from "./as_of.ts";
import type { SegmentInfo } from "./segment_info.ts";

/** The segments of one stream as as-of reads go through them: by their latest event time, latest first. */
export interface SegmentsByTime {
  /** Those that may hold a version with event time at most `at` and commit at most `upTo`, each opened by `open`. */
  sources(at: Micros, upTo: number, open: (info: SegmentInfo) => VersionCursor | undefined): VersionSources;
}

/** The segments of each stream, kept while the list is the same. */
export function segmentsByStream(): (segments: readonly SegmentInfo[], stream: string) => SegmentsByTime {
  let last: readonly SegmentInfo[] = [];
  let streams = new Map<string, SegmentsByTime>();
  return (segments, stream) => {
    if (segments !== last) {
      streams = new Map();
      for (const [name, list] of Map.groupBy(segments, (info) => info.stream)) streams.set(name, segmentsByTime(list));
      last = segments;
    }
    return streams.get(stream) ?? NONE;
  };
}

/** Without event times of its own a segment may hold any. */
const latestIn = (info: SegmentInfo): Micros => info.maxTime ?? Number.POSITIVE_INFINITY;
const earliestIn = (info: SegmentInfo): Micros => info.minTime ?? Number.NEGATIVE_INFINITY;

function segmentsByTime(list: readonly SegmentInfo[]): SegmentsByTime {
  const infos = [...list].sort((a, b) => latestIn(b) - latestIn(a) || b.segmentId - a.segmentId);
  const latest = Float64Array.from(infos, latestIn);
  const earliest = Float64Array.from(infos, earliestIn);
  /** The least of `earliest` up to each place: before the first that is at most `at`, no segment has a version in time. */
  const reach = earliest.slice();
  for (let i = 1; i < reach.length; i++) reach[i] = Math.min(reach[i]!, reach[i - 1]!);
  return {
    sources(at, upTo, open) {
      let next = firstAtMost(reach, at);
      const skip = () => {
        while (next < infos.length && (earliest[next]! > at || infos[next]!.firstCommit > upTo)) next++;
      };
      skip();
      return {
        bound: () => latest[next],
        next() {
          const info = infos[next++]!;
          skip();
          return open(info);
        },
      };
    },
  };
}

const NONE = segmentsByTime([]);

/** The first place of a falling list whose value is at most `most`; its length where there is none. */
function firstAtMost(falling: Float64Array, most: number): number {
  let low = 0;
  let high = falling.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (falling[middle]! <= most) high = middle;
    else low = middle + 1;
  }
  return low;
}
