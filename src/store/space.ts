import { statfsSync } from "node:fs";
import type { Clock } from "../base/clock.ts";
import type { MlpeError } from "../base/errors.ts";
import type { Random } from "../base/random.ts";
import { showBytes } from "../base/size.ts";
import { MICROS_PER_SECOND, type Micros } from "../base/time.ts";
import { storeErrors } from "./errors.ts";
import { ballastFile } from "./space_ballast.ts";
import { growthWindow } from "./space_growth.ts";

/** An amount of disk: bytes, or a percentage of the file system. */
export type Amount = { readonly bytes: number } | { readonly percent: number };

/** What `space` of the config says. Where a bound is absent, the default is the lesser of a percentage and an amount. */
export interface SpaceSettings {
  /** Below this much free space replayable sources wait. */
  readonly soft?: Amount | undefined;
  /** Below this much free space nothing but small facts is committed. */
  readonly hard?: Amount | undefined;
  /** Bytes of the file that is given up when the disk is full; 0 for none. Default 32 MiB or half a percent. */
  readonly ballast?: Amount | undefined;
}

/** `ok`, below the soft mark, below the hard mark or full. */
export type SpaceState = "ok" | "soft" | "hard";
export const SPACE_STATES: readonly SpaceState[] = ["ok", "soft", "hard"];

/** What the log thread measured last. */
export interface SpaceReport {
  readonly state: SpaceState;
  /** Bytes that this user may still write; the missing part of the ballast counts as taken. */
  readonly free: number;
  readonly total: number;
  /** The marks in bytes. */
  readonly soft: number;
  readonly hard: number;
  /** Bytes of the ballast now. */
  readonly ballast: number;
  /** Bytes a second by which free space shrinks, over the window; negative where it grows. */
  readonly growth: number;
  /** Until nothing is free at that rate; TIME_TO_FULL_MAX where it does not shrink. */
  readonly secondsToFull: number;
  /** True while the operating system refuses writes for want of space, whatever it says is free. */
  readonly refused: boolean;
}

/** Bytes free to this user, and of the file system. */
export interface FreeSpace {
  readonly free: number;
  readonly total: number;
}

export function freeSpace(directory: string): FreeSpace {
  const { bavail, blocks, bsize } = statfsSync(directory);
  return { free: bavail * bsize, total: blocks * bsize };
}

export interface SpaceGuard {
  /** Measures, gives up or makes the ballast, and tells the listeners. */
  look(): SpaceReport;
  /** The error for a commit that must not be tried now; undefined where it may be. */
  refusal(commit: { readonly urgent: boolean; readonly bytes: number }): MlpeError | undefined;
  /** A write was refused for want of space. */
  refused(): void;
  /** A commit was written. */
  written(): void;
  /** Called after each look; at once with the last one. */
  onReport(listener: (report: SpaceReport) => void): void;
  /** Ends the looking; the ballast stays. */
  close(): void;
}

export interface SpaceGuardOptions {
  readonly directory: string;
  readonly settings: SpaceSettings;
  readonly clock: Clock;
  readonly random: Random;
  /** How much is free; tests give their own. */
  readonly measure?: () => FreeSpace;
  /** Called when free space falls below the soft mark: gives back what can be given back at once. */
  readonly giveBack?: () => void;
}

/** Free space is looked at so often. */
export const LOOK_EVERY_MS = 1_000;
/** Below the hard mark a commit that is neither of scores nor of the pipeline may have so many bytes. */
const URGENT_BYTES_MAX = 64 << 10;
/** A mark that was crossed is left at this many times its value. */
const LEAVE_AT = 1.1;
/** After a refused write commits wait this long, then twice as long, up to the second. */
const FIRST_REFUSED_MS = 1_000;
const LONGEST_REFUSED_MS = 16_000;
/** The ballast is made again no sooner than this after a refused write. */
const BALLAST_AGAIN = 2 * MICROS_PER_SECOND;

const SOFT = { bytes: 1 << 30, percent: 5 };
const HARD = { bytes: 128 << 20, percent: 2 };
const BALLAST = { bytes: 32 << 20, percent: 0.5 };

/** The marks and the ballast in bytes for a file system of `total` bytes. */
export function amountsOf(settings: SpaceSettings, total: number): { soft: number; hard: number; ballast: number } {
  const bytesOf = (amount: Amount) => ("bytes" in amount ? amount.bytes : (total * amount.percent) / 100);
  const lesser = ({ bytes, percent }: typeof SOFT) => Math.min(bytes, (total * percent) / 100);
  const of = (amount: Amount | undefined, preset: typeof SOFT) =>
    Math.floor(amount === undefined ? lesser(preset) : bytesOf(amount));
  const hard = of(settings.hard, HARD);
  return { soft: Math.max(hard, of(settings.soft, SOFT)), hard, ballast: of(settings.ballast, BALLAST) };
}

interface Guarding {
  state: SpaceState;
  /** Waits one after another that refusals began. */
  refusals: number;
  /** When the last of them began, and how long it is; 0 where it is over. */
  lastRefusal: Micros | undefined;
  wait: Micros;
  last: SpaceReport | undefined;
}

/** Of time that passed since the last refusal. A clock that was set back would have everybody wait for it to come back. */
const isSince = ({ lastRefusal }: Guarding, now: Micros, span: Micros): boolean =>
  lastRefusal === undefined || Math.abs(now - lastRefusal) >= span;

/** Watches the free space of the data directory, in the thread that writes. */
export function spaceGuard(options: SpaceGuardOptions): SpaceGuard {
  const { directory, clock } = options;
  const measure = options.measure ?? (() => freeSpace(directory));
  const ballast = ballastFile(directory, options.random);
  const growth = growthWindow();
  const listeners: ((report: SpaceReport) => void)[] = [];
  const own: Guarding = { state: "ok", refusals: 0, lastRefusal: undefined, wait: 0, last: undefined };
  const look = (): SpaceReport => {
    const now = clock.now();
    const { free, total } = measure();
    const marks = amountsOf(options.settings, total);
    const refused = !isSince(own, now, own.wait);
    const left = free - Math.max(0, marks.ballast - ballast.bytes());
    const before = own.state;
    own.state = refused ? "hard" : stateOf(left, marks, before);
    if (refused || free < marks.ballast) ballast.release();
    else if (mayMakeBallast(own, left, marks, now)) ballast.make(marks.ballast);
    if (own.state !== "ok" && before === "ok") options.giveBack?.();
    const rate = growth.add(now, left);
    own.last = {
      state: own.state,
      free: Math.max(0, left),
      total,
      soft: marks.soft,
      hard: marks.hard,
      ballast: ballast.bytes(),
      growth: rate,
      secondsToFull: growth.secondsToFull(left),
      refused,
    };
    for (const listener of listeners) listener(own.last);
    return own.last;
  };
  return {
    look,
    refusal({ urgent, bytes }) {
      const report = own.last;
      if (!report || (own.state !== "hard" && !report.refused)) return undefined;
      return urgent && bytes <= URGENT_BYTES_MAX ? undefined : fullError(directory, report);
    },
    refused() {
      const now = clock.now();
      // What was refused in one transaction, or let through while others wait, is one refusal.
      if (isSince(own, now, own.wait)) {
        own.wait = Math.min(LONGEST_REFUSED_MS, FIRST_REFUSED_MS * 2 ** own.refusals++) * 1_000;
        own.lastRefusal = now;
      }
      look();
    },
    written() {
      own.refusals = 0;
      own.wait = 0;
    },
    onReport(listener) {
      listeners.push(listener);
      if (own.last) listener(own.last);
    },
    close: ballast.close,
  };
}

function stateOf(left: number, marks: { soft: number; hard: number }, before: SpaceState): SpaceState {
  if (left < marks.hard * (before === "hard" ? LEAVE_AT : 1)) return "hard";
  return left < marks.soft * (before === "ok" ? 1 : LEAVE_AT) ? "soft" : "ok";
}

/** There must be room well beyond the hard mark: as much again as the ballast takes. */
function mayMakeBallast(own: Guarding, left: number, marks: ReturnType<typeof amountsOf>, now: Micros): boolean {
  if (marks.ballast === 0 || own.state === "hard" || left < marks.hard * LEAVE_AT + marks.ballast) return false;
  return isSince(own, now, BALLAST_AGAIN);
}

/** What is answered to who would add to a full disk. */
export function fullError(directory: string, { free, hard, refused }: SpaceReport): MlpeError {
  const why = refused
    ? "the operating system refuses writes for want of space"
    : `${showBytes(free)} are free, and the hard mark is ${showBytes(hard)}`;
  return storeErrors.error("full", `the disk of the data directory is full: ${why}`, { place: directory });
}
