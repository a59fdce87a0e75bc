import type { Database } from "bun:sqlite";
import { fromBase64 } from "../base/bytes.ts";
import type { Micros } from "../base/time.ts";
import { type CompactedState, damaged, openJson, type Sealer, sealJson } from "./catalogue.ts";
import { insertStreamKey, learnStreamKeys } from "./stream_keys.ts";

/** The catalogue row of a segment: sealed, and the only place where the segment's nonce is. */
export interface SegmentInfo {
  readonly segmentId: number;
  /** Random name of the file under `segments/`. */
  readonly file: string;
  readonly stream: string;
  readonly contractId: number;
  /** 0 straight from the tail; merged segments are higher. */
  readonly level: number;
  readonly firstCommit: number;
  readonly lastCommit: number;
  readonly firstKnownTime: number;
  readonly lastKnownTime: number;
  readonly firstSequence: number;
  readonly rows: number;
  /** How many of them were erased and are empty places; absent where none. */
  readonly erased?: number;
  readonly bytes: number;
  readonly keyId: number;
  /** 24 random bytes, in hex. */
  readonly nonce: string;
  /** Where the footer begins, and which chunk it is. */
  readonly footerAt: number;
  readonly footerChunk: number;
  /** Event time bounds of the rows that have one. Absent in segments of older versions, and where no row has one. */
  readonly minTime?: Micros;
  readonly maxTime?: Micros;
  /** What its decoded columns take, about. Absent in segments of older versions. */
  readonly decodedBytes?: number;
  /** The entity filter in base64, where it is short; a longer one is a chunk of the file. Absent: any entity may be here. */
  readonly filter?: string;
  /** The same, decoded once when the row is read; no part of the row. */
  readonly filterBytes?: Uint8Array;
  readonly filterChunk?: FilterChunk;
  /** The key as it rests, on a segment that was just written: recorded with it, and no part of its row. */
  readonly sealedKey?: Uint8Array;
}

interface FilterChunk {
  readonly chunk: number;
  readonly at: number;
  readonly bytes: number;
}

const whatOf = (segmentId: number, file: string) => `segment ${segmentId} ${file}`;

type SealedRow = { segment_id: number; file: string; sealed: Uint8Array };

/**
 * Every row of the catalogue's table, by number. Those of `known` are taken as they are: a row never changes. The keys
 * that the rows name are learnt with them: a later look may find them gone together.
 */
export function readSegmentInfos(
  database: Database,
  sealer: Sealer,
  known: readonly SegmentInfo[] = [],
): SegmentInfo[] {
  const infos = known.length === 0 ? readAll(database, sealer) : readNew(database, sealer, known);
  learnStreamKeys(database, sealer, infos);
  return infos;
}

/**
 * The rows that the state lists, no more and no fewer: a missing one would be rows that are silently not there. Throws
 * store.damaged.
 */
export function readStatedInfos(
  database: Database,
  sealer: Sealer,
  state: CompactedState,
  known: readonly SegmentInfo[] = [],
): SegmentInfo[] {
  const infos = readSegmentInfos(database, sealer, known);
  const there = new Set(infos.map((info) => info.segmentId));
  const missing = state.segments.find((id) => !there.has(id));
  if (missing !== undefined) throw damaged(`the catalogue's row of segment ${missing}`);
  if (infos.length !== state.segments.length) throw damaged("the catalogue's list of segments");
  return infos;
}

function readAll(database: Database, sealer: Sealer): SegmentInfo[] {
  const all = database.query<SealedRow, []>("SELECT * FROM segments ORDER BY segment_id").all();
  return all.map((row) => openInfo(sealer, row));
}

function readNew(database: Database, sealer: Sealer, known: readonly SegmentInfo[]): SegmentInfo[] {
  const byFile = new Map(known.map((info) => [info.file, info]));
  type Row = { segment_id: number; file: string };
  const rows = database.query<Row, []>("SELECT segment_id, file FROM segments ORDER BY segment_id").all();
  const one = database.query<SealedRow, [number]>("SELECT * FROM segments WHERE segment_id = ?");
  return rows.map(({ segment_id, file }) => {
    const same = byFile.get(file);
    return same?.segmentId === segment_id ? same : openInfo(sealer, one.get(segment_id)!);
  });
}

function openInfo(sealer: Sealer, row: SealedRow): SegmentInfo {
  const info = openJson<SegmentInfo>(sealer, whatOf(row.segment_id, row.file), row.sealed);
  const opened = { ...info, segmentId: row.segment_id, file: row.file };
  return info.filter === undefined ? opened : { ...opened, filterBytes: fromBase64(info.filter) };
}

export function insertSegmentInfo(database: Database, sealer: Sealer, segment: SegmentInfo): void {
  const { sealedKey, filterBytes: _, ...info } = segment;
  if (sealedKey) insertStreamKey(database, { keyId: info.keyId, sealed: sealedKey });
  const sealed = sealJson(sealer, whatOf(info.segmentId, info.file), info);
  database.run("INSERT INTO segments VALUES (?, ?, ?)", [info.segmentId, info.file, sealed]);
}
