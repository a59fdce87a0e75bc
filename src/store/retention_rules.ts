import { patternMatches } from "../base/pattern.ts";
import type { Micros } from "../base/time.ts";
import { ARTIFACTS, BACKUPS, CONTROL, ERASURES, RETENTION } from "../contract/streams.ts";
import { STATEMENTS } from "./statements.ts";

/** How long, and how much, of the streams that a pattern names is kept. */
export interface RetentionRule {
  /** A stream's name, in which `*` stands for anything. */
  readonly streams: string;
  /** By known time. */
  readonly age?: Micros | undefined;
  readonly bytes?: number | undefined;
}

export interface RetentionPolicy {
  readonly rules: readonly RetentionRule[];
  /** For the whole directory: beyond it, the oldest segments of the streams that have a rule go. */
  readonly hostBytes?: number | undefined;
  /**
   * The readers that rows wait for, and the streams that each reads: others may never move again. Default: every reader
   * that ever had a position, and every stream.
   */
  readonly readers?: Readonly<Record<string, readonly string[]>> | undefined;
}

/** Streams that no rule touches: what steers folds, what models are made of, and what the audit needs. */
const KEPT: ReadonlySet<string> = new Set([CONTROL, ARTIFACTS, ERASURES, RETENTION, BACKUPS, STATEMENTS]);

/** Merged segments of a stream cover at most this part of its bounds, so that rows go in time and not many at once. */
const PARTS = 8;

/** What one merged segment of a stream may cover at most. */
export interface MergedMost {
  readonly span: Micros;
  /** Packed. */
  readonly bytes: number;
}

export function ruleMatches({ streams }: RetentionRule, stream: string): boolean {
  return !KEPT.has(stream) && patternMatches(streams, stream);
}

/** How much known time, and how many bytes, a merged segment of the stream may cover. */
export function mergedMost({ rules, hostBytes }: RetentionPolicy = { rules: [] }, stream: string): MergedMost {
  const own = rules.filter((rule) => ruleMatches(rule, stream));
  const least = (bounds: readonly (number | undefined)[]) =>
    Math.min(...bounds.map((bound) => bound ?? Infinity)) / PARTS;
  return {
    span: least(own.map(({ age }) => age)),
    bytes: least(own.flatMap(({ bytes }) => [bytes, hostBytes])),
  };
}
