/**
 * `space.scores: refuse` over HTTP: a server on a file system of a few megabytes, which a process of its own mounts, fills
 * and frees. (`answer`, the default, and the compiled program: test/e2e/full_disk.ts.)
 */
import { expect, test } from "bun:test";
import { canMountSmallDisk, onSmallDisk } from "../support/small_disk.ts";

test.skipIf(!canMountSmallDisk())(
  "scores that a full disk can't keep are refused whole, and taken again once there is room",
  async () => {
    const told = await onSmallDisk("test/support/full_disk_scores.ts", 32);
    const taken = { status: 200, retryAfter: null, durableHeader: null, code: null, durable: null, repeated: false };
    const repeated = { ...taken, repeated: true };
    const refused = { ...taken, status: 503, retryAfter: "10", code: "store.full", repeated: null };
    expect(told).toEqual({
      before: taken,
      marked: { status: 503, scores: "refused" },
      refused: [refused, refused],
      again: repeated, // what is stored is answered all the same
      full: refused,
      added: [
        [0, 0],
        [0, 0],
      ],
      notStored: null,
      free: { status: 200, scores: null },
      after: [taken, repeated, taken],
      requests: ["before", "during", "full"],
      findings: 0,
    });
  },
  60_000,
);
