import { closeSync, openSync, writeSync } from "node:fs";
import { dirname } from "node:path";
import { freeSpace } from "../../src/store/space.ts";

const FIRST_BYTES = 256 << 10;

/** Takes what is free on the disk of `filler`, but for so many bytes, by adding to that file. */
export function fillDisk(filler: string, left: number): void {
  const out = openSync(filler, "a");
  try {
    for (let size = FIRST_BYTES; size >= 512; ) {
      if (freeSpace(dirname(filler)).free - left < size) {
        size >>= 1;
        continue;
      }
      try {
        if (writeSync(out, new Uint8Array(size)) < size) size >>= 1;
      } catch {
        size >>= 1;
      }
    }
  } finally {
    closeSync(out);
  }
}
