import type { Random } from "../base/random.ts";
import type { Row, Value } from "../base/row.ts";
import type { Micros } from "../base/time.ts";
import { othersTurn } from "../base/turn.ts";
import { type Batch, batchOf } from "../contract/batch.ts";
import { ERASURES, erasureContract } from "../contract/streams.ts";
import { readSecret, readState, writeState } from "./catalogue.ts";
import type { Compactor } from "./compact.ts";
import type { Hands, WrittenSegment } from "./compact_work.ts";
import { type Encoder, encodeCommit, encoderOf } from "./encode.ts";
import { between, type ErasedRow } from "./erase_work.ts";
import { storeErrors } from "./errors.ts";
import type { FoldKeeper } from "./folds.ts";
import { interrupted } from "./pending.ts";
import { replaceSegments } from "./replace.ts";
import type { Scrubbing } from "./scrub.ts";
import { readSegmentInfos, type SegmentInfo } from "./segment_info.ts";
import { removeSegments, type SegmentTarget } from "./segment_write.ts";
import { TOMBSTONE } from "./select.ts";
import type { LogWriter } from "./sqlite_log.ts";
import { STATEMENTS } from "./statements.ts";

/** Rows of one stream that are to go. */
export interface ErasedRows {
  readonly stream: string;
  /** Sequences of those that become empty places. */
  readonly emptied: readonly number[];
  /** Those of which something stays: what stands there afterwards. */
  readonly replaced: readonly { readonly sequence: number; readonly row: Row }[];
}

/** What is erased, and what is said of it. Its rows were handed over before, but for the last. */
export interface Erasure {
  readonly erasure: string;
  /** Of the hold in which the last were looked for. */
  readonly held: number;
  /** What names the entity, and the keyed digest of its values: see erased.ts. */
  readonly fields: readonly string[];
  readonly digest: Uint8Array;
  /** JSON, for whoever reads the log later. */
  readonly body: string;
  readonly at: Micros;
  readonly streams: readonly ErasedRows[];
  /** By source, what its cursor becomes. */
  readonly cursors: Readonly<Record<string, string>>;
}

export interface ErasureOutcome {
  readonly commitNo: number;
  readonly knownTime: Micros;
  /** Rows that are empty places now, and rows that were replaced. */
  readonly emptied: number;
  readonly replaced: number;
  /** Those of both in commits of an earlier version: with the store's salt key, guesses can be tested against their leaves. */
  readonly guessable: number;
  /** Segment files that were written anew. */
  readonly files: number;
  /** False where a reader held the database meanwhile: what is left in its unused places goes soon, or at the next start. */
  readonly scrubbed: boolean;
}

/** Commits wait since then; the log ends with commit `head`. */
export interface Held {
  readonly held: number;
  readonly head: number;
}

/** What erasing needs of the thread that writes. */
export interface Erasing {
  readonly log: LogWriter;
  readonly target: SegmentTarget;
  readonly encoder: Encoder;
  readonly folds: Pick<FoldKeeper, "forget" | "drop">;
  /** Whether what takes long is to end at its next safe point. */
  readonly stopping: { asked: boolean };
}

export function erasingOf(log: LogWriter, folds: Erasing["folds"], directory: string, random: Random): Erasing {
  const { sealer, database } = log;
  const saltKey = readSecret(database, sealer, "salt");
  const encoder = encoderOf(sealer, saltKey, random);
  return { log, folds, encoder, stopping: { asked: false }, target: { directory, sealer, random, pause: othersTurn } };
}

/**
 * The writer's side of an erasure. Commits go on while `prepare` writes segments anew, as often as rows are found; they wait
 * from `hold` to `finish`, which is for the rows that came last, or `release`.
 */
export interface Erasures {
  /** Writes the segments that hold these rows anew, beside the old ones. Another erasure's files are given up. */
  prepare(erasure: string, streams: readonly ErasedRows[]): Promise<void>;
  /** For HOLD_MS_MAX at most. */
  hold(): Promise<Held>;
  release(held: number): void;
  /**
   * Puts what was written in the place of the old segments, whose nonces go, forgets the saved folds, and commits the rows'
   * leaves to the stream `erasures`, in one transaction. A crash before it leaves everything as it was; after it the next
   * start finishes. Throws store.stale_writer where the hold is over or rows went by retention meanwhile: begin anew.
   */
  finish(erasure: Erasure): Promise<ErasureOutcome>;
  /** Gives up what was prepared. */
  abandon(erasure: string): void;
  /** Files that are to be neither merged nor swept. */
  spared(): readonly string[];
  close(): void;
}

/** Commits wait for no longer than this for whoever looks for the last rows. */
const HOLD_MS_MAX = 2_000;
/** Segments that are written anew before the tail is moved into segments again, or a stop is heard: files, and bytes. */
const FILES_A_TURN = 16;
const BYTES_A_TURN = 8 << 20;

/** What was written for one erasure so far. */
interface Prepared {
  readonly erasure: string;
  /** By the file of the old segment. */
  readonly files: Map<string, { readonly old: SegmentInfo; written: WrittenSegment }>;
  readonly rows: ErasedRow[];
  guessable: number;
}

interface Holding {
  readonly held: number;
  readonly pack: () => Promise<void>;
  timer: ReturnType<typeof setTimeout> | undefined;
  readonly end: () => void;
}

interface Session {
  readonly erasing: Erasing;
  readonly hands: Hands;
  prepared: Prepared | undefined;
  holding: Holding | undefined;
  holds: number;
}

export function erasures(
  erasing: Erasing,
  hands: Hands,
  alone: Compactor["alone"],
  scrubbing: Pick<Scrubbing, "now" | "later">,
): Erasures {
  const session: Session = {
    erasing,
    hands,
    prepared: undefined,
    holding: undefined,
    holds: 0,
  };
  const abandon = (erasure: string) => {
    if (session.prepared?.erasure === erasure) giveUp(session);
  };
  const release = (held: number) => {
    if (session.holding?.held === held) session.holding.end();
  };
  return {
    prepare(erasure, streams) {
      return alone(async (pack) => {
        if (session.prepared?.erasure !== erasure) giveUp(session);
        session.prepared ??= { erasure, files: new Map(), rows: [], guessable: 0 };
        await rewrite(session, session.prepared, streams, pack);
      });
    },
    hold: () => holdCommits(session, alone),
    release,
    async finish(erasure) {
      const { holding } = session;
      if (holding?.held !== erasure.held) throw movedOn("commits have gone on");
      clearTimeout(holding.timer);
      try {
        const done = await finish(session, holding, erasure).finally(holding.end);
        return { ...done, scrubbed: await scrubbing.now() };
      } finally {
        scrubbing.later();
      }
    },
    abandon,
    spared: () => [...(session.prepared?.files ?? [])].flatMap(([file, { written }]) => [file, written.file]),
    close: () => session.holding?.end(),
  };
}

const movedOn = (why: string) => storeErrors.error("stale_writer", `${why} since the erasure was prepared`);

function giveUp(session: Session): void {
  const { prepared } = session;
  session.prepared = undefined;
  const files = [...(prepared?.files.values() ?? [])].map(({ written }) => written.file);
  removeSegments(session.erasing.target.directory, files);
}

function holdCommits(session: Session, alone: Compactor["alone"]): Promise<Held> {
  const { log } = session.erasing;
  return new Promise((resolve, reject) => {
    const turn = alone(async (pack) => {
      await pack(); // what was committed while segments were merged: the less is left for the hold
      await new Promise<void>((done) => {
        const goOn = log.hold();
        const held = ++session.holds;
        const end = () => {
          clearTimeout(holding.timer);
          if (session.holding === holding) session.holding = undefined;
          goOn();
          done();
        };
        const holding: Holding = { held, pack, timer: setTimeout(end, HOLD_MS_MAX), end };
        session.holding = holding;
        resolve({ held, head: log.state().head.commitNo });
      });
    });
    turn.catch(reject);
  });
}

async function finish(
  session: Session,
  { pack }: Holding,
  erasure: Erasure,
): Promise<Omit<ErasureOutcome, "scrubbed">> {
  const { log, encoder, folds } = session.erasing;
  const { database, sealer } = log;
  const prepared = session.prepared ?? { erasure: erasure.erasure, files: new Map(), rows: [], guessable: 0 };
  if (prepared.erasure !== erasure.erasure) throw movedOn("another erasure was begun");
  session.prepared = prepared;
  try {
    await pack();
    await rewrite(session, prepared, erasure.streams, async () => {});
    const { head } = log.state();
    const gone = [...prepared.files.values()].map(({ old }) => old);
    const written = [...prepared.files.values()].map((file) => file.written);
    const there = new Set(readSegmentInfos(database, sealer).map(({ file }) => file));
    if (gone.some(({ file }) => !there.has(file))) throw movedOn("rows were dropped");
    const { cursors } = erasure;
    const request = { appends: [{ stream: ERASURES, batch: erasureRows(erasure, prepared.rows) }], cursors };
    let removeFolds = () => {};
    const { commitNo, knownTime } = log.commitWith(encodeCommit(request, encoder), head.commitNo, () => {
      const state = replaceSegments(database, sealer, readState(database, sealer), gone, written);
      // The commit says so too; here it is so that the former ones rest nowhere once it is scrubbed.
      writeState(database, sealer, { ...state, cursors: { ...state.cursors, ...cursors }, scrub: true });
      removeFolds = folds.forget();
    });
    removeFolds();
    session.prepared = undefined;
    log.replaced(
      gone.map(({ file }) => file),
      "erased",
    );
    const replaced = prepared.rows.filter(({ replacement }) => replacement !== undefined).length;
    const emptied = prepared.rows.length - replaced;
    return { commitNo, knownTime, emptied, replaced, guessable: prepared.guessable, files: written.length };
  } catch (cause) {
    // Where the commit is there, these are the files of the log now.
    const named = new Set(readSegmentInfos(database, sealer).map(({ file }) => file));
    for (const [file, { written }] of [...prepared.files]) if (named.has(written.file)) prepared.files.delete(file);
    giveUp(session);
    throw cause;
  }
}

/** Writes anew what holds these rows, or once more what was written anew already, and the statements of their commits. */
async function rewrite(
  session: Session,
  prepared: Prepared,
  streams: readonly ErasedRows[],
  pack: () => Promise<void>,
): Promise<void> {
  const { hands, erasing } = session;
  const { log } = erasing;
  const infos = readSegmentInfos(log.database, log.sealer);
  const standing = (list: readonly SegmentInfo[]) => list.map((info) => standingFor(prepared, info));
  const statements = infos.filter(({ stream }) => stream === STATEMENTS);
  const kept = infos.filter(({ stream }) => stream === ERASURES);
  const touched = streams.flatMap((rows) => segmentsWith(infos, rows));
  const gone: ErasedRow[] = [];
  for (const some of turnsOf(touched)) {
    if (erasing.stopping.asked) throw interrupted();
    const segments = some.map(({ info, rows }) => ({ info: standingFor(prepared, info), rows }));
    const own = statements.filter((one) => some.some(({ info }) => overlap(one, info)));
    const done = await hands.empty({ segments, statements: standing(own), erasures: kept });
    done.written.forEach((written, i) => replaceWith(session, prepared, some[i]!.info, written));
    for (const row of done.rows) gone.push(row);
    await pack();
  }
  if (gone.length === 0) return;
  const sequences = new Map(
    [...Map.groupBy(gone, ({ stream }) => stream)].map(([stream, list]) => [
      stream,
      Float64Array.from(list, ({ sequence }) => sequence).sort(),
    ]),
  );
  const own = statements.filter((one) => touched.some(({ info }) => overlap(one, info)));
  for (const some of turnsOf(own.map((info) => ({ info })))) {
    const done = await hands.puncture({ statements: standing(some.map(({ info }) => info)), sequences });
    done.written.forEach((written, i) => replaceWith(session, prepared, some[i]!.info, written));
    prepared.guessable += done.guessable;
    await pack();
  }
  for (const row of gone) prepared.rows.push(row);
}

const overlap = (one: SegmentInfo, other: SegmentInfo): boolean =>
  one.firstCommit <= other.lastCommit && one.lastCommit >= other.firstCommit;

/** The segment, or what was written in its place already. */
function standingFor({ files }: Prepared, info: SegmentInfo): SegmentInfo {
  const written = files.get(info.file)?.written;
  return written ? { ...written, segmentId: info.segmentId } : info;
}

function replaceWith(
  session: Session,
  prepared: Prepared,
  old: SegmentInfo,
  written: WrittenSegment | undefined,
): void {
  if (!written) return;
  const earlier = prepared.files.get(old.file);
  prepared.files.set(old.file, { old, written });
  if (earlier) removeSegments(session.erasing.target.directory, [earlier.written.file]);
}

interface Touched {
  readonly info: SegmentInfo;
  readonly rows: ReadonlyMap<number, Row | null>;
}

/** The stream's segments that hold some of the rows, with those. */
function segmentsWith(infos: readonly SegmentInfo[], { stream, emptied, replaced }: ErasedRows): Touched[] {
  const bySequence = new Map<number, Row | null>(emptied.map((sequence) => [sequence, null]));
  for (const { sequence, row } of replaced) bySequence.set(sequence, row);
  const sorted = Float64Array.from(bySequence.keys()).sort();
  return infos.flatMap((info) => {
    if (info.stream !== stream) return [];
    const own = between(sorted, info.firstSequence, info.firstSequence + info.rows);
    return own.length === 0 ? [] : [{ info, rows: new Map(Array.from(own, (one) => [one, bySequence.get(one)!])) }];
  });
}

/** Some segments at a time. */
function turnsOf<One extends { readonly info: SegmentInfo }>(all: readonly One[]): One[][] {
  const turns: One[][] = [];
  let bytes = 0;
  for (const one of all) {
    const last = turns.at(-1);
    if (last && last.length < FILES_A_TURN && bytes + one.info.bytes <= BYTES_A_TURN) last.push(one);
    else {
      turns.push([one]);
      bytes = 0;
    }
    bytes += one.info.bytes;
  }
  return turns;
}

function erasureRows({ erasure, fields, digest, body, at }: Erasure, gone: readonly ErasedRow[]): Batch {
  const none: Record<string, Value> = Object.fromEntries(erasureContract.fields.map(({ name }) => [name, null]));
  const entity: Row = { ...none, erasure, kind: "entity", fields: JSON.stringify(fields), digest, body, at };
  const rows = gone.map(({ stream, sequence, flags, leaf, replacement = null, salt = null }): Row => {
    const tombstone = (flags & TOMBSTONE) !== 0;
    return { ...none, erasure, kind: "row", stream, sequence, tombstone, leaf, replacement, salt, at };
  });
  return batchOf(erasureContract, [entity, ...rows]);
}
