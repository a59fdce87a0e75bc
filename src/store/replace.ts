import type { Database } from "bun:sqlite";
import type { CompactedState, Sealer } from "./catalogue.ts";
import { insertSegmentInfo, readSegmentInfos, type SegmentInfo } from "./segment_info.ts";
import { dropUnusedKeys } from "./stream_keys.ts";

/** The number of the next segment. None is used twice: readers keep what they decoded by it. */
const nextSegmentId = ({ segments, nextSegment = 1 }: CompactedState): number =>
  segments.reduce((next, id) => Math.max(next, id + 1), nextSegment);

/**
 * Takes the catalogue rows of `gone` away, which shreds these segments, and puts those of `written` in: inside the
 * caller's transaction. Keys that no segment needs any more go too. Gives the state to write, of the next generation.
 */
export function replaceSegments(
  database: Database,
  sealer: Sealer,
  state: CompactedState,
  gone: readonly SegmentInfo[],
  written: readonly Omit<SegmentInfo, "segmentId">[],
): CompactedState {
  const next = nextSegmentId(state);
  const left = new Set(gone.map(({ segmentId }) => segmentId));
  for (const id of left) database.run("DELETE FROM segments WHERE segment_id = ?", [id]);
  const added = written.map((info, i) => ({ ...info, segmentId: next + i }));
  for (const info of added) insertSegmentInfo(database, sealer, info);
  dropUnusedKeys(database, readSegmentInfos(database, sealer));
  const segments = [...state.segments.filter((id) => !left.has(id)), ...added.map(({ segmentId }) => segmentId)];
  return { ...state, segments, nextSegment: next + added.length, generation: state.generation + 1 };
}
