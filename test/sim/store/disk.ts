import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import type { Draw } from "../draw.ts";
import type { Op } from "./trace.ts";

/**
 * A disk that loses power. What was synced is there. What was not may be there wholly, partly or not at all: a write in
 * any of its sectors, a name by itself, in whatever order they came. This is what POSIX promises and no more.
 */
export interface Disk {
  /** What the process did next. */
  apply(op: Op): void;
  /** Makes what a power cut now may leave, below a new folder. */
  cut(draw: Draw, into: string): void;
}

type Change = Extract<Op, { kind: "write" | "truncate" | "allocate" }>;
type Naming = Extract<Op, { kind: "create" | "unlink" | "rename" }>;

interface File {
  durable: Uint8Array;
  pending: Change[];
}

/** What a disk writes whole or not at all. */
const SECTOR = 512;
const folderOf = (path: string) => (dirname(path) === "." ? "" : dirname(path));

export function diskOf(): Disk {
  const files = new Map<number, File>();
  const names = new Map<string, { file: number; folder: boolean }>();
  let naming: Naming[] = [];
  const fileOf = (number: number): File => {
    const file = files.get(number) ?? { durable: new Uint8Array(0), pending: [] };
    files.set(number, file);
    return file;
  };
  return {
    apply(op) {
      if (op.kind === "write" || op.kind === "truncate" || op.kind === "allocate") fileOf(op.file).pending.push(op);
      else if (op.kind === "sync") {
        const file = fileOf(op.file);
        file.durable = file.pending.filter((one) => !op.late.has(one)).reduce(changed, file.durable);
        file.pending = file.pending.filter((one) => op.late.has(one));
      } else if (op.kind === "syncFolder") {
        const durable = naming.filter((one) => folderOf(one.path) === op.path && !op.late.has(one));
        for (const one of durable) rename(names, one);
        naming = naming.filter((one) => !durable.includes(one));
      } else if (op.kind !== "acknowledged") naming.push(op);
    },
    cut(draw, into) {
      const left = new Map(names);
      for (const one of survivors(naming, draw)) rename(left, one);
      mkdirSync(into, { recursive: true });
      const folders = [...left].filter(([, { folder }]) => folder).map(([path]) => path);
      for (const path of folders.sort()) if (reachable(path, left)) mkdirSync(join(into, path), { mode: 0o700 });
      for (const [path, { file, folder }] of left) {
        if (folder || !reachable(path, left) || /-shm$/.test(path)) continue;
        const bytes = tailed(path, survived(fileOf(file), draw), draw);
        writeFileSync(join(into, path), bytes, { mode: 0o600 });
      }
    },
  };
}

function rename(names: Map<string, { file: number; folder: boolean }>, op: Naming): void {
  if (op.kind === "create") names.set(op.path, { file: op.file, folder: op.folder });
  else if (op.kind === "unlink") names.delete(op.path);
  else {
    const named = names.get(op.path);
    names.delete(op.path);
    if (named) names.set(op.to, named);
  }
}

const reachable = (path: string, names: ReadonlyMap<string, unknown>): boolean =>
  folderOf(path) === "" || (names.has(folderOf(path)) && reachable(folderOf(path), names));

/** All, none, a beginning, or any of them. */
function survivors<T>(list: readonly T[], draw: Draw): readonly T[] {
  if (list.length === 0) return list;
  return draw.pick([
    () => list,
    () => [],
    () => list.slice(0, draw.integer(0, list.length)),
    () => list.filter(() => draw.chance(0.5)),
  ])();
}

function survived({ durable, pending }: File, draw: Draw): Uint8Array {
  if (pending.length === 0) return durable;
  const kept = survivors(pending, draw);
  if (draw.chance(0.4)) return kept.reduce((bytes, op) => changed(bytes, torn(op, draw)), durable);
  // Any sectors of any write; where the file grew over one that is missing, there is whatever was there.
  const size = kept.reduce(
    (end, op) => Math.max(end, op.kind === "write" ? op.at + op.bytes.length : 0),
    durable.length,
  );
  const base = draw.chance(0.5) ? new Uint8Array(size) : draw.bytes(size);
  const parts = kept.flatMap((op) => sectorsOf(op).filter(() => draw.chance(0.6)));
  for (const op of parts) if (op.kind === "allocate") base.fill(0, op.at, op.end); // room that was given reads as zeros
  base.set(durable);
  return parts.reduce(changed, base as Uint8Array);
}

/** The last bytes of a write may be missing. */
const torn = (op: Change, draw: Draw): Change =>
  op.kind === "write" && draw.chance(0.3)
    ? { ...op, bytes: op.bytes.subarray(0, draw.integer(0, op.bytes.length)) }
    : op;

function sectorsOf(op: Change): Change[] {
  if (op.kind !== "write") return [op];
  const parts: Change[] = [];
  for (let at = 0; at < op.bytes.length; ) {
    const end = Math.min(op.bytes.length, at + SECTOR - ((op.at + at) % SECTOR));
    parts.push({ ...op, at: op.at + at, bytes: op.bytes.subarray(at, end) });
    at = end;
  }
  return parts;
}

/** A write-ahead log may end in whatever its blocks held before. */
function tailed(path: string, bytes: Uint8Array, draw: Draw): Uint8Array {
  if (!path.endsWith("-wal") || !draw.chance(0.2)) return bytes;
  return Buffer.concat([bytes, draw.bytes(draw.integer(1, 5_000))]);
}

function changed(bytes: Uint8Array, op: Change): Uint8Array {
  if (op.kind === "truncate") {
    const cut = new Uint8Array(op.size);
    cut.set(bytes.subarray(0, op.size));
    return cut;
  }
  const grown = new Uint8Array(Math.max(bytes.length, op.kind === "write" ? op.at + op.bytes.length : op.end));
  grown.set(bytes);
  if (op.kind === "write") grown.set(op.bytes, op.at);
  return grown;
}
