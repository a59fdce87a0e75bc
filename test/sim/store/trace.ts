import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Folded } from "./history.ts";
import type { Kept } from "./saved.ts";

/**
 * One thing that a process did to the files below its home. The tracer holds a thread that returns from a call until it has
 * written that down, so that what one thread did before another could know of it stands before what the other did then.
 */
export type Op =
  | {
      readonly kind: "write";
      readonly file: number;
      readonly path: string;
      readonly at: number;
      readonly bytes: Uint8Array;
    }
  | { readonly kind: "truncate"; readonly file: number; readonly path: string; readonly size: number }
  /** Room up to there: zeros where the file ends before. */
  | {
      readonly kind: "allocate";
      readonly file: number;
      readonly path: string;
      readonly at: number;
      readonly end: number;
    }
  /** All but what another thread did while it was under way: nobody knows whether that was meant. */
  | { readonly kind: "sync"; readonly file: number; readonly path: string; readonly late: ReadonlySet<Op> }
  /** A new name for a new file or folder. */
  | { readonly kind: "create"; readonly file: number; readonly path: string; readonly folder: boolean }
  | { readonly kind: "unlink"; readonly path: string }
  | { readonly kind: "rename"; readonly path: string; readonly to: string }
  | { readonly kind: "syncFolder"; readonly path: string; readonly late: ReadonlySet<Op> }
  /** The process was told that this commit is safe. */
  | { readonly kind: "acknowledged"; readonly commitNo: number };

export interface Recording {
  readonly ops: readonly Op[];
  /** By commit number. */
  readonly history: readonly Folded[];
  /** All that were kept, in their order. */
  readonly folds: readonly Kept[];
  /** How often it did what. */
  readonly acts: Readonly<Partial<Record<RecordedAct, number>>>;
}

/** What a recorded life does. */
export const RECORDED_ACTS = [
  "commit",
  "compact",
  "checkpoint",
  "erase",
  "retain",
  "rotate",
  "fold",
  "reopen",
] as const;
export type RecordedAct = (typeof RECORDED_ACTS)[number];

export interface RecordOptions {
  readonly thread: boolean;
  readonly slow: boolean;
}

/** Every other sync of a thread takes 5 ms more, in the words of `strace`. */
const SLOW_SYNCS = "inject=fsync,fdatasync:delay_enter=5000:when=1+2";

export const canRecord = (): boolean => Bun.which("strace") !== null;

const CALLS =
  "link,linkat,open,openat,creat,close,write,pwrite64,fsync,fdatasync,ftruncate,fallocate,unlink,unlinkat,rename,renameat,renameat2,mkdir,mkdirat,lseek";
/** Longer than any write of the workload. */
const BYTES_MAX = 16 << 20;

/**
 * Runs one seeded life of a store in a process of its own under `strace`, and gives all that its threads did to its files.
 * With `thread` the log and its compaction have threads of their own; then two runs of a seed do not agree byte by byte.
 * On a `slow` disk every other sync takes a while.
 */
export async function record(seed: number, home: string, { thread, slow }: RecordOptions): Promise<Recording> {
  const words = [join(import.meta.dir, "recorded.ts"), String(seed), home, ...(thread ? ["thread"] : [])];
  const trace = await traced(words, join(home, "..", `trace-${seed}`), { slow });
  const told = JSON.parse(readFileSync(join(home, "history.json"), "utf8")) as Omit<Recording, "ops">;
  return { ops: opsOf(trace, home), ...told };
}

/** What a process of this program with these words asks of the file system; `file` is for the trace, which is large. */
export async function traced(
  words: readonly string[],
  file: string,
  { slow = false, environment = {} }: { slow?: boolean; environment?: Readonly<Record<string, string>> } = {},
): Promise<string> {
  const options = ["-f", "--seccomp-bpf", "-qq", "-xx", "-s", String(BYTES_MAX), "-e", `trace=${CALLS}`, "-o", file];
  if (slow) options.push("-e", SLOW_SYNCS);
  const env = { ...process.env, ...environment };
  const child = Bun.spawn(["strace", ...options, process.execPath, ...words], {
    stdout: "ignore",
    stderr: "pipe",
    env,
  });
  try {
    const [errors, code] = await Promise.all([child.stderr.text(), child.exited]);
    if (code !== 0) throw new Error(`${words.join(" ")} ended with ${code} under strace: ${errors}`);
    return readFileSync(file, "latin1");
  } finally {
    child.kill();
  }
}

const KEEP_SIZE = "FALLOC_FL_KEEP_SIZE";

interface Handle {
  readonly file: number;
  readonly path: string;
  at: number;
}

/** The trace of one process; threads share its handles. Calls outside `home` are left out. */
export function opsOf(trace: string, home: string): Op[] {
  const ops: Op[] = [];
  /** Thread -> how much had been done when its sync began. */
  const syncing = new Map<string, number>();
  const handles = new Map<number, Handle>();
  const files = new Map<string, number>();
  const folders = new Set([home]);
  let next = 0;
  const inside = (path: string) => path === home || path.startsWith(`${home}/`);
  const short = (path: string) => path.slice(home.length + 1);
  const forget = (path: string) => files.delete(path);
  const opened = (path: string, flags: string, handle: number) => {
    handles.delete(handle);
    if (!inside(path)) return;
    let file = files.get(path);
    if (file === undefined) {
      file = next++;
      files.set(path, file);
      if (flags.includes("O_CREAT")) ops.push({ kind: "create", file, path: short(path), folder: false });
    } else if (flags.includes("O_TRUNC")) ops.push({ kind: "truncate", file, path: short(path), size: 0 });
    if (flags.includes("O_APPEND")) throw new Error(`${path} is opened to append, which is not understood`);
    handles.set(handle, { file, path, at: 0 });
  };
  const acts: Record<string, (words: readonly string[], result: number, thread: string) => void> = {
    open: ([path, flags], handle) => opened(textOf(path!), flags!, handle),
    openat: ([, path, flags], handle) => opened(textOf(path!), flags!, handle),
    creat: ([path], handle) => opened(textOf(path!), "O_CREAT|O_TRUNC", handle),
    close: ([handle]) => handles.delete(Number(handle)),
    lseek([handle], at) {
      const known = handles.get(Number(handle));
      if (known) known.at = at;
    },
    write([number, text], count) {
      const handle = handles.get(Number(number));
      if (!handle) return;
      const bytes = bytesOf(text!).subarray(0, count);
      const path = short(handle.path);
      if (path === "acknowledged") {
        for (const line of Buffer.from(bytes).toString().trim().split("\n")) {
          ops.push({ kind: "acknowledged", commitNo: Number(line) });
        }
        return;
      }
      ops.push({ kind: "write", file: handle.file, path, at: handle.at, bytes });
      handle.at += count;
    },
    pwrite64([number, text, , at], count) {
      const handle = handles.get(Number(number));
      if (!handle) return;
      const bytes = bytesOf(text!).subarray(0, count);
      ops.push({ kind: "write", file: handle.file, path: short(handle.path), at: Number(at), bytes });
    },
    fsync([number], _, thread) {
      const handle = handles.get(Number(number));
      if (!handle) return;
      const late = new Set(ops.slice(syncing.get(thread) ?? ops.length));
      if (folders.has(handle.path)) ops.push({ kind: "syncFolder", path: short(handle.path), late });
      else ops.push({ kind: "sync", file: handle.file, path: short(handle.path), late });
    },
    ftruncate([number, size]) {
      const handle = handles.get(Number(number));
      if (handle) ops.push({ kind: "truncate", file: handle.file, path: short(handle.path), size: Number(size) });
    },
    fallocate([number, mode, offset, length]) {
      const handle = handles.get(Number(number)); // Bun's cache of what it translated is the usual one, and no file of ours
      if (!handle || mode === KEEP_SIZE) return; // room behind the end is no content
      if (mode !== "0") throw new Error(`the trace has fallocate with ${mode}, which is not understood`);
      const [at, end] = [Number(offset), Number(offset) + Number(length)];
      ops.push({ kind: "allocate", file: handle.file, path: short(handle.path), at, end });
    },
    unlink([path]) {
      const name = textOf(path!);
      if (!inside(name)) return;
      forget(name);
      ops.push({ kind: "unlink", path: short(name) });
    },
    rename([path, to]) {
      const [from, into] = [textOf(path!), textOf(to!)];
      if (!inside(from) || !inside(into)) return;
      const file = files.get(from);
      forget(from);
      if (file !== undefined) files.set(into, file);
      ops.push({ kind: "rename", path: short(from), to: short(into) });
    },
    link([path, to]) {
      const [from, into] = [textOf(path!), textOf(to!)];
      const file = files.get(from);
      if (!inside(into) || file === undefined) return;
      files.set(into, file);
      ops.push({ kind: "create", file, path: short(into), folder: false });
    },
    mkdir([path]) {
      const name = textOf(path!);
      if (!inside(name) || files.has(name)) return;
      files.set(name, next++);
      folders.add(name);
      ops.push({ kind: "create", file: files.get(name)!, path: short(name), folder: true });
    },
  };
  acts.fdatasync = acts.fsync!;
  acts.linkat = ([, path, , to], ...rest) => acts.link!([path!, to!], ...rest);
  acts.unlinkat = ([, path], ...rest) => acts.unlink!([path!], ...rest);
  acts.mkdirat = ([, path], ...rest) => acts.mkdir!([path!], ...rest);
  acts.renameat = ([, path, , to], ...rest) => acts.rename!([path!, to!], ...rest);
  acts.renameat2 = acts.renameat;
  for (const { thread, call, words, result } of callsOf(trace)) {
    if (result === undefined) {
      syncing.set(thread, ops.length);
      if (call === "close") acts.close!(words, 0, thread); // another may have its number before it returns
      continue;
    }
    const act = acts[call];
    if (!act) throw new Error(`the trace has ${call}, which is not understood`);
    if (result >= 0 && !(call === "close" && syncing.has(thread))) act(words, result, thread);
    syncing.delete(thread);
  }
  return ops;
}

interface Call {
  readonly thread: string;
  readonly call: string;
  readonly words: readonly string[];
  /** Undefined where it only begins: another thread does something before it returns. */
  readonly result: number | undefined;
}

const UNFINISHED = " <unfinished ...>";

/** The calls in the order in which they returned. */
function* callsOf(trace: string): Generator<Call> {
  const begun = new Map<string, string>();
  for (const line of trace.split("\n")) {
    const [, thread, rest] = /^(\d+)\s+(.*)$/.exec(line) ?? [];
    if (thread === undefined || rest === undefined || /^(?:---|\+\+\+)/.test(rest)) continue;
    if (rest.endsWith(UNFINISHED)) {
      const text = rest.slice(0, -UNFINISHED.length);
      begun.set(thread, text);
      const [, call, words] = /^(\w+)\((.*)$/.exec(text)!;
      yield { thread, call: call!, words: words!.split(", "), result: undefined };
      continue;
    }
    const resumed = /^<\.\.\. \w+ resumed>(.*)$/.exec(rest);
    const whole = resumed ? `${begun.get(thread)}${resumed[1]}` : rest;
    const match = /^(\w+)\((.*)\)\s+= (-?\d+|\?)/.exec(whole);
    if (!match) throw new Error(`no call: ${whole.slice(0, 200)}`);
    // All texts are in hexadecimal, so that no comma stands inside one.
    yield { thread, call: match[1]!, words: match[2]!.split(", "), result: match[3] === "?" ? -1 : Number(match[3]) };
  }
}

const bytesOf = (quoted: string): Uint8Array => {
  if (!quoted.endsWith('"')) throw new Error("a text of the trace was cut");
  return Buffer.from(quoted.slice(1, -1).replaceAll("\\x", ""), "hex");
};
const textOf = (quoted: string): string => Buffer.from(bytesOf(quoted)).toString();
