import type { LogReader } from "./log_reader.ts";
import { readAgain } from "./replaced.ts";

/**
 * The commit that appended the row with that sequence of a stream, erased rows too; undefined where retention dropped it, or
 * there never was one. Reads the footer of one segment.
 */
export function commitOf(reader: LogReader, stream: string, sequence: number): number | undefined {
  const holds = ({ firstSequence, rows }: { readonly firstSequence: number; readonly rows: number }) =>
    sequence >= firstSequence && sequence < firstSequence + rows;
  return readAgain(reader.snapshot, ({ segments, tail }) => {
    const holder = segments.find((info) => info.stream === stream && holds(info));
    if (holder) {
      const { footer, spanOf } = reader.segments.open(holder);
      return footer.commitNos[spanOf(sequence)];
    }
    const isOf = (streamId: number) => reader.names.streamOf(streamId) === stream;
    return tail.find(({ ranges }) => ranges.some((range) => isOf(range.streamId) && holds(range)))?.commitNo;
  });
}
