import type { MlpeError } from "../base/errors.ts";
import type { Names, Sealer } from "./catalogue.ts";
import { isDamage } from "./damage.ts";
import type { SegmentInfo } from "./segment_info.ts";
import { openSegment } from "./segment_read.ts";

/** What is looked through of a segment, through a handle of its file where there is one. */
export interface Look {
  readonly handle?: number | undefined;
  /** Its end alone: the footer and the entity filter. */
  readonly quick?: boolean;
}

/** Opens every chunk of a segment and decodes it, a block a step; gives the damage that it meets, if any. */
export function* damageOf(
  directory: string,
  info: SegmentInfo,
  names: Names,
  sealer: Sealer,
  { handle, quick = false }: Look,
): Generator<undefined, MlpeError | undefined> {
  try {
    const file = openSegment(directory, info, sealer, names, handle);
    try {
      file.filter();
      const blocks = quick ? 0 : file.footer.blockRows.length;
      for (let block = 0; block < blocks; block++) {
        file.rows(block);
        yield undefined;
      }
    } finally {
      file.close();
    }
    return undefined;
  } catch (cause) {
    if (!isDamage(cause)) throw cause;
    return cause;
  }
}
