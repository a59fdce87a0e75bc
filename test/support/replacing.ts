import { rmSync } from "node:fs";
import { join } from "node:path";
import { systemRandom } from "../../src/base/random.ts";
import { othersTurn } from "../../src/base/turn.ts";
import { namesOf, readState, writeState } from "../../src/store/catalogue.ts";
import { rowsOfSegment, type WrittenSegment } from "../../src/store/compact_work.ts";
import { openWriterDatabase, segmentsPath } from "../../src/store/database.ts";
import { replaceSegments } from "../../src/store/replace.ts";
import type { SegmentInfo } from "../../src/store/segment_info.ts";
import { writeSegment } from "../../src/store/segment_write.ts";
import type { LogStore } from "../../src/store/store.ts";

/**
 * Writes every segment (or those that pass) anew, as another process would that merges, rewrites and has waited long enough: the answer does the
 * rest all at once, in the catalogue and by removing the old files. Call that at any moment, also in the middle of a read.
 */
export async function replacementOf(
  { directory, sealer, reader }: LogStore,
  passes: (info: SegmentInfo) => boolean = () => true,
): Promise<() => void> {
  const database = openWriterDatabase(directory);
  const names = namesOf(database, sealer);
  const shop = { directory, database, names, sealer, random: systemRandom, pause: othersTurn };
  const gone = reader.snapshot().segments.filter(passes);
  const written: WrittenSegment[] = [];
  for (const info of gone) written.push(await writeSegment(rowsOfSegment(info, shop, directory), info.level, shop));
  return () => {
    database.transaction(() => {
      const state = readState(database, sealer);
      writeState(database, sealer, replaceSegments(database, sealer, state, gone, written));
    })();
    database.close();
    for (const { file } of gone) rmSync(join(segmentsPath(directory), file));
  };
}
