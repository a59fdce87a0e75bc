import { closeSync, existsSync, openSync, readdirSync, readSync } from "node:fs";
import { join } from "node:path";
import { sha256Hex } from "../base/digest.ts";

/** The two files that a compiled executable puts side by side, or their digests. */
export interface RuntimeFiles {
  readonly binding: string;
  readonly library: string;
}

/** A folder of `runtime/` that is damaged. */
export interface DamagedRuntime {
  readonly place: string;
  readonly message: string;
}

const CHUNK_BYTES = 1 << 20;
const FOLDER = "onnxruntime-";

export const unpackedFolder = (directory: string, digests: RuntimeFiles): string =>
  join(directory, `${FOLDER}${sha256Hex(digests.binding, digests.library).slice(0, 24)}`);

export const unpackedFiles = (folder: string): RuntimeFiles => ({
  binding: join(folder, "onnxruntime_binding.node"),
  library: join(folder, "libonnxruntime.so.1"),
});

/**
 * Folders of ONNX Runtime under `directory` whose files are not what was unpacked: a folder is named by their content, so
 * those of other versions of the executable can be told too. What is not whole yet is passed over.
 */
export function damagedRuntimes(directory: string): DamagedRuntime[] {
  if (!existsSync(directory)) return [];
  const folders = readdirSync(directory).filter((name) => name.startsWith(FOLDER));
  return folders.flatMap((name) => {
    const files = unpackedFiles(join(directory, name));
    if (!existsSync(files.binding) || !existsSync(files.library)) return [];
    const digests = { binding: fileDigest(files.binding), library: fileDigest(files.library) };
    if (unpackedFolder(directory, digests) === join(directory, name)) return [];
    return [
      { place: `runtime/${name}`, message: "its files are not what was unpacked; the next start writes them anew" },
    ];
  });
}

/** SHA-256 in hex, read a piece at a time. */
export function fileDigest(path: string): string {
  const hasher = new Bun.CryptoHasher("sha256");
  const chunk = new Uint8Array(CHUNK_BYTES);
  const file = openSync(path, "r");
  try {
    for (let count = readSync(file, chunk); count > 0; count = readSync(file, chunk)) {
      hasher.update(chunk.subarray(0, count));
    }
  } finally {
    closeSync(file);
  }
  return hasher.digest("hex");
}
