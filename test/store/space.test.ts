/**
 * The guard of free space over a made-up disk and clock; then a real store on a file system of a few megabytes, which a
 * process of its own mounts, fills and frees: every commit that was acknowledged is there afterwards.
 */
import { afterEach, expect, test } from "bun:test";
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemRandom } from "../../src/base/random.ts";
import { othersTurn } from "../../src/base/turn.ts";
import { amountsOf, type SpaceSettings, spaceGuard } from "../../src/store/space.ts";
import { checkBallast } from "../../src/store/space_ballast.ts";
import { growthWindow, TIME_TO_FULL_MAX } from "../../src/store/space_growth.ts";
import { canMountSmallDisk, onSmallDisk } from "../support/small_disk.ts";

const MIB = 1 << 20;
const removals: (() => void)[] = [];
afterEach(() => {
  for (const remove of removals.splice(0)) remove();
});

const SETTINGS: SpaceSettings = { soft: { bytes: 100 * MIB }, hard: { bytes: 40 * MIB }, ballast: { bytes: 2 * MIB } };

function guarded(settings = SETTINGS, directory = mkdtempSync(join(tmpdir(), "mlpe-space-"))) {
  removals.push(() => rmSync(directory, { recursive: true, force: true }));
  const disk = { free: 1_000 * MIB, total: 10_000 * MIB };
  const time = { now: 1_000_000_000 };
  let given = 0;
  const guard = spaceGuard({
    directory,
    settings,
    clock: { now: () => time.now },
    random: systemRandom,
    measure: () => ({ ...disk }),
    giveBack: () => given++,
  });
  const ballast = () => (existsSync(join(directory, "ballast")) ? statSync(join(directory, "ballast")).size : 0);
  /** Looks until the ballast is as wanted: it is written a step at a time. */
  const lookUntilBallast = async (bytes: number) => {
    for (let i = 0; i < 1_000 && guard.look().ballast !== bytes; i++) await othersTurn();
    expect(guard.look().ballast).toBe(bytes);
    expect(ballast()).toBe(bytes);
  };
  const at = (free: number) => {
    disk.free = free * MIB;
    return guard.look().state;
  };
  return { directory, guard, disk, time, at, ballast, lookUntilBallast, given: () => given };
}

test("the defaults are the lesser of an amount and a percentage, and soft is never below hard", () => {
  expect(amountsOf({}, 2 ** 40)).toEqual({ soft: 1 << 30, hard: 128 * MIB, ballast: 32 * MIB });
  expect(amountsOf({}, 1_000 * MIB)).toEqual({ soft: 50 * MIB, hard: 20 * MIB, ballast: 5 * MIB });
  expect(amountsOf({ soft: { percent: 1 }, hard: { bytes: 30 * MIB } }, 1_000 * MIB).soft).toBe(30 * MIB);
});

test("a mark is crossed where it stands and left a tenth above", async () => {
  const { at, lookUntilBallast, given } = guarded();
  await lookUntilBallast(2 * MIB);
  expect([101, 99, 105, 111].map(at)).toEqual(["ok", "soft", "soft", "ok"]);
  expect([41, 39, 43, 45, 111].map(at)).toEqual(["soft", "hard", "hard", "soft", "ok"]);
  expect(given()).toBe(2);
});

test("any changed bit of the ballast is named, and one without a digest is made anew", async () => {
  const { directory, lookUntilBallast } = guarded();
  const path = join(directory, "ballast");
  expect(checkBallast(directory)).toEqual([]);
  await lookUntilBallast(2 * MIB);
  expect(checkBallast(directory)).toEqual([]);
  const whole = readFileSync(path);
  for (const byte of [0, 77_777, MIB - 33, MIB - 32, MIB - 1, MIB, 1_999_999, 2 * MIB - 1]) {
    const flipped = Buffer.from(whole);
    flipped[byte]! ^= 1 << (byte % 8);
    writeFileSync(path, flipped);
    expect([byte, checkBallast(directory)]).toEqual([byte, [expect.objectContaining({ place: "ballast" })]]);
  }
  writeFileSync(path, whole.subarray(0, MIB + 5)); // whatever its size
  expect(checkBallast(directory)).toEqual([]);
  writeFileSync(path, systemRandom.bytes(2 * MIB)); // as earlier versions made it
  expect(checkBallast(directory)).toHaveLength(1);
  const next = guarded(SETTINGS, directory);
  await next.lookUntilBallast(2 * MIB);
  expect(checkBallast(directory)).toEqual([]);
});

test("the ballast is there while there is room, given up on a full disk, and made again", async () => {
  const { guard, at, ballast, lookUntilBallast, disk } = guarded();
  await lookUntilBallast(2 * MIB);
  expect(at(39)).toBe("hard");
  expect(ballast()).toBe(2 * MIB); // there is room for what must be written still
  disk.free = 1 * MIB;
  guard.look();
  expect(ballast()).toBe(0);
  // What the ballast would take counts as taken: giving it up is no recovery.
  disk.free = 45 * MIB;
  expect(guard.look()).toMatchObject({ state: "hard", free: 43 * MIB, ballast: 0 });
  disk.free = 500 * MIB;
  expect(guard.look().state).toBe("ok");
  await lookUntilBallast(2 * MIB);
});

test("below the hard mark only small facts are taken; a refused write holds everything back for a while", () => {
  const { guard, at, time } = guarded({ ...SETTINGS, ballast: { bytes: 0 } });
  const large = { urgent: false, bytes: 100 };
  const small = { urgent: true, bytes: 1_000 };
  expect(at(41)).toBe("soft");
  expect(guard.refusal(large)).toBeUndefined();
  expect(at(39)).toBe("hard");
  expect(guard.refusal(large)).toMatchObject({ code: "store.full", kind: "unavailable", retryable: true });
  expect(guard.refusal(small)).toBeUndefined();
  expect(guard.refusal({ urgent: true, bytes: MIB })?.code).toBe("store.full");
  expect(at(1_000)).toBe("ok");
  expect(guard.refusal(large)).toBeUndefined();

  guard.refused(); // a quota, say: much is free, and nothing can be written
  expect(guard.look()).toMatchObject({ state: "hard", refused: true });
  expect(guard.refusal(large)?.message).toContain("refuses writes");
  time.now += 1_000_001;
  expect(guard.look()).toMatchObject({ state: "ok", refused: false });
  guard.refused();
  time.now += 1_000_001;
  expect(guard.look().refused).toBe(true); // the second wait is twice as long
  guard.written();
  expect(guard.look().refused).toBe(false);
});

test("a group that is refused is one refusal, and a clock that is set back has nobody wait for it", () => {
  const { guard, time } = guarded({ ...SETTINGS, ballast: { bytes: 0 } });
  for (let i = 0; i < 20; i++) guard.refused();
  time.now += 1_000_001;
  expect(guard.look().refused).toBe(false);
  guard.refused();
  time.now += 500_000;
  guard.refused();
  time.now += 1_500_001;
  expect(guard.look().refused).toBe(false); // two seconds from the first on
  guard.refused();
  time.now -= 3_600_000_000;
  expect(guard.look()).toMatchObject({ refused: false, state: "ok" });
  expect(guard.refusal({ urgent: false, bytes: 100 })).toBeUndefined();
});

test("a file system whose size changes a little from look to look has its ballast written once", async () => {
  const { guard, disk, ballast, lookUntilBallast, directory } = guarded({ ...SETTINGS, ballast: { percent: 0.02 } });
  await lookUntilBallast(2 * MIB);
  const path = join(directory, "ballast");
  const { ino, mtimeMs } = statSync(path);
  for (let i = 0; i < 50; i++) {
    disk.total -= 40_960;
    guard.look();
    await othersTurn();
    expect(ballast()).toBe(2 * MIB);
  }
  expect(statSync(path)).toMatchObject({ ino, mtimeMs });
});

test("time to full is free space over the slope of the last ten minutes", () => {
  const window = growthWindow();
  let free = 1e9;
  let rate = 0;
  for (let second = 0; second <= 300; second++) {
    rate = window.add(second * 1_000_000, free);
    free -= 1_000;
  }
  expect(rate).toBeCloseTo(1_000, 6);
  expect(window.secondsToFull(free)).toBeCloseTo(free / 1_000, 3);
  expect(window.secondsToFull(0)).toBe(0);
  // It forgets: after ten minutes without growth the rate is 0.
  for (let second = 301; second <= 1_000; second++) rate = window.add(second * 1_000_000, free);
  expect(rate).toBe(0);
  expect(window.secondsToFull(free)).toBe(TIME_TO_FULL_MAX);
  // A clock that goes back makes no rate of its own.
  expect(window.add(0, free + 1e12)).toBe(0);
});

test("a burst in the first minute is no rate: the disk is not said to be full soon", () => {
  const window = growthWindow();
  let free = 1e9;
  for (let second = 0; second < 60; second += 10) {
    expect(window.add(second * 1_000_000, free)).toBe(0);
    expect(window.secondsToFull(free)).toBe(TIME_TO_FULL_MAX);
    free -= 100e6;
  }
  expect(window.add(60_000_000, free)).toBeGreaterThan(1e6);
  expect(window.secondsToFull(free)).toBeLessThan(1_000);
});

test.skipIf(!canMountSmallDisk())(
  "a store on a full disk refuses, loses nothing acknowledged, and goes on by itself",
  async () => {
    const told = await onSmallDisk("test/support/full_disk_store.ts", 24);
    expect(told).toEqual({
      refused: "store.full",
      lost: 0,
      twice: 0,
      duringFull: { head: true, scan: true, urgent: true },
      ballastGivenUp: true,
      states: ["ok", "hard", "ok"],
      ballastBack: true,
      compacted: true,
      findings: 0,
    });
  },
  60_000,
);

test.skipIf(!canMountSmallDisk())(
  "a full disk can be read, and is opened for writing where there is a ballast to give up",
  async () => {
    const told = await onSmallDisk("test/support/full_disk_start.ts", 24);
    expect(told).toEqual({
      refused: ["store.full", "store.full"],
      readFull: 7,
      afterwards: 7,
      made: MIB,
      onBallast: 7,
      ballastGivenUp: true,
    });
  },
  60_000,
);
