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

test.skipIf(!canMountSmallDisk())(
  "an erasure and a rotation that a full disk refuses are done by themselves once there is room",
  async () => {
    const told = await onSmallDisk("test/support/full_disk_upkeep.ts", 24);
    const whole = { rows: 500, pending: 0, rotating: false, keys: [1], findings: 0 };
    const refused = { exit: expect.any(Number), full: true };
    expect(told).toEqual({
      refused: { ...refused, ...whole, pending: 1 },
      erased: { ...whole, rows: 0 },
      cut: { ...refused, ...whole, rows: 0, rotating: true, keys: [1, 2] },
      rotated: { ...whole, rows: 0, keys: [2] },
    });
  },
  60_000,
);
