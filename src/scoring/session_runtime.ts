import { CFunction, CString, dlopen, FFIType, type Pointer, read } from "bun:ffi";
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, renameSync, rmSync, writeSync } from "node:fs";
import { join } from "node:path";
import { isMainThread, threadId } from "node:worker_threads";
import { Tensor as OrtTensor } from "onnxruntime-common";
import { sha256Hex } from "../base/digest.ts";
import { scoringErrors } from "./errors.ts";
import { ortFiles } from "./session_files.ts";
import { fileDigest, type RuntimeFiles, unpackedFiles, unpackedFolder } from "./session_unpacked.ts";

/** The addon of onnxruntime-node, as its own JavaScript uses it. */
interface Binding {
  initOrtOnce(logLevel: number, tensor: typeof OrtTensor, mainThread: boolean): void;
  readonly InferenceSession: new () => BindingSession;
}

export interface BindingSession {
  loadModel(buffer: ArrayBufferLike, offset: number, length: number, options: object): void;
  readonly inputMetadata: readonly BindingInfo[];
  readonly outputMetadata: readonly BindingInfo[];
  run(feeds: object, fetches: object, options: object): Readonly<Record<string, OrtTensor>>;
  dispose(): void;
}

export interface BindingInfo {
  readonly name: string;
  readonly isTensor: boolean;
  readonly type: number;
  readonly shape: readonly number[];
}

export interface OrtRuntime {
  readonly binding: Binding;
  readonly version: string;
  readonly cpu: string;
  /** An empty directory: where the engine is told to look for external tensors, so that it finds none. */
  readonly emptyDirectory: string;
}

/** Fatal only: what a run reports comes back as an error, and its log lines would carry paths. */
const LOG_LEVEL = 4;

/**
 * Loads ONNX Runtime. In a compiled executable both files are first put side by side into a folder of `directory` named
 * by their content; elsewhere they are used where the package manager put them. Throws `scoring.engine_failed`.
 */
export function loadRuntime(directory: string): OrtRuntime {
  try {
    const files = ortFiles.embedded ? unpack(directory, ortFiles.embedded) : ortFiles;
    const version = libraryVersion(files.library);
    const addon = { exports: {} as Binding };
    process.dlopen(addon, files.binding);
    addon.exports.initOrtOnce(LOG_LEVEL, OrtTensor, isMainThread);
    const emptyDirectory = join(directory, "empty");
    mkdirSync(emptyDirectory, { recursive: true, mode: 0o700 });
    return { binding: addon.exports, version, cpu: cpuFeatures(), emptyDirectory };
  } catch (cause) {
    const message = `ONNX Runtime could not be loaded: ${(cause as Error).message}`;
    throw scoringErrors.error("engine_failed", message, { place: directory, cause });
  }
}

/**
 * Loads the library by its path, so that the addon finds it already loaded, and asks it for its version. Before it
 * starts it is told to send no telemetry: it would keep a database in the user's cache directory, write a log into the
 * temporary one, and call its maker. It asks the C library's environment, which `process.env` does not reach.
 */
function libraryVersion(path: string): string {
  const { symbols } = dlopen(path, {
    OrtGetApiBase: { args: [], returns: FFIType.ptr },
    setenv: { args: [FFIType.cstring, FFIType.cstring, FFIType.int], returns: FFIType.int },
  });
  symbols.setenv(Buffer.from("ORT_DISABLE_TELEMETRY\0"), Buffer.from("1\0"), 1);
  const base = symbols.OrtGetApiBase() as Pointer;
  // struct OrtApiBase { GetApi, GetVersionString } of onnxruntime_c_api.h
  const getVersion = CFunction({ ptr: read.ptr(base, 8) as Pointer, args: [], returns: FFIType.ptr });
  return new CString(getVersion() as Pointer).toString();
}

/** Content-addressed: two versions of the executable share a directory, and a damaged file is written again. */
function unpack(directory: string, digests: RuntimeFiles): RuntimeFiles {
  const folder = unpackedFolder(directory, digests);
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const files = unpackedFiles(folder);
  place(files.binding, ortFiles.binding, digests.binding);
  place(files.library, ortFiles.library, digests.library);
  return files;
}

function place(path: string, embedded: string, digest: string): void {
  if (existsSync(path) && fileDigest(path) === digest) return;
  const content = Bun.zstdDecompressSync(readFileSync(embedded));
  if (sha256Hex(content) !== digest) throw new Error("the executable is damaged: copy it again");
  // Not synced: after a power cut the digest would not fit, and the file is written again.
  const draft = `${path}.${process.pid}.${threadId}`;
  const file = openSync(draft, "w", 0o700);
  try {
    for (let at = 0; at < content.length; ) at += writeSync(file, content, at);
  } finally {
    closeSync(file);
  }
  try {
    renameSync(draft, path);
  } catch (cause) {
    rmSync(draft, { force: true });
    throw cause;
  }
}

/** Processor features that the engine's kernels choose by: with others the same model may give other bits. */
const KERNEL_FEATURES: ReadonlySet<string> = new Set([
  ...["sse4_1", "sse4_2", "avx", "avx2", "fma", "f16c", "avx_vnni", "avx512f", "avx512bw", "avx512dq", "avx512vl"],
  ...["avx512_vnni", "avx512_bf16", "amx_tile", "amx_int8", "amx_bf16"],
  ...["asimd", "asimdhp", "asimddp", "i8mm", "bf16", "sve", "sve2"],
]);

function cpuFeatures(): string {
  const found = new Set<string>();
  if (existsSync("/proc/cpuinfo")) {
    const line = /^(?:flags|Features)\s*:\s*(.*)$/m.exec(readFileSync("/proc/cpuinfo", "latin1"));
    for (const flag of line?.[1]?.split(" ") ?? []) if (KERNEL_FEATURES.has(flag)) found.add(flag);
  }
  return [process.arch, ...[...found].sort()].join(" ");
}
