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

/** Merged segments of a stream cover at most this part of its age bound, so that rows go in time. */
const AGE_PARTS = 8;

export function ruleMatches({ streams }: RetentionRule, stream: string): boolean {
  if (KEPT.has(stream)) return false;
  const parts = streams.split("*").map((part) => part.replace(/[.+?^${}()|[\]\\]/g, "\\$&"));
  return new RegExp(`^${parts.join(".*")}$`, "s").test(stream);
}

/** How much known time a merged segment of the stream may cover. */
export function mergedSpan(policy: RetentionPolicy | undefined, stream: string): Micros {
  const ages = (policy?.rules ?? []).filter((rule) => ruleMatches(rule, stream)).map(({ age }) => age ?? Infinity);
  return Math.min(Number.POSITIVE_INFINITY, ...ages) / AGE_PARTS;
}
