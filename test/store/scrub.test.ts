import { expect, test } from "bun:test";
import { fsyncSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { overwrite } from "../../src/store/scrub.ts";

test("the header of a write-ahead log is zeros, durably, before a frame is: a power cut leaves no part of it to be read", () => {
  const home = mkdtempSync(join(tmpdir(), "mlpe-scrub-"));
  const path = join(home, "log.db-wal");
  try {
    for (const size of [0, 32, 4_152, 3 << 20]) {
      const frames = new Uint8Array(size).fill(7);
      writeFileSync(path, frames);
      const synced: Uint8Array[] = [];
      overwrite(path, (file) => {
        fsyncSync(file);
        synced.push(new Uint8Array(readFileSync(path)));
      });
      const first = frames.fill(0, 0, 32);
      expect(Buffer.compare(synced[0]!, first)).toBe(0);
      expect(Buffer.compare(synced.at(-1)!, new Uint8Array(size))).toBe(0);
    }
  } finally {
    rmSync(home, { recursive: true });
  }
});
