import type { Database } from "bun:sqlite";
import {
  closeSync,
  existsSync,
  fstatSync,
  fsyncSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  renameSync,
  rmSync,
  statSync,
  unlinkSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { ByteReader, ByteWriter } from "../base/bytes.ts";
import { sha256 } from "../base/digest.ts";
import { boundTo, type Sealer } from "./catalogue.ts";
import { databasePath, segmentsPath } from "./database.ts";
import { syncDirectory } from "./segment_write.ts";

/** `log.sums` says what the bytes of a store are that nobody has open for writing. */
interface Sums {
  readonly bytes: number;
  /** Bytes of one part of log.db; the last may be shorter. */
  readonly partBytes: number;
  readonly parts: readonly Uint8Array[];
  /** Segment files that no row names, replaced a moment before closing: readers may still have been about to open them. */
  readonly loose: ReadonlyMap<string, Uint8Array>;
}

const FORMAT = 1;
/** The page size of database.ts: what is damaged is told by its page. */
const PAGE_BYTES = 4_096;
/** Parts of log.db at most: larger ones take more pages each, so that the file stays within 1 MiB. */
const PARTS_MAX = 65_536;
/** Of SHA-256. They are sealed, so nobody without the key can make others that fit. */
const DIGEST_BYTES = 16;
/** A writer may come and go while it is looked at. */
const LOOKS = 3;
/** Damaged parts that are told one by one. */
const PARTS_TOLD = 20;

const sumsPath = (directory: string) => join(directory, "log.sums");
const bound = ({ storeId }: Sealer) => boundTo(storeId, "sums");
const digest = (bytes: Uint8Array) => sha256(bytes).slice(0, DIGEST_BYTES);

/**
 * Closes the writer's handle, and where log.db then holds everything and its write-ahead log is empty, writes what its
 * bytes are, the unused ones too. None is left where that is not so, or where it can't be written. The lock must be held.
 */
export function closeWithSums(database: Database, directory: string, sealer: Sealer): void {
  let named: ReadonlySet<string>;
  try {
    const rows = database.query<{ file: string }, []>("SELECT file FROM segments").all();
    named = new Set(rows.map(({ file }) => file));
  } finally {
    database.close();
  }
  writeSums(directory, sealer, named);
}

function writeSums(directory: string, sealer: Sealer, named: ReadonlySet<string>): void {
  if (statSync(`${databasePath(directory)}-wal`, { throwIfNoEntry: false })?.size) return;
  const draft = `${sumsPath(directory)}.tmp`;
  try {
    const sealed = sealer.keyring.seal(encodeSums(sumsOf(directory, named)), bound(sealer));
    const file = openSync(draft, "w", 0o600);
    try {
      for (let at = 0; at < sealed.length; ) at += writeSync(file, sealed, at);
      fsyncSync(file);
    } finally {
      closeSync(file);
    }
    renameSync(draft, sumsPath(directory));
    syncDirectory(directory);
  } catch (cause) {
    if (typeof (cause as { code?: unknown }).code !== "string") throw cause;
    rmSync(draft, { force: true }); // a full disk, say: without it less is checked, and nothing is wrong
  }
}

/** On opening for writing, before anything is changed: it must never say what was. `refuse` may throw first. */
export function dropSums(directory: string, refuse: () => void = () => {}): void {
  if (!existsSync(sumsPath(directory))) return;
  refuse();
  unlinkSync(sumsPath(directory));
  syncDirectory(directory);
}

/** Compares what was written on closing, where that is there: every byte of log.db, and of the files that no row names. */
export function checkSums(
  { database, directory }: { readonly database: Database; readonly directory: string },
  sealer: Sealer,
): { place: string; message: string }[] {
  for (let look = 0; look < LOOKS; look++) {
    const sealed = readSums(directory);
    if (!sealed) return [];
    const found = compared(database, directory, sealer, sealed);
    const after = found.length > 0 ? readSums(directory) : sealed;
    if (after && Buffer.compare(after, sealed) === 0) return found;
  }
  return []; // a writer is at work
}

function readSums(directory: string): Buffer | undefined {
  try {
    return readFileSync(sumsPath(directory));
  } catch (cause) {
    if ((cause as { code?: string }).code === "ENOENT") return undefined;
    throw cause;
  }
}

function compared(database: Database, directory: string, sealer: Sealer, sealed: Uint8Array) {
  const found: { place: string; message: string }[] = [];
  const opened = sealer.keyring.open(sealed, bound(sealer));
  if (!opened) return [{ place: "log.sums", message: "it is damaged: its bytes are not what was written" }];
  const sums = decodeSums(opened);
  const { size } = statSync(databasePath(directory));
  if (size !== sums.bytes) found.push({ place: "log.db", message: `it has ${size} bytes, not ${sums.bytes}` });
  let damaged = 0;
  for (const [part, sum] of digestsOf(directory, sums.partBytes)) {
    const stated = sums.parts[part];
    if (!stated || Buffer.compare(stated, sum) === 0 || ++damaged > PARTS_TOLD) continue;
    found.push({ place: placeOf(database, part, sums.partBytes), message: "its bytes are not what was written" });
  }
  if (damaged > PARTS_TOLD) found.push({ place: "log.db", message: `${damaged} of its parts are damaged` });
  for (const [name, sum] of sums.loose) {
    const path = join(segmentsPath(directory), name);
    if (existsSync(path) && Buffer.compare(digest(readFileSync(path)), sum) !== 0) {
      found.push({ place: `segment ${name}`, message: "its bytes are not what was written; no row names it any more" });
    }
  }
  return found;
}

/** The pages of a part, and what uses them as far as SQLite can tell. */
function placeOf(database: Database, part: number, partBytes: number): string {
  const pages = partBytes / PAGE_BYTES;
  const [first, last] = [part * pages + 1, (part + 1) * pages];
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

function sumsOf(directory: string, named: ReadonlySet<string>): Sums {
  const { size: bytes } = statSync(databasePath(directory));
  let partBytes = PAGE_BYTES;
  while (bytes / partBytes > PARTS_MAX) partBytes *= 2;
  const parts = [...digestsOf(directory, partBytes)].map(([, sum]) => sum);
  const folder = segmentsPath(directory);
  const loose = readdirSync(folder).filter((name) => !named.has(name));
  return {
    bytes,
    partBytes,
    parts,
    loose: new Map(loose.map((name) => [name, digest(readFileSync(join(folder, name)))])),
  };
}

function* digestsOf(directory: string, partBytes: number): Generator<[number, Uint8Array]> {
  const file = openSync(databasePath(directory), "r");
  try {
    const { size } = fstatSync(file);
    const bytes = new Uint8Array(Math.max(partBytes, 1 << 20));
    for (let at = 0; at < size; ) {
      const read = readSync(file, bytes, 0, bytes.length, at);
      if (read === 0) return;
      for (let from = 0; from < read; from += partBytes) {
        yield [(at + from) / partBytes, digest(bytes.subarray(from, Math.min(from + partBytes, read)))];
      }
      at += read;
    }
  } finally {
    closeSync(file);
  }
}

function encodeSums({ bytes, partBytes, parts, loose }: Sums): Uint8Array {
  const writer = new ByteWriter(32 + parts.length * DIGEST_BYTES);
  writer.u8(FORMAT).varint(bytes).varint(partBytes).varint(parts.length);
  for (const part of parts) writer.raw(part);
  writer.varint(loose.size);
  for (const [name, sum] of loose) writer.text(name).raw(sum);
  return writer.finish();
}

function decodeSums(opened: Uint8Array): Sums {
  const reader = new ByteReader(opened);
  const format = reader.u8();
  if (format !== FORMAT) throw new RangeError(`log.sums has the format ${format}, not ${FORMAT}`);
  const [bytes, partBytes, count] = [reader.varint(), reader.varint(), reader.varint()];
  const parts = Array.from({ length: count }, () => reader.raw(DIGEST_BYTES));
  const loose = new Map<string, Uint8Array>();
  for (let left = reader.varint(); left > 0; left--) loose.set(reader.text(), reader.raw(DIGEST_BYTES));
  return { bytes, partBytes, parts, loose };
}
