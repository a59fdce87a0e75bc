import { recordEnd } from "../contract/csv.ts";
import type { ByteWindow } from "./byte_window.ts";

/** A longer record is no record: its beginning is kept, the rest is passed over, and it goes to quarantine. */
export const RECORD_BYTES_MAX = 4 << 20;
/** How much of a record that is too long is kept. */
const CUT_BYTES = 64 << 10;

const LF = 0x0a;

/** Where a run of whole records ends in the bytes seen; 0 when not even one ends there. */
export type Cutter = (bytes: Uint8Array, maxBytes: number, final: boolean) => number;

/** A run of whole records, or the beginning of one that is too long. */
export interface Run {
  readonly payload: Uint8Array;
  /** Bytes of the stream that it covers: more than the payload's where a record was cut. */
  readonly bytes: number;
  readonly lines: number;
  readonly cut: boolean;
}

/** Records are lines. */
export const cutLines: Cutter = (bytes, maxBytes, final) => {
  const last = bytes.lastIndexOf(LF, maxBytes - 1);
  if (last >= 0) return last + 1;
  const first = bytes.indexOf(LF);
  if (first >= 0) return first + 1;
  return final ? bytes.length : 0;
};

/** Records are lines, but for line breaks inside quotes. */
export function cutCsv(delimiter: string): Cutter {
  const mark = delimiter.charCodeAt(0);
  return (bytes, maxBytes, final) => {
    if (!bytes.includes(0x22)) return cutLines(bytes, maxBytes, final);
    let at = 0;
    while (at < bytes.length) {
      const found = recordEnd(bytes, at, bytes.length, mark, final);
      if (!found || (at > 0 && found.next > maxBytes)) break;
      at = found.next;
    }
    return at;
  };
}

/** The next run of about `maxBytes`; undefined at the end of the stream. */
export async function nextRun(window: ByteWindow, cutter: Cutter, maxBytes: number): Promise<Run | undefined> {
  await window.fill(maxBytes);
  if (window.view().length === 0) return undefined;
  for (let seen = maxBytes; ; ) {
    const view = window.view();
    const size = cutter(view, maxBytes, window.ended());
    if (size > 0 && size <= Math.max(RECORD_BYTES_MAX, maxBytes)) return take(window, size);
    if (size > 0 || view.length >= RECORD_BYTES_MAX) {
      // Nothing ends in all that a record may have. If a quote is never closed there, its first line is the record;
      // the judgement looks at exactly so many bytes, so that it is the same wherever the pages began.
      const broken = cutter(view.subarray(0, RECORD_BYTES_MAX), 1, true);
      return view[broken - 1] === LF ? take(window, broken) : await takeCut(window);
    }
    seen = Math.min(RECORD_BYTES_MAX, seen * 2 + (1 << 16));
    await window.fill(seen);
  }
}

function take(window: ByteWindow, size: number): Run {
  const payload = window.view().slice(0, size);
  window.take(size);
  return { payload, bytes: size, lines: countLines(payload), cut: false };
}

async function takeCut(window: ByteWindow): Promise<Run> {
  const payload = window.view().slice(0, CUT_BYTES);
  let bytes = 0;
  for (;;) {
    const view = window.view();
    const found = view.indexOf(LF);
    const size = found < 0 ? view.length : found + 1;
    bytes += size;
    window.take(size);
    if (found >= 0) return { payload, bytes, lines: 1, cut: true };
    if (window.ended()) return { payload, bytes, lines: 1, cut: true };
    await window.fill(1 << 16);
  }
}

function countLines(bytes: Uint8Array): number {
  let count = 0;
  for (let at = bytes.indexOf(LF); at >= 0; at = bytes.indexOf(LF, at + 1)) count++;
  return count;
}
