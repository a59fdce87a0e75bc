import { statSync } from "node:fs";
import { join } from "node:path";
import { fromHex, toBase64 } from "../base/bytes.ts";
import { readSecret, type Sealer } from "../store/catalogue.ts";
import { checkCatalogue, type Finding } from "../store/check.ts";
import { statedCommit } from "../store/compact.ts";
import { segmentsPath } from "../store/database.ts";
import { type ContentHasher, contentHasher } from "../store/leaves.ts";
import { type LogReader, logReader } from "../store/log_reader.ts";
import type { StoredRows } from "../store/port.ts";
import { leafOf } from "../store/record.ts";
import { bySequence } from "../store/segment_files.ts";
import type { SegmentInfo } from "../store/segment_info.ts";
import { openSegment } from "../store/segment_read.ts";
import { sliceStored } from "../store/select.ts";
import { STATEMENTS, type StatedAppend, type StatedCommit, statedCommits } from "../store/statements.ts";
import type { LogStore } from "../store/store.ts";
import { rowsOfAppend, type Snapshot } from "../store/tail_index.ts";
import { addLeaf, type Frontier, rootOf } from "../store/tree.ts";
import { type Checkpoint, readCheckpoint } from "./checkpoint.ts";

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
}

export interface AuditOptions {
  /** A signed checkpoint that was kept elsewhere: the log must go on from it. */
  readonly checkpoint?: string;
}

/**
 * Reads everything at rest again and checks it against the tree: catalogue rows, segment files, commit records, the
 * content root of every append, the leaf of every commit, and the tree against the stored frontier and a checkpoint.
 * Memory is bounded by the largest segment. Damage is reported, never thrown.
 */
export function verifyAudit(store: LogStore, options: AuditOptions = {}): AuditReport {
  const findings: Finding[] = [];
  const kept = options.checkpoint === undefined ? undefined : readCheckpoint(options.checkpoint, store);
  let reader: LogReader | undefined;
  try {
    reader = logReader(store.directory, store.sealer);
    findings.push(...checkCatalogue(reader, store.sealer));
    const audit = new Audit(reader, store.sealer, findings);
    audit.run(kept);
    return audit.report();
  } catch (cause) {
    findings.push(findingOf(cause, "the catalogue"));
    return { size: 0, verified: false, problems: findings, root: "", rows: 0 };
  } finally {
    reader?.close();
  }
}

function findingOf(cause: unknown, place: string): Finding {
  const error = cause as { message?: string; place?: string };
  return { place: error.place ?? place, message: error.message ?? String(cause) };
}

class Audit {
  readonly #reader: LogReader;
  readonly #sealer: Sealer;
  readonly #findings: Finding[];
  readonly #snapshot: Snapshot;
  readonly #contentRoot: ContentHasher;
  #frontier: Frontier = [];
  #size = 0;
  #rows = 0;
  #kept: Checkpoint | undefined;
  #rootAtKept: Uint8Array | undefined;

  constructor(reader: LogReader, sealer: Sealer, findings: Finding[]) {
    this.#reader = reader;
    this.#sealer = sealer;
    this.#findings = findings;
    this.#snapshot = reader.snapshot();
    this.#contentRoot = contentHasher(readSecret(reader.database, sealer, "salt"));
  }

  run(kept: Checkpoint | undefined): void {
    this.#kept = kept;
    this.#checkStatements();
    this.#checkSegments();
    this.#checkTail();
    this.#checkKept();
  }

  report(): AuditReport {
    return {
      size: this.#size,
      verified: this.#findings.length === 0,
      problems: this.#findings,
      root: toBase64(rootOf(this.#frontier)),
      rows: this.#rows,
    };
  }

  #problem(place: string, message: string): void {
    this.#findings.push({ place, message });
  }

  #guard(place: string, look: () => void): void {
    try {
      look();
    } catch (cause) {
      this.#findings.push(findingOf(cause, place));
    }
  }

  #addLeaf(leaf: Uint8Array): void {
    this.#frontier = addLeaf(this.#frontier, this.#size, leaf);
    this.#size++;
    if (this.#size === this.#kept?.size) this.#rootAtKept = rootOf(this.#frontier);
  }

  /** The leaves of the compacted commits must add up to the frontier that compaction stored. */
  #checkStatements(): void {
    const { compacted } = this.#snapshot;
    for (const info of this.#segmentsOf(STATEMENTS)) {
      this.#guard(placeOf(info), () => {
        for (const commit of statedCommits(this.#read(info))) {
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
    const { compacted } = this.#snapshot;
    for (const [stream, { rows }] of Object.entries(compacted.streams)) {
      let next = 0;
      for (const info of this.#segmentsOf(stream)) {
        if (info.firstSequence !== next) this.#problem(placeOf(info), `the rows from sequence ${next} on are missing`);
        next = info.firstSequence + info.rows;
        this.#guard(placeOf(info), () => this.#checkSegment(info));
      }
      if (next !== rows) this.#problem(`stream ${stream}`, `it should have ${rows} compacted rows, and has ${next}`);
    }
  }

  #checkSegment(info: SegmentInfo): void {
    const whole = this.#read(info);
    const end = info.firstSequence + info.rows;
    let next = info.firstSequence;
    for (const { commit, append } of this.#statedIn(info)) {
      if (append.firstSequence !== next) break;
      const from = next - info.firstSequence;
      next += append.rows;
      const rows = append.rows === info.rows ? whole : sliceStored(whole, from, from + append.rows);
      this.#checkAppend(`commit ${commit.commitNo}, ${placeOf(info)}`, rows, append, commit);
    }
    if (next !== end) this.#problem(placeOf(info), `no commit states the rows from sequence ${next} on`);
  }

  /** What the commits of a segment state of its rows. */
  #statedIn(info: SegmentInfo): { commit: StatedCommit; append: StatedAppend }[] {
    const end = info.firstSequence + info.rows;
    const holders = this.#segmentsOf(STATEMENTS).filter(
      (holder) => holder.firstCommit <= info.lastCommit && holder.lastCommit >= info.firstCommit,
    );
    return holders.flatMap((holder) =>
      statedCommits(this.#read(holder)).flatMap((commit) =>
        commit.appends
          .filter(({ stream, rows }) => stream === info.stream && rows > 0)
          .filter(({ firstSequence }) => firstSequence >= info.firstSequence && firstSequence < end)
          .map((append) => ({ commit, append })),
      ),
    );
  }

  #checkAppend(place: string, stored: StoredRows, append: StatedAppend, commit: StatedCommit): void {
    this.#rows += append.rows;
    if (stored.batch.contract.fingerprint !== append.fingerprint) this.#problem(place, "its contract is another");
    const known = stored.commitNos.every((commitNo) => commitNo === commit.commitNo);
    const times = stored.knownTimes.every((time) => time === commit.knownTime);
    const inOrder = stored.sequences.every((sequence, i) => sequence === append.firstSequence + i);
    if (!known || !times || !inOrder) this.#problem(place, "its commit, known time or sequences are others");
    const root = this.#contentRoot(stored.batch, stored.tombstones, append.salt);
    if (Buffer.compare(root, append.root) !== 0) this.#problem(place, "its rows are not those that were committed");
  }

  #checkTail(): void {
    const { names } = this.#reader;
    for (const commit of this.#snapshot.tail) {
      const place = `commit ${commit.commitNo}`;
      this.#guard(place, () => {
        const stated = statedCommit(commit, this.#sealer, names);
        stated.appends.forEach((append, index) => {
          if (append.rows > 0 || append.root.length > 0) {
            this.#checkAppend(place, rowsOfAppend(commit, index, this.#sealer, names), append, stated);
          }
        });
        if (Buffer.compare(leafOf(stated), commit.leaf) !== 0)
          this.#problem(place, "its row is not what was committed");
      });
      this.#addLeaf(commit.leaf);
    }
  }

  #checkKept(): void {
    const kept = this.#kept;
    if (!kept || kept.size === 0) return;
    if (kept.size > this.#size) {
      const message = `it covers ${kept.size} commits, and the log has ${this.#size}: the directory was rolled back`;
      this.#problem("the kept checkpoint", message);
    } else if (!this.#rootAtKept || Buffer.compare(this.#rootAtKept, kept.root) !== 0) {
      this.#problem("the kept checkpoint", `the first ${kept.size} commits are not those that it covers`);
    }
  }

  #segmentsOf(stream: string): SegmentInfo[] {
    const own = this.#snapshot.segments.filter((info) => info.stream === stream);
    return own.sort((a, b) => a.firstSequence - b.firstSequence);
  }

  #last: { segmentId: number; rows: StoredRows } | undefined;

  /** The whole segment in order of sequence: reading it opens every chunk of the file. */
  #read(info: SegmentInfo): StoredRows {
    if (this.#last?.segmentId === info.segmentId) return this.#last.rows;
    const { size } = statSync(join(segmentsPath(this.#reader.directory), info.file));
    if (size !== info.bytes) this.#problem(placeOf(info), `the file has ${size} bytes, not ${info.bytes}`);
    const file = openSegment(this.#reader.directory, info, this.#sealer, this.#reader.names);
    try {
      const rows = bySequence(file);
      if (info.stream === STATEMENTS) this.#last = { segmentId: info.segmentId, rows };
      return rows;
    } finally {
      file.close();
    }
  }
}

const placeOf = (info: SegmentInfo) =>
  `segment ${info.file} (${info.stream}, sequences ${info.firstSequence} to ${info.firstSequence + info.rows - 1})`;
