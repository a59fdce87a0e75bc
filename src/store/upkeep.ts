import type { Database } from "bun:sqlite";
import type { Micros } from "../base/time.ts";
import { damaged, openJson, type Sealer, sealJson } from "./catalogue.ts";
import type { SegmentInfo } from "./segment_info.ts";

/** What the store did to its own files: newest last, and the oldest go. */
const UPKEEP_KEPT = 4_096;

export interface Upkeep {
  /** `compact` moves commits of the tail into segments, `merge` makes one segment of several. */
  readonly what: "compact" | "merge";
  /** Microseconds since 1970. */
  readonly at: Micros;
  readonly firstCommit: number;
  readonly lastCommit: number;
  readonly streams: readonly string[];
  readonly rows: number;
  readonly filesIn: number;
  readonly filesOut: number;
  readonly bytesIn: number;
  readonly bytesOut: number;
}

interface Done {
  readonly what: Upkeep["what"];
  readonly commits: readonly [first: number, last: number];
  readonly gone: readonly Sized[];
  readonly written: readonly Sized[];
}

type Sized = Pick<SegmentInfo, "stream" | "rows" | "bytes">;

const whatOf = (id: number) => `upkeep ${id}`;

/** Inside the transaction of the act itself. */
export function noteUpkeep(
  log: { readonly database: Database; readonly sealer: Sealer; readonly now: () => Micros },
  { what, commits, gone, written }: Done,
): void {
  const sum = (list: readonly Sized[], field: "rows" | "bytes") => list.reduce((total, info) => total + info[field], 0);
  const upkeep: Upkeep = {
    what,
    at: log.now(),
    firstCommit: commits[0],
    lastCommit: commits[1],
    streams: [...new Set(written.map(({ stream }) => stream))],
    rows: sum(written, "rows"),
    filesIn: gone.length,
    filesOut: written.length,
    bytesIn: sum(gone, "bytes"),
    bytesOut: sum(written, "bytes"),
  };
  const { database, sealer } = log;
  const last = database.query<{ id: number | null }, []>("SELECT max(upkeep_id) AS id FROM upkeep").get()?.id ?? 0;
  const id = last + 1;
  database.run("INSERT INTO upkeep VALUES (?, ?)", [id, sealJson(sealer, whatOf(id), upkeep)]);
  database.run("DELETE FROM upkeep WHERE upkeep_id <= ?", [id - UPKEEP_KEPT]);
}

/**
 * The newest acts, newest first. None where a store that is only read has no such table yet. Throws store.damaged where a
 * row does not open or one between two others is missing.
 */
export function readUpkeep(database: Database, sealer: Sealer, limit = UPKEEP_KEPT): Upkeep[] {
  if (!database.query("SELECT 1 FROM sqlite_master WHERE name = 'upkeep'").get()) return [];
  type Row = { upkeep_id: number; sealed: Uint8Array };
  const rows = database.query<Row, [number]>("SELECT * FROM upkeep ORDER BY upkeep_id DESC LIMIT ?").all(limit);
  return rows.map((row, i) => {
    const id = rows[0]!.upkeep_id - i;
    if (row.upkeep_id !== id) throw damaged(whatOf(id));
    return openJson<Upkeep>(sealer, whatOf(id), row.sealed);
  });
}
