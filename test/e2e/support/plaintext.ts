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

/** Where any of the needles stands in any of the files: one pass over each, whatever the number of needles. */
export function findReadable(files: readonly string[], needles: Needles): Hit[] {
  const starts = new Uint8Array(1 << 24);
  const byStart = new Map<number, [string, Uint8Array][]>();
  for (const needle of needles) {
    const [a, b, c] = needle[1] as unknown as [number, number, number];
    const start = (a << 16) | (b << 8) | c;
    starts[start] = 1;
    byStart.set(start, [...(byStart.get(start) ?? []), needle]);
  }
  const hits: Hit[] = [];
  for (const file of files) {
    const bytes = readFileSync(file);
    let start = bytes.length < 2 ? 0 : (bytes[0]! << 8) | bytes[1]!;
    for (let at = 2; at < bytes.length && hits.length < HITS_MAX; at++) {
      start = ((start << 8) | bytes[at]!) & 0xffffff;
      if (starts[start] === 0) continue;
      for (const [needle, wanted] of byStart.get(start)!) {
        if (at - 2 + wanted.length <= bytes.length && wanted.every((byte, i) => bytes[at - 2 + i] === byte)) {
          hits.push({ file, offset: at - 2, needle });
        }
      }
    }
  }
  return hits;
}

export interface Written {
  readonly call: string;
  readonly path: string;
}

export const TRACED_CALLS = "openat,open,creat,rename,renameat,renameat2,unlink,unlinkat,memfd_create";
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
