import type { Database } from "bun:sqlite";
import { openJson, type Sealer, sealJson } from "./catalogue.ts";

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
  readonly bytes: number;
  readonly keyId: number;
  /** 24 random bytes, in hex. */
  readonly nonce: string;
  /** Where the footer begins, and which chunk it is. */
  readonly footerAt: number;
  readonly footerChunk: number;
}

const whatOf = (segmentId: number, file: string) => `segment ${segmentId} ${file}`;

export function readSegmentInfos(database: Database, sealer: Sealer): SegmentInfo[] {
  type Row = { segment_id: number; file: string; sealed: Uint8Array };
  const rows = database.query<Row, []>("SELECT * FROM segments ORDER BY segment_id").all();
  return rows.map((row) => {
    const info = openJson<SegmentInfo>(sealer, whatOf(row.segment_id, row.file), row.sealed);
    return { ...info, segmentId: row.segment_id, file: row.file };
  });
}

export function insertSegmentInfo(database: Database, sealer: Sealer, info: SegmentInfo): void {
  const sealed = sealJson(sealer, whatOf(info.segmentId, info.file), info);
  database.run("INSERT INTO segments VALUES (?, ?, ?)", [info.segmentId, info.file, sealed]);
}
