import { readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import type { Micros } from "../base/time.ts";
import { batchOf } from "../contract/batch.ts";
import { RETENTION, retentionContract } from "../contract/streams.ts";
import { readState, writeState } from "./catalogue.ts";
import { isDamage } from "./damage.ts";
import { encodeCommit } from "./encode.ts";
import type { Erasing } from "./erase.ts";
import { replaceSegments } from "./replace.ts";
import { type RetentionPolicy, ruleMatches } from "./retention_rules.ts";
import { readSegmentInfos, type SegmentInfo } from "./segment_info.ts";
import { openSegment } from "./segment_read.ts";
import { removeSegments } from "./segment_write.ts";
import { ERASED, TOMBSTONE } from "./select.ts";

export type DropReason = "age" | "bytes" | "host";

/** What one stream lost at its beginning. */
export interface Dropped {
  readonly stream: string;
  /** The first sequence that is left. */
  readonly firstSequence: number;
  readonly rows: number;
  readonly tombstones: number;
  readonly erased: number;
  readonly bytes: number;
  readonly files: number;
  readonly lastCommit: number;
  readonly lastKnownTime: Micros;
  readonly reason: DropReason;
}

/** Rows that were due, and stay because a reader has not folded them. */
export interface Held {
  readonly stream: string;
  readonly bytes: number;
  readonly reader: string;
  readonly position: number;
}

export interface RetentionOutcome {
  /** The commit that records what was dropped; undefined where nothing was. */
  readonly commitNo: number | undefined;
  readonly dropped: readonly Dropped[];
  readonly held: readonly Held[];
  /** What stays, with all that follows it in its stream, because it can't be read to say what would go. */
  readonly damaged: readonly string[];
}

/**
 * Drops whole segments, oldest first, of the streams that rules name: one transaction takes their catalogue rows away,
 * sets where the streams begin, and commits what was dropped to the stream `retention`; then the files go. What a reader
 * has not folded stays. A crash before the transaction leaves everything, one after it the files, which the next start
 * removes. No compaction may run meanwhile.
 */
export function retainRows(erasing: Erasing, policy: RetentionPolicy, now: Micros): RetentionOutcome {
  const { log, encoder, target, folds } = erasing;
  const { database, sealer } = log;
  const state = log.state();
  const slowestOf = slowestReaders(state.readers, policy);
  const streams = segmentsByStream(readSegmentInfos(database, sealer));
  const held: Held[] = [];
  const due = new Map<string, { gone: SegmentInfo[]; reason: DropReason }>();
  for (const [stream, infos] of streams) {
    const own = dueIn(infos, policy, stream, now);
    const slowest = slowestOf(stream);
    const free = own.gone.filter(({ lastCommit }) => !slowest || lastCommit <= slowest[1]);
    if (free.length < own.gone.length) {
      const bytes = sum(own.gone, "bytes") - sum(free, "bytes");
      held.push({ stream, bytes, reader: slowest![0], position: slowest![1] });
    }
    if (free.length > 0) due.set(stream, { gone: free, reason: own.reason });
  }
  const directory = () => bytesOf(target.directory, new Set(log.keptReplaced()));
  dropForHost(directory, streams, due, policy, (stream) => slowestOf(stream)?.[1]);
  const damaged: string[] = [];
  const runs = [...due].flatMap(([stream, { gone, reason }]): [string, DueRun][] => {
    const counted = countedOf(erasing, gone, damaged);
    return counted.length === 0 ? [] : [[stream, { gone: gone.slice(0, counted.length), reason, counted }]];
  });
  if (runs.length === 0) return { commitNo: undefined, dropped: [], held, damaged };
  const dropped = runs.map(([stream, run]) => droppedOf(stream, run));
  const rows = dropped.map(({ files: _, firstSequence, lastCommit, lastKnownTime, ...row }) => ({
    ...row,
    first_sequence: firstSequence,
    last_commit: lastCommit,
    last_known_time: lastKnownTime,
    at: now,
  }));
  const gone = runs.flatMap(([, one]) => one.gone);
  const request = { appends: [{ stream: RETENTION, batch: batchOf(retentionContract, rows) }] };
  let removeFolds = () => {};
  const { commitNo } = log.commitWith(encodeCommit(request, encoder), state.head.commitNo, () => {
    const next = replaceSegments(database, sealer, readState(database, sealer), gone, []);
    const begins = runs.map(([stream, run]) => {
      const { firstSequence } = droppedOf(stream, run);
      const droppedContracts = [...new Set(run.gone.map(({ contractId }) => contractId).reverse())];
      return [stream, { ...next.streams[stream]!, firstSequence, droppedContracts }] as const;
    });
    writeState(database, sealer, { ...next, streams: { ...next.streams, ...Object.fromEntries(begins) } });
    removeFolds = folds.forget();
  });
  removeFolds();
  log.replaced(gone.map(({ file }) => file));
  removeSegments(target.directory, log.takeReplaced());
  return { commitNo, dropped, held, damaged };
}

/** By stream, the reader that has folded least of it, and up to where; undefined where none reads it. */
function slowestReaders(positions: ReadonlyMap<string, number>, { readers }: RetentionPolicy) {
  const all = [...positions].sort((a, b) => a[1] - b[1]);
  return (stream: string): readonly [string, number] | undefined =>
    readers ? all.find(([name]) => Object.hasOwn(readers, name) && readers[name]!.includes(stream)) : all[0];
}

function segmentsByStream(infos: readonly SegmentInfo[]): Map<string, SegmentInfo[]> {
  const streams = Map.groupBy(infos, ({ stream }) => stream);
  for (const list of streams.values()) list.sort((a, b) => a.firstSequence - b.firstSequence);
  return streams;
}

const sum = (infos: readonly SegmentInfo[], field: "bytes" | "rows"): number =>
  infos.reduce((total, info) => total + info[field], 0);

/** The oldest segments that a rule no longer keeps. By bytes the newest one stays, however large: only old rows go. */
function dueIn(infos: readonly SegmentInfo[], policy: RetentionPolicy, stream: string, now: Micros) {
  const rules = policy.rules.filter((rule) => ruleMatches(rule, stream));
  let count = 0;
  let reason: DropReason = "age";
  for (const { age, bytes } of rules) {
    if (age !== undefined) {
      const old = infos.findIndex(({ lastKnownTime }) => lastKnownTime >= now - age);
      count = Math.max(count, old < 0 ? infos.length : old);
    }
    if (bytes === undefined) continue;
    let left = sum(infos, "bytes");
    let over = 0;
    while (left > bytes && over < infos.length - 1) left -= infos[over++]!.bytes;
    if (over > count) [count, reason] = [over, "bytes"];
  }
  return { gone: infos.slice(0, count), reason };
}

type Due = Map<string, { gone: SegmentInfo[]; reason: DropReason }>;
/** With what was counted in each segment. */
type DueRun = { gone: SegmentInfo[]; reason: DropReason; counted: { tombstones: number; erased: number }[] };

/** Takes the oldest segments of any stream with a rule, but no stream's newest, until the directory is within its bound. */
function dropForHost(
  directoryBytes: () => number,
  streams: ReadonlyMap<string, readonly SegmentInfo[]>,
  due: Due,
  { rules, hostBytes }: RetentionPolicy,
  positionOf: (stream: string) => number | undefined,
): void {
  if (hostBytes === undefined) return;
  let bytes = directoryBytes();
  for (const { gone } of due.values()) bytes -= sum(gone, "bytes");
  const rest = [...streams]
    .filter(([stream]) => rules.some((rule) => ruleMatches(rule, stream)))
    .flatMap(([stream, infos]) => infos.slice(due.get(stream)?.gone.length ?? 0, -1))
    .sort((a, b) => a.lastKnownTime - b.lastKnownTime || a.firstSequence - b.firstSequence);
  for (const info of rest) {
    if (bytes <= hostBytes) return;
    if (info.lastCommit > (positionOf(info.stream) ?? Number.POSITIVE_INFINITY)) continue; // and so are its later ones
    const own = due.get(info.stream) ?? { gone: [], reason: "host" };
    due.set(info.stream, { gone: [...own.gone, info], reason: own.reason });
    bytes -= info.bytes;
  }
}

/** Without the segment files that go by themselves in some seconds: rows need not go for these. */
function bytesOf(directory: string, leaving: ReadonlySet<string>): number {
  let bytes = 0;
  for (const entry of readdirSync(directory, { recursive: true, withFileTypes: true })) {
    if (leaving.has(entry.name)) continue;
    // Compaction and the log's own files come and go meanwhile.
    if (entry.isFile()) bytes += statSync(join(entry.parentPath, entry.name), { throwIfNoEntry: false })?.size ?? 0;
  }
  return bytes;
}

/** Tombstones and erased rows of each segment, up to the first that is damaged, which `damaged` is told of. */
function countedOf({ log, target }: Erasing, infos: readonly SegmentInfo[], damaged: string[]) {
  const counted: { tombstones: number; erased: number }[] = [];
  for (const info of infos) {
    let [tombstones, erased] = [0, 0];
    try {
      const file = openSegment(target.directory, info, log.sealer, log.names);
      try {
        file.footer.blockRows.forEach((_, block) => {
          for (const flag of file.tombstones(block)) {
            if ((flag & ERASED) !== 0) erased++;
            else if ((flag & TOMBSTONE) !== 0) tombstones++;
          }
        });
      } finally {
        file.close();
      }
    } catch (cause) {
      if (!isDamage(cause)) throw cause;
      damaged.push(cause.message);
      break;
    }
    counted.push({ tombstones, erased });
  }
  return counted;
}

function droppedOf(stream: string, { gone, reason, counted }: DueRun): Dropped {
  const last = gone.at(-1)!;
  return {
    stream,
    firstSequence: last.firstSequence + last.rows,
    rows: sum(gone, "rows"),
    tombstones: counted.reduce((total, one) => total + one.tombstones, 0),
    erased: counted.reduce((total, one) => total + one.erased, 0),
    bytes: sum(gone, "bytes"),
    files: gone.length,
    lastCommit: last.lastCommit,
    lastKnownTime: last.lastKnownTime,
    reason,
  };
}
