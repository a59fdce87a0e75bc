import type { Database } from "bun:sqlite";
import { closeSync, existsSync, fstatSync, openSync, readFileSync, readSync } from "node:fs";
import { join } from "node:path";
import type { Sealer } from "./catalogue.ts";
import { databasePath, segmentsPath } from "./database.ts";
import { decodeSums, digestAt, digestOf, isSame, PAGE_BYTES, type ReadSums, sumsPath } from "./sums_file.ts";
import { foundInLog } from "./wal_frames.ts";
import { bootOf, otherFrames } from "./wal_moved.ts";

/** A writer may come and go while it is looked at. */
const LOOKS = 3;
/** Damaged parts that are told one by one. */
const PARTS_TOLD = 20;

type Place = { readonly place: string; readonly message: string };

/** What `log.sums` says of the bytes of log.db. */
export interface SumsReport {
  readonly problems: Place[];
  /** What could not be compared, and why: nothing is known to be wrong with it. */
  readonly unchecked: string[];
}

interface Catalogue {
  readonly database: Database;
  readonly directory: string;
}

/** Compares every byte of log.db, and of the files that no row names, with what was written; beside a writer too. */
export function checkSums(catalogue: Catalogue, sealer: Sealer): SumsReport {
  for (let look = 0; look < LOOKS; look++) {
    const file = readSums(catalogue.directory);
    if (!file) return { problems: [], unchecked: ["unused bytes of log.db: there is no log.sums"] };
    const report = compared(catalogue, sealer, file);
    const after = report.problems.length + report.unchecked.length > 0 ? readSums(catalogue.directory) : file;
    if (after && Buffer.compare(after, file) === 0) return report;
  }
  return { problems: [], unchecked: ["unused bytes of log.db: a writer changes it all the time"] };
}

function readSums(directory: string): Buffer | undefined {
  try {
    return readFileSync(sumsPath(directory));
  } catch (cause) {
    if ((cause as { code?: string }).code === "ENOENT") return undefined;
    throw cause;
  }
}

const DAMAGED = { place: "log.sums", message: "it is damaged: its bytes are not what was written" };
const OTHER = "its bytes are not what was written";

function compared({ database, directory }: Catalogue, sealer: Sealer, file: Uint8Array): SumsReport {
  const sums = decodeSums(file, sealer);
  if (!sums || sums.badMark) return { problems: [DAMAGED], unchecked: [] };
  const problems: Place[] = [];
  const { differing, size } = differences(directory, sums);
  const otherSize = size !== sums.bytes && sums.moving.size === 0;
  // An entry that was cut off is of a checkpoint that had not begun. Of one that is damaged log.db tells.
  if (sums.rest && (otherSize || [...differing.keys()].some((part) => !sums.moving.has(part)))) {
    return { problems: [DAMAGED], unchecked: [] };
  }
  if (otherSize) problems.push({ place: "log.db", message: `it has ${size} bytes, not ${sums.bytes}` });
  const damaged: number[] = [];
  const unknown: number[] = [];
  const inLog = sums.base.partBytes === PAGE_BYTES ? foundInLog(directory, differing) : new Set<number>();
  for (const part of differing.keys()) {
    const begun = sums.moving.has(part);
    if (begun !== inLog.has(part)) unknown.push(part);
    else if (!begun) damaged.push(part);
  }
  for (const part of damaged.slice(0, PARTS_TOLD)) {
    problems.push({ place: placeOf(database, part, sums.base.partBytes), message: OTHER });
  }
  if (damaged.length > PARTS_TOLD) {
    problems.push({ place: "log.db", message: `${damaged.length} of its parts are damaged` });
  }
  for (const [name, sum] of sums.base.loose) {
    const path = join(segmentsPath(directory), name);
    if (existsSync(path) && !isSame(digestOf(readFileSync(path)), sum)) {
      problems.push({ place: `segment ${name}`, message: `${OTHER}; no row names it any more` });
    }
  }
  const unchecked = unknown.length === 0 ? [] : [uncheckedOf(unknown)];
  const frames = otherFrames(directory, sums.frames);
  // Places behind the end of the log are written before they count, and a power cut may leave any part of that.
  if (frames.length > 0 && (sums.base.boot === "" || sums.base.boot !== bootOf())) {
    const old = frames.length === 1 ? "1 old frame" : `${frames.length} old frames`;
    unchecked.push(`${old} of log.db-wal, which nothing reads: the power may have failed since`);
  } else if (frames.length > 0) {
    const [place, message] = [`log.db-wal frame ${frames[0]! + 1}`, `${OTHER}; nothing reads it any more`];
    problems.push({
      place,
      message: frames.length > 1 ? `${message}, and so of ${frames.length - 1} others` : message,
    });
  }
  return { problems, unchecked };
}

/** Such a page is in the write-ahead log too, so nothing reads it in log.db, and the next start writes it anew. */
const uncheckedOf = (pages: readonly number[]): string =>
  `${pages.length} ${pages.length === 1 ? "page" : "pages"} of log.db, from page ${Math.min(...pages)} on: moving the ` +
  "write-ahead log there was cut off, or not this program did it";

/** By their numbers from 1, the parts of log.db that are none of what they may be, and their digests. */
function differences(directory: string, { base, parts, moving }: ReadSums) {
  const differing = new Map<number, Uint8Array>();
  let size = 0;
  for (const [part, sum, end] of digestsOf(directory, base.partBytes)) {
    size = end;
    const stated = digestAt(parts, part - 1);
    const before = moving.get(part);
    if (isSame(stated, sum) || isSame(before, sum)) continue;
    if (stated || before || moving.has(part)) differing.set(part, sum);
  }
  return { differing, size };
}

/** The pages of a part, and what uses them as far as SQLite can tell. */
function placeOf(database: Database, part: number, partBytes: number): string {
  const pages = partBytes / PAGE_BYTES;
  const [first, last] = [(part - 1) * pages + 1, part * pages];
  const place = pages === 1 ? `log.db page ${first}` : `log.db pages ${first} to ${last}`;
  try {
    const users = database
      .query<{ name: string }, [number, number]>("SELECT DISTINCT name FROM dbstat WHERE pageno BETWEEN ? AND ?")
      .all(first, last);
    return `${place} (${users.length === 0 ? "free" : users.map(({ name }) => name).join(", ")})`;
  } catch {
    return place; // it is damaged where that is noted
  }
}

function* digestsOf(directory: string, partBytes: number): Generator<[part: number, sum: Uint8Array, end: number]> {
  const file = openSync(databasePath(directory), "r");
  try {
    const { size } = fstatSync(file);
    const bytes = new Uint8Array(Math.max(partBytes, 1 << 20));
    for (let at = 0; at < size; ) {
      const read = readSync(file, bytes, 0, bytes.length, at);
      if (read === 0) return;
      for (let from = 0; from < read; from += partBytes) {
        const end = Math.min(from + partBytes, read);
        yield [(at + from) / partBytes + 1, digestOf(bytes.subarray(from, end)), at + end];
      }
      at += read;
    }
  } finally {
    closeSync(file);
  }
}
