import { closeSync, fstatSync } from "node:fs";
import { fromHex, toBase64 } from "../base/bytes.ts";
import { rowsOf } from "../contract/batch.ts";
import { ERASURES, RETENTION } from "../contract/streams.ts";
import { canvasFor } from "../store/canonical_rows.ts";
import { readSecret, type Sealer } from "../store/catalogue.ts";
import { checkCatalogue, checkPages, type Finding } from "../store/check.ts";
import { statedCommit } from "../store/compact_work.ts";
import { type KeptRow, keptRows } from "../store/erased.ts";
import { contentHasher } from "../store/leaves.ts";
import { type LogReader, logReader } from "../store/log_reader.ts";
import type { StoredRows } from "../store/port.ts";
import { HASH_BYTES, leafOf } from "../store/record.ts";
import { type HeldSnapshot, holdSnapshot, isReplaced, overtaken, REPLACED_TRIES_MAX } from "../store/replaced.ts";
import { CHUNK_ROWS, saltsOf } from "../store/salts.ts";
import { bySequence } from "../store/segment_files.ts";
import type { SegmentInfo } from "../store/segment_info.ts";
import { openHandle, openSegment, type SegmentFile } from "../store/segment_read.ts";
import { checkBallast } from "../store/space_ballast.ts";
import { STATEMENTS, type StatedAppend, type StatedCommit, statedCommits } from "../store/statements.ts";
import type { LogStore } from "../store/store.ts";
import { checkSums } from "../store/sums_check.ts";
import { rowsOfAppend, type Snapshot } from "../store/tail_index.ts";
import { addLeaf, type Frontier, rootOf } from "../store/tree.ts";
import { type Checkpoint, readCheckpoint } from "./checkpoint.ts";
import { rootOfLeaves, type SegmentLeaves, segmentLeaves } from "./segment_leaves.ts";

export interface AuditReport {
  /** Commits in the tree. */
  readonly size: number;
  readonly verified: boolean;
  /** What is wrong, each with its place: a table's row, a commit, a segment with its stream and sequences. */
  readonly problems: readonly Finding[];
  /** Base64 root of the tree. */
  readonly root: string;
  /** Rows that were hashed again. */
  readonly rows: number;
  /** Places whose rows were erased: their leaves are taken as they were kept. */
  readonly erased: number;
  /** What could not be compared with what was written, and why; nothing is read from there. */
  readonly unchecked: readonly string[];
}

export interface AuditOptions {
  /** A signed checkpoint that was kept elsewhere: the log must go on from it. */
  readonly checkpoint?: string;
  /** Files that are opened at once; fewer in tests. */
  readonly filesHeld?: number;
}

/** Rows of the statements stream that are held decoded: a segment's rows are compared with a few neighbours of them. */
const STATED_ROWS_MAX = 1 << 17;

/**
 * Reads everything at rest again and checks it against the tree: catalogue rows, segment files, commit records, the
 * content root of every append, the leaf of every commit, and the tree against the stored frontier and a checkpoint.
 * Memory is bounded by the largest segment. Damage is reported, never thrown. Where a server beside replaced a file of a
 * directory of very many before it was read, it begins again over the log as it is then; store.overtaken is thrown once it
 * did so several times.
 */
export function verifyAudit(store: LogStore, options: AuditOptions = {}): AuditReport {
  for (let tries = 1; ; tries++) {
    try {
      return auditOnce(store, options);
    } catch (cause) {
      if ((cause as { code?: string }).code !== "store.overtaken" || tries >= REPLACED_TRIES_MAX) throw cause;
    }
  }
}

function auditOnce(store: LogStore, options: AuditOptions): AuditReport {
  const findings: Finding[] = [];
  const kept = options.checkpoint === undefined ? undefined : readCheckpoint(options.checkpoint, store);
  let reader: LogReader | undefined;
  let held: HeldSnapshot | undefined;
  try {
    reader = logReader(store.directory, store.sealer);
    findings.push(...checkPages(reader));
    const sums = checkSums(reader, store.sealer);
    findings.push(...sums.problems);
    findings.push(...checkCatalogue(reader, store.sealer));
    findings.push(...checkBallast(store.directory));
    held = holdSnapshot(store.directory, reader.snapshot, options.filesHeld);
    const audit = new Audit(reader, held, store.sealer, findings);
    audit.run(kept);
    return { ...audit.report(), unchecked: sums.unchecked };
  } catch (cause) {
    if ((cause as { code?: string }).code === "store.overtaken") throw cause;
    findings.push(findingOf(cause, "the catalogue"));
    return { size: 0, verified: false, problems: findings, root: "", rows: 0, erased: 0, unchecked: [] };
  } finally {
    held?.close();
    reader?.close();
  }
}

function findingOf(cause: unknown, place: string): Finding {
  const error = cause as { message?: string; place?: string };
  const [there, message] = [error.place ?? place, error.message ?? String(cause)];
  return { place: there, message: message.startsWith(`${there}: `) ? message.slice(there.length + 2) : message };
}

/** What a commit states of rows of one stream. */
interface Stated {
  readonly commit: StatedCommit;
  readonly append: StatedAppend;
}

class Audit {
  readonly #reader: LogReader;
  readonly #sealer: Sealer;
  readonly #findings: Finding[];
  readonly #snapshot: Snapshot;
  readonly #handles: ReadonlyMap<string, number>;
  readonly #saltKey: Uint8Array;
  readonly #canvas = canvasFor(CHUNK_ROWS);
  #kept: ReadonlyMap<string, ReadonlyMap<number, KeptRow>> = new Map();
  /** By stream, the first sequence that retention says it left. */
  readonly #left = new Map<string, number>();
  #frontier: Frontier = [];
  #size = 0;
  #rows = 0;
  #erased = 0;
  #checkpoint: Checkpoint | undefined;
  #rootAtCheckpoint: Uint8Array | undefined;

  constructor(reader: LogReader, held: HeldSnapshot, sealer: Sealer, findings: Finding[]) {
    this.#reader = reader;
    this.#sealer = sealer;
    this.#findings = findings;
    this.#snapshot = held.snapshot;
    this.#handles = held.handles;
    this.#saltKey = readSecret(reader.database, sealer, "salt");
  }

  run(checkpoint: Checkpoint | undefined): void {
    this.#checkpoint = checkpoint;
    this.#checkStatements();
    this.#guard(`stream ${ERASURES}`, () => {
      this.#kept = keptRows(this.#everyRow(ERASURES));
    });
    this.#guard(`stream ${RETENTION}`, () => this.#readRetention());
    this.#checkSegments();
    this.#checkTail();
    this.#checkKept();
  }

  report(): Omit<AuditReport, "unchecked"> {
    return {
      size: this.#size,
      verified: this.#findings.length === 0,
      problems: this.#findings,
      root: toBase64(rootOf(this.#frontier)),
      rows: this.#rows,
      erased: this.#erased,
    };
  }

  #problem(place: string, message: string): void {
    this.#findings.push({ place, message });
  }

  #guard(place: string, look: () => void): void {
    try {
      look();
    } catch (cause) {
      if (isReplaced(cause, this.#reader.snapshot)) throw overtaken(cause); // one of more files than are held
      this.#findings.push(findingOf(cause, place));
    }
  }

  #addLeaf(leaf: Uint8Array): void {
    this.#frontier = addLeaf(this.#frontier, this.#size, leaf);
    this.#size++;
    if (this.#size === this.#checkpoint?.size) this.#rootAtCheckpoint = rootOf(this.#frontier);
  }

  /** All rows of a stream in order of sequence, part by part. */
  *#everyRow(stream: string): Generator<StoredRows> {
    for (const info of this.#segmentsOf(stream)) yield this.#read(info);
    const { names } = this.#reader;
    for (const commit of this.#snapshot.tail) {
      for (const [index, { streamId }] of commit.ranges.entries()) {
        if (names.streamOf(streamId) === stream) yield rowsOfAppend(commit, index, this.#sealer, names);
      }
    }
  }

  #readRetention(): void {
    for (const { batch } of this.#everyRow(RETENTION)) {
      for (const row of rowsOf(batch)) {
        const stream = row.stream as string;
        this.#left.set(stream, Math.max(this.#left.get(stream) ?? 0, row.first_sequence as number));
      }
    }
  }

  /** The leaves of the compacted commits must add up to the frontier that compaction stored. */
  #checkStatements(): void {
    const { compacted } = this.#snapshot;
    for (const info of this.#segmentsOf(STATEMENTS)) {
      this.#guard(placeOf(info), () => {
        for (const commit of this.#statedBy(info)) {
          if (commit.commitNo !== this.#size + 1) this.#problem(placeOf(info), `commit ${this.#size + 1} is missing`);
          this.#addLeaf(leafOf(commit));
        }
      });
    }
    if (this.#size !== compacted.lastCommit) {
      this.#problem("the statements of commits", `there are ${this.#size} of ${compacted.lastCommit}`);
    }
    const stored = rootOf(compacted.frontier.map(fromHex));
    if (Buffer.compare(stored, rootOf(this.#frontier)) !== 0) {
      this.#problem("the audit tree", "the compacted commits do not give the stored root");
      this.#frontier = compacted.frontier.map(fromHex);
      this.#size = compacted.lastCommit;
    }
  }

  /** Every compacted row, append by append, against the root that its commit stated. */
  #checkSegments(): void {
    for (const [stream, { rows, firstSequence = 0 }] of Object.entries(this.#snapshot.compacted.streams)) {
      const left = this.#left.get(stream) ?? 0;
      if (left !== firstSequence) {
        this.#problem(`stream ${stream}`, `retention left the rows from ${left} on, not from ${firstSequence} on`);
      }
      let next = firstSequence;
      for (const info of this.#segmentsOf(stream)) {
        if (info.firstSequence !== next) this.#problem(placeOf(info), `the rows from sequence ${next} on are missing`);
        next = info.firstSequence + info.rows;
        this.#guard(placeOf(info), () => this.#checkSegment(info));
      }
      if (next !== rows) this.#problem(`stream ${stream}`, `it should have ${rows} compacted rows, and has ${next}`);
    }
  }

  #checkSegment(info: SegmentInfo): void {
    const stated = this.#statedIn(info);
    const kept = this.#keptIn(info);
    const salts = new Int32Array(info.rows * 4);
    let next = info.firstSequence;
    for (const { append } of stated) {
      if (append.firstSequence !== next) break;
      salts.set(saltsOf(this.#saltKey, append.salt, append.rows), (next - info.firstSequence) * 4);
      next += append.rows;
    }
    const end = info.firstSequence + info.rows;
    if (next !== end) this.#problem(placeOf(info), `no commit states the rows from sequence ${next} on`);
    for (const [at, { salt }] of kept) if (salt) salts.set(new Int32Array(salt.slice().buffer), at * 4);
    const file = this.#open(info);
    try {
      const found = segmentLeaves(file, salts, this.#canvas);
      if (!found.gapless) this.#problem(placeOf(info), "sequences are missing, or there twice");
      this.#takeKept(info, found, kept);
      for (const one of stated) this.#checkStated(file, found.leaves, one);
    } finally {
      file.close();
    }
  }

  /** What was kept of erased rows of a segment, by their places in it. */
  #keptIn(info: SegmentInfo): ReadonlyMap<number, KeptRow> {
    const found = new Map<number, KeptRow>();
    for (const [sequence, row] of this.#kept.get(info.stream) ?? []) {
      const at = sequence - info.firstSequence;
      if (at >= 0 && at < info.rows) found.set(at, row);
    }
    return found;
  }

  /** The kept leaves go in: what stands in these places must be nothing, or what the erasure put there. */
  #takeKept(info: SegmentInfo, { leaves, erased }: SegmentLeaves, kept: ReadonlyMap<number, KeptRow>): void {
    const empty = new Set(erased);
    for (const [at, row] of kept) {
      const place = leaves.subarray(at * HASH_BYTES, (at + 1) * HASH_BYTES);
      const said = `row ${info.firstSequence + at}`;
      if (!row.replacement) {
        if (!empty.delete(at)) this.#problem(placeOf(info), `${said} was erased, and is there`);
      } else if (Buffer.compare(place, row.replacement) !== 0) {
        this.#problem(placeOf(info), `${said} is not what was put in the place of the erased one`);
      }
      place.set(row.leaf);
    }
    for (const at of empty) this.#problem(placeOf(info), `row ${info.firstSequence + at} is empty, but was not erased`);
    this.#erased += kept.size;
  }

  #checkStated({ info, contract, footer, spanOf }: SegmentFile, leaves: Uint8Array, { commit, append }: Stated): void {
    const place = `commit ${commit.commitNo}, ${placeOf(info)}`;
    this.#rows += append.rows;
    const span = spanOf(append.firstSequence);
    const isKnown = footer.commitNos[span] === commit.commitNo && footer.knownTimes[span] === commit.knownTime;
    if (!isKnown || spanOf(append.firstSequence + append.rows - 1) !== span) {
      this.#problem(place, "its commit or known time is another");
    }
    if (contract.fingerprint !== append.fingerprint) this.#problem(place, "its contract is another");
    const from = (append.firstSequence - info.firstSequence) * HASH_BYTES;
    const root = rootOfLeaves(leaves.subarray(from, from + append.rows * HASH_BYTES));
    if (Buffer.compare(root, append.root) !== 0) this.#problem(place, "its rows are not those that were committed");
  }

  /** What the commits of a segment state of its rows. */
  #statedIn(info: SegmentInfo): Stated[] {
    const end = info.firstSequence + info.rows;
    const holders = this.#segmentsOf(STATEMENTS).filter(
      (holder) => holder.firstCommit <= info.lastCommit && holder.lastCommit >= info.firstCommit,
    );
    return holders.flatMap((holder) =>
      this.#statedBy(holder).flatMap((commit) =>
        commit.appends
          .filter(({ stream, rows }) => stream === info.stream && rows > 0)
          .filter(({ firstSequence }) => firstSequence >= info.firstSequence && firstSequence < end)
          .map((append) => ({ commit, append })),
      ),
    );
  }

  #checkTail(): void {
    const { names } = this.#reader;
    const contentRoot = contentHasher(this.#saltKey);
    for (const commit of this.#snapshot.tail) {
      const place = `commit ${commit.commitNo}`;
      this.#guard(place, () => {
        const stated = statedCommit(commit, this.#sealer, names);
        for (const [index, append] of stated.appends.entries()) {
          const { batch, tombstones } = rowsOfAppend(commit, index, this.#sealer, names);
          this.#rows += append.rows;
          const root = contentRoot(batch, tombstones, append.salt);
          if (Buffer.compare(root, append.root) !== 0)
            this.#problem(place, "its rows are not those that were committed");
        }
        if (Buffer.compare(leafOf(stated), commit.leaf) !== 0)
          this.#problem(place, "its row is not what was committed");
      });
      this.#addLeaf(commit.leaf);
    }
  }

  #checkKept(): void {
    const checkpoint = this.#checkpoint;
    if (!checkpoint || checkpoint.size === 0) return;
    const { size, root } = checkpoint;
    if (size > this.#size) {
      const message = `it covers ${size} commits, and the log has ${this.#size}: the directory was rolled back`;
      this.#problem("the kept checkpoint", message);
    } else if (!this.#rootAtCheckpoint || Buffer.compare(this.#rootAtCheckpoint, root) !== 0) {
      this.#problem("the kept checkpoint", `the first ${size} commits are not those that it covers`);
    }
  }

  #segmentsOf(stream: string): SegmentInfo[] {
    const own = this.#snapshot.segments.filter((info) => info.stream === stream);
    return own.sort((a, b) => a.firstSequence - b.firstSequence);
  }

  readonly #stated = new Map<number, { readonly rows: number; readonly commits: readonly StatedCommit[] }>();

  /** The statements of a segment; those used last are held, up to a bound. */
  #statedBy(info: SegmentInfo): readonly StatedCommit[] {
    let found = this.#stated.get(info.segmentId);
    if (found) this.#stated.delete(info.segmentId);
    else found = { rows: info.rows, commits: statedCommits(this.#read(info)) };
    this.#stated.set(info.segmentId, found);
    let held = 0;
    for (const { rows } of this.#stated.values()) held += rows;
    for (const [id, { rows }] of this.#stated) {
      if (held <= STATED_ROWS_MAX || id === info.segmentId) break;
      this.#stated.delete(id);
      held -= rows;
    }
    return found.commits;
  }

  /** Checks the size too. Files that a server beside replaces meanwhile are read through the handles that are held. */
  #open(info: SegmentInfo): SegmentFile {
    const { directory, names } = this.#reader;
    const held = this.#handles.get(info.file);
    const handle = held ?? openHandle(directory, info);
    const { size } = fstatSync(handle);
    if (held === undefined) closeSync(handle);
    if (size !== info.bytes) this.#problem(placeOf(info), `the file has ${size} bytes, not ${info.bytes}`);
    return openSegment(directory, info, this.#sealer, names, held);
  }

  /** The whole segment in order of sequence: reading it opens every chunk of the file. */
  #read(info: SegmentInfo): StoredRows {
    const file = this.#open(info);
    try {
      return bySequence(file);
    } finally {
      file.close();
    }
  }
}

const placeOf = (info: SegmentInfo) =>
  `segment ${info.file} (${info.stream}, sequences ${info.firstSequence} to ${info.firstSequence + info.rows - 1})`;
