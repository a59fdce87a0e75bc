import { join } from "node:path";

const PLATFORM = `${process.platform}/${process.arch}`;
const LIBRARIES: Readonly<Record<string, string>> = {
  "linux/x64": "libonnxruntime.so.1",
  "linux/arm64": "libonnxruntime.so.1",
  "darwin/arm64": "libonnxruntime.1.dylib",
};

export interface OrtFiles {
  readonly binding: string;
  readonly library: string;
  /**
   * SHA-256 of both files, unpacked; present only in a compiled executable, where the paths are embedded files compressed
   * with zstd.
   */
  readonly embedded?: { readonly binding: string; readonly library: string };
}

/**
 * Where the addon of onnxruntime-node and the library it loads are. `scripts/build.ts` replaces this module: a compiled
 * executable carries the two files of its own platform inside.
 */
export const ortFiles: OrtFiles = {
  binding: packageFile("onnxruntime_binding.node"),
  library: packageFile(LIBRARIES[PLATFORM] ?? "libonnxruntime.so.1"),
};

function packageFile(name: string): string {
  return join(import.meta.dir, "../../node_modules/onnxruntime-node/bin/napi-v6", PLATFORM, name);
}
