/**
 * Builds the one executable: `bun scripts/build.ts [--target bun-linux-arm64] [--outfile dist/mlpe]`.
 * Prints one line of JSON: the file, its size and what it holds.
 */
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { parseArgs } from "node:util";
import type { BunPlugin } from "bun";

const root = resolve(import.meta.dir, "..");
const MAIN = join(root, "src/main.ts");
/**
 * Threads of their own, relative to the folder of the main entry. In the executable they keep that place, so
 * `new URL("./store/log_worker.ts", import.meta.url)` finds them in both.
 */
const WORKERS = [
  "store/log_worker.ts",
  "store/compact_worker.ts",
  "store/query_worker.ts",
  "runtime/restore_worker.ts",
  "pipeline_worker.ts",
  "runtime/pipeline_worker.ts",
];
const LIBRARIES: Readonly<Record<string, string>> = {
  "linux-x64": "libonnxruntime.so.1",
  "linux-arm64": "libonnxruntime.so.1",
  "darwin-arm64": "libonnxruntime.1.dylib",
};
/** 19 saves 2 MB more than 9 and takes half a minute more. */
const ZSTD_LEVEL = 12;

export interface BuildOptions {
  readonly target: string;
  readonly outfile: string;
  /** The main entry; tests give another. */
  readonly main?: string;
  /** Relative to the folder of the main entry; those that do not exist are left out. */
  readonly workers?: readonly string[];
}

/** Compiles the executable; throws with the bundler's messages. Returns its size in bytes. */
export async function build(options: BuildOptions): Promise<number> {
  const platform = options.target.replace(/^bun-/, "");
  const scratch = mkdtempSync(join(tmpdir(), "mlpe-build-"));
  try {
    const main = options.main ?? MAIN;
    const folder = dirname(main);
    const workers = (options.workers ?? WORKERS).map((path) => join(folder, path)).filter((path) => existsSync(path));
    mkdirSync(dirname(resolve(options.outfile)), { recursive: true });
    const [system, arch] = platform.split("-") as [string, string];
    const result = await Bun.build({
      entrypoints: [main, ...workers],
      root: folder,
      target: "bun",
      minify: { whitespace: true, syntax: true, identifiers: false }, // names stay readable in what a crash prints
      define: { "process.platform": JSON.stringify(system), "process.arch": JSON.stringify(arch) },
      plugins: [embedOnnxRuntime(platform, scratch)],
      compile: {
        target: options.target as Bun.Build.CompileTarget,
        outfile: resolve(options.outfile),
        autoloadBunfig: false,
        autoloadDotenv: false,
        autoloadTsconfig: false,
        autoloadPackageJson: false,
      },
      throw: false,
    });
    if (!result.success) throw new Error(result.logs.map(String).join("\n"));
    return statSync(options.outfile).size;
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

/**
 * Replaces `src/scoring/session_files.ts` by a module that embeds the addon and the library of one platform, compressed:
 * the library is 46 MB on x64 and 25 MB on arm64, a quarter of that as zstd, and is unpacked once per data directory.
 */
function embedOnnxRuntime(platform: string, scratch: string): BunPlugin {
  const library = LIBRARIES[platform];
  if (library === undefined)
    throw new Error(`no ONNX Runtime for ${platform}: use ${Object.keys(LIBRARIES).join(", ")}`);
  const folder = join(root, "node_modules/onnxruntime-node/bin/napi-v6", platform.replace("-", "/"));
  const embed = (name: string) => {
    const content = readFileSync(join(folder, name));
    const path = join(scratch, `${name.replace(/\W+/g, "_")}.zst`);
    writeFileSync(path, Bun.zstdCompressSync(content, { level: ZSTD_LEVEL }));
    return {
      path: JSON.stringify(path),
      digest: JSON.stringify(new Bun.CryptoHasher("sha256").update(content).digest("hex")),
    };
  };
  return {
    name: "embed onnxruntime",
    setup(builder) {
      builder.onLoad({ filter: /scoring\/session_files\.ts$/ }, () => {
        const files = { binding: embed("onnxruntime_binding.node"), library: embed(library) };
        return {
          loader: "ts",
          contents: `
            import binding from ${files.binding.path} with { type: "file" };
            import library from ${files.library.path} with { type: "file" };
            const embedded = { binding: ${files.binding.digest}, library: ${files.library.digest} };
            export const ortFiles = { binding, library, embedded };`,
        };
      });
    },
  };
}

if (import.meta.main) {
  const { values } = parseArgs({
    options: {
      target: { type: "string", default: `bun-${process.platform}-${process.arch}` },
      outfile: { type: "string", default: join(root, "dist/mlpe") },
    },
  });
  const bytes = await build(values);
  console.log(JSON.stringify({ file: values.outfile, target: values.target, bytes }));
}
