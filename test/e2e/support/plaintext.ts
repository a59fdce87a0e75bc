/** What a program wrote and where, and whether anything in it can be read. */
import { readdirSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";

export interface Hit {
  readonly file: string;
  readonly offset: number;
  readonly needle: string;
}

const NEEDLE_BYTES_MIN = 6;
/** Enough to say what is wrong. */
const HITS_MAX = 20;

/** Values to look for: what to call each, and its bytes. Shorter ones than 6 bytes also stand in random bytes. */
export type Needles = ReadonlyMap<string, Uint8Array>;

export function textNeedles(kind: string, texts: Iterable<string>): [string, Uint8Array][] {
  const encoder = new TextEncoder();
  const pairs = [...new Set(texts)].map((text): [string, Uint8Array] => [`${kind} ${text}`, encoder.encode(text)]);
  return pairs.filter(([, bytes]) => bytes.length >= NEEDLE_BYTES_MIN);
}

/** A double as a column or a tensor would hold it. */
export function doubleNeedles(kind: string, values: Iterable<number>): [string, Uint8Array][] {
  // Round numbers are mostly zeros, which stand in many a file.
  const busy = [...new Set(values)].filter(
    (value) => new Set(new Uint8Array(new Float64Array([value]).buffer)).size >= 6,
  );
  return busy.map((value) => [`${kind} ${value} as a double`, new Uint8Array(new Float64Array([value]).buffer)]);
}

/** Windows of 32 bytes of a model's numbers; texts in it (operator names) also stand in the runtime library. */
export function weightNeedles(model: Uint8Array, every = 512): [string, Uint8Array][] {
  const found: [string, Uint8Array][] = [];
  for (let at = 0; at + 32 <= model.length; at += every) {
    const window = model.slice(at, at + 32);
    const texts = window.filter((byte) => byte >= 0x20 && byte < 0x7f).length;
    if (texts < 20 && new Set(window).size >= 12) found.push([`weights at ${at}`, window]);
  }
  return found;
}

/** Every file below a directory. */
export const filesBelow = (directory: string): string[] =>
  readdirSync(directory, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name));

interface Wanted {
  readonly name: string;
  readonly bytes: Uint8Array;
  /** Where in the needle its mark is: three bytes by which it is noticed. */
  readonly mark: number;
}

/** Where any of the needles stands in any of the files: one pass over each, whatever the number of needles. */
export function findReadable(files: readonly string[], needles: Needles): Hit[] {
  const marks = new Uint8Array(1 << 24);
  const byMark = new Map<number, Wanted[]>();
  for (const [name, bytes] of needles) {
    const mark = markOf(bytes);
    const key = (bytes[mark]! << 16) | (bytes[mark + 1]! << 8) | bytes[mark + 2]!;
    marks[key] = 1;
    const others = byMark.get(key);
    if (others) others.push({ name, bytes, mark });
    else byMark.set(key, [{ name, bytes, mark }]);
  }
  const hits: Hit[] = [];
  for (const file of files) {
    const bytes = new Uint8Array(readFileSync(file));
    for (const at of marked(bytes, marks)) {
      const key = (bytes[at]! << 16) | (bytes[at + 1]! << 8) | bytes[at + 2]!;
      for (const wanted of byMark.get(key)!) {
        const offset = at - wanted.mark;
        if (stands(wanted.bytes, bytes, offset)) hits.push({ file, offset, needle: wanted.name });
        if (hits.length === HITS_MAX) return hits;
      }
    }
  }
  return hits;
}

/** Three different bytes, none of them 0: files have long runs of zeros. */
function markOf(bytes: Uint8Array): number {
  for (let at = 0; at + 3 <= bytes.length; at++) {
    const three = new Set(bytes.subarray(at, at + 3));
    if (three.size === 3 && !three.has(0)) return at;
  }
  return 0;
}

/** Every offset at which one of the marks stands. */
function marked(bytes: Uint8Array, marks: Uint8Array): number[] {
  const found: number[] = [];
  let three = ((bytes[0] ?? 0) << 8) | (bytes[1] ?? 0);
  for (let at = 2; at < bytes.length; at++) {
    three = ((three << 8) | bytes[at]!) & 0xffffff;
    if (marks[three] === 1) found.push(at - 2);
  }
  return found;
}

function stands(wanted: Uint8Array, bytes: Uint8Array, offset: number): boolean {
  if (offset < 0 || offset + wanted.length > bytes.length) return false;
  for (let i = 0; i < wanted.length; i++) if (bytes[offset + i] !== wanted[i]) return false;
  return true;
}

export interface Written {
  readonly call: string;
  readonly path: string;
}

const TRACED_CALLS = "openat,open,creat,rename,renameat,renameat2,unlink,unlinkat,memfd_create";
export const strace = (to: string): string[] => [
  "strace",
  "-f",
  "--seccomp-bpf",
  "-y",
  "-e",
  `trace=${TRACED_CALLS}`,
  "-o",
  to,
];

/** Every path that a traced program opened to write or gave a new name, from the output of `strace -f -y`. */
export function pathsWritten(trace: string): Written[] {
  const found: Written[] = [];
  for (const line of trace.split("\n")) {
    const match = /^\d+\s+(\w+)\((.*)$/.exec(line);
    if (!match || /\s=\s-1\s/.test(line)) continue;
    const [, call, rest] = match as unknown as [string, string, string];
    if (call === "memfd_create") found.push({ call, path: `memfd:${/"([^"]*)"/.exec(rest)?.[1] ?? ""}` });
    if (call.startsWith("open") && !/O_(?:WRONLY|RDWR|CREAT|TRUNC|APPEND|TMPFILE)/.test(rest)) continue;
    if (!/^(?:open|openat|creat|rename|renameat|renameat2)$/.test(call)) continue;
    for (const path of namedPaths(rest)) found.push({ call, path });
  }
  return found;
}

/** `AT_FDCWD</home>, "a", 5</data>, "b"`: absolute paths, whatever they are relative to. */
function namedPaths(words: string): string[] {
  return [...words.matchAll(/(?:(?:AT_FDCWD|\d+)<([^>]*)>,\s*)?"((?:[^"\\]|\\.)*)"/g)].map(([, folder, path]) =>
    resolve(folder ?? "/", path!),
  );
}
