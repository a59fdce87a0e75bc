import { firstWhere } from "../base/bisect.ts";
import type { Micros } from "../base/time.ts";
import type { VersionCursor, VersionSources } from "./as_of.ts";
import { askFilter, filterTable, type KeyHash } from "./entity_filter.ts";
import type { SegmentInfo } from "./segment_info.ts";

/** The segments of one stream as as-of reads go through them: by their latest event time, latest first. */
export interface SegmentsByTime {
  /** Those that may hold a version of the entity with event time at most `at` and commit at most `upTo`. */
  sources(hash: KeyHash, at: Micros, upTo: number, segments: Segments): VersionSources;
}

interface Segments {
  /** Whether the entity was found there before: then its filter need not say so again. */
  knows(info: SegmentInfo): boolean;
  /** `filtered`: its filter was asked, and says "maybe". */
  open(info: SegmentInfo, filtered: boolean): VersionCursor | undefined;
}

/** Nearly every entity that is not there is ruled out by so many bits of a filter. */
const FIRST_PROBES = 4;

/** The segments of each stream. */
export function segmentsByStream(segments: readonly SegmentInfo[]): (stream: string) => SegmentsByTime {
  const streams = new Map<string, SegmentsByTime>();
  for (const [name, list] of Map.groupBy(segments, (info) => info.stream)) streams.set(name, segmentsByTime(list));
  return (stream) => streams.get(stream) ?? NONE;
}

/** Without event times of its own a segment may hold any. */
const latestIn = (info: SegmentInfo): Micros => info.maxTime ?? Number.POSITIVE_INFINITY;
const earliestIn = (info: SegmentInfo): Micros => info.minTime ?? Number.NEGATIVE_INFINITY;

function segmentsByTime(list: readonly SegmentInfo[]): SegmentsByTime {
  const infos = [...list].sort((a, b) => latestIn(b) - latestIn(a) || b.segmentId - a.segmentId);
  const latest = Float64Array.from(infos, latestIn);
  const earliest = Float64Array.from(infos, earliestIn);
  const firstCommits = Float64Array.from(infos, ({ firstCommit }) => firstCommit);
  const filters = filterTable(infos.map(({ filterBytes }) => filterBytes));
  /** The least of `earliest` up to each place: before the first that is at most `at`, no segment has a version in time. */
  const reach = earliest.slice();
  for (let i = 1; i < reach.length; i++) reach[i] = Math.min(reach[i]!, reach[i - 1]!);
  return {
    sources(hash, at, upTo, { knows, open }) {
      let next = firstWhere(0, reach.length, (place) => reach[place]! <= at);
      const skip = () => {
        while (next < infos.length && (earliest[next]! > at || firstCommits[next]! > upTo)) next++;
      };
      skip();
      return {
        bound: () => latest[next],
        next() {
          const place = next++;
          skip();
          if (askFilter(filters, place, hash, FIRST_PROBES) === false) return undefined;
          const info = infos[place]!;
          if (knows(info)) return open(info, true);
          const said = askFilter(filters, place, hash);
          return said === false ? undefined : open(info, said === true);
        },
      };
    },
  };
}

const NONE = segmentsByTime([]);
