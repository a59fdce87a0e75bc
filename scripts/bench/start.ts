import { existsSync, readFileSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { build } from "../build.ts";
import { type Bench, less, median, ROOT, smallProject } from "./bench.ts";
import { indexFigures } from "./start_index.ts";

const RUNS = 7;
/** Enough for the trees to have every feature; the index that a start folds is of these and a year of weather. */
const FLIGHTS = 5_000;
const GIVE_UP_MS = 60_000;
const FLOOR = "bare bun + onnxruntime-node";

/** Start to ready with the trees model live, resident memory then, and the size of the file; then with a large index. */
export const start: Bench = async (tell) => {
  const program = join(ROOT, "dist/mlpe");
  if (!existsSync(program)) {
    tell("building dist/mlpe");
    await build({ target: `bun-${process.platform}-${process.arch}`, outfile: program });
  }
  const project = await smallProject(FLIGHTS);
  const data = join(project.directory, "data");
  const place = ["--config", project.config, "--data", data];
  try {
    tell(`preparing ${FLIGHTS} flights`);
    await done([program, "ingest", ...place], project.environment);
    const serve = [program, "run", ...place, "--port", "0"];
    const rival = [
      process.execPath,
      join(import.meta.dir, "start_rival.ts"),
      join(ROOT, "models/flight_delay/model.onnx"),
    ];
    await startOnce(serve, project.environment, urlInLog, "/readyz"); // unpacks, and makes the model live
    const [ours, theirs]: [Started[], Started[]] = [[], []];
    for (let run = 0; run < RUNS; run++) {
      tell(`start ${run + 1} of ${RUNS}`);
      ours.push(await startOnce(serve, project.environment, urlInLog, "/readyz"));
      theirs.push(await startOnce(rival, {}, urlOfPort, "/"));
    }
    const bytes = sizes(program);
    const milliseconds = (runs: readonly Started[]) => median(runs.map((one) => one.milliseconds));
    const resident = (runs: readonly Started[]) => median(runs.map((one) => one.residentBytes)) / 2 ** 20;
    return [
      less("start to ready", "ms", milliseconds(ours), milliseconds(theirs), FLOOR),
      less("resident when ready", "MiB", resident(ours), resident(theirs), FLOOR),
      less("executable", "MiB", bytes.ours, bytes.rival, FLOOR),
      ...(await packed(program, bytes.rivalFiles, tell)),
      ...(await indexFigures(
        (config, folder) =>
          startOnce([program, "run", "--config", config, "--data", folder, "--port", "0"], {}, urlInLog, "/readyz"),
        tell,
      )),
    ];
  } finally {
    rmSync(project.directory, { recursive: true, force: true });
  }
};

interface Started {
  /** From the start of the process to the first answer with status 200. */
  readonly milliseconds: number;
  readonly residentBytes: number;
}

type FindUrl = (output: string) => string | undefined;

const urlInLog: FindUrl = (output) => /"url":"([^"]+)"/.exec(output)?.[1];
const urlOfPort: FindUrl = (output) => {
  const port = /^(\d+)\n/.exec(output)?.[1];
  return port === undefined ? undefined : `http://127.0.0.1:${port}`;
};

async function startOnce(
  command: string[],
  environment: Readonly<Record<string, string>>,
  findUrl: FindUrl,
  path: string,
): Promise<Started> {
  const from = performance.now();
  const child = Bun.spawn(command, { env: { ...process.env, ...environment }, stdout: "pipe", stderr: "pipe" });
  const output = { text: "" };
  const reading = [collect(child.stdout, output), collect(child.stderr, output)];
  try {
    while (!(await answers(findUrl(output.text), path))) {
      if (child.exitCode !== null || performance.now() - from > GIVE_UP_MS) {
        throw new Error(`${command.join(" ")} is not ready: ${output.text.slice(-2_000)}`);
      }
      await Bun.sleep(0.5);
    }
    return { milliseconds: performance.now() - from, residentBytes: residentBytes(child.pid) };
  } finally {
    child.kill("SIGTERM");
    await child.exited;
    await Promise.all(reading);
  }
}

async function answers(url: string | undefined, path: string): Promise<boolean> {
  if (url === undefined) return false;
  return fetch(`${url}${path}`).then(
    async (response) => {
      await response.arrayBuffer();
      return response.status === 200;
    },
    () => false,
  );
}

async function collect(stream: ReadableStream<Uint8Array>, into: { text: string }): Promise<void> {
  const decoder = new TextDecoder();
  for await (const chunk of stream) into.text += decoder.decode(chunk, { stream: true });
}

function residentBytes(pid: number): number {
  if (existsSync(`/proc/${pid}/status`)) {
    return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))![1]) * 1024;
  }
  return Number(Bun.spawnSync(["ps", "-o", "rss=", "-p", String(pid)]).stdout.toString()) * 1024;
}

async function done(command: string[], environment: Readonly<Record<string, string>>): Promise<void> {
  const child = Bun.spawn(command, { env: { ...process.env, ...environment }, stdout: "ignore", stderr: "pipe" });
  const errors = await child.stderr.text();
  if ((await child.exited) !== 0) throw new Error(`${command.join(" ")}: ${errors}`);
}

/** MiB of our one file, and of the files that the rival can't do without: Bun, the addon and its library. */
function sizes(program: string): { ours: number; rival: number; rivalFiles: string[] } {
  const folder = join(ROOT, "node_modules/onnxruntime-node/bin/napi-v6", process.platform, process.arch);
  const parts = ["onnxruntime_binding.node", "libonnxruntime.so.1", "libonnxruntime.1.dylib"];
  const rivalFiles = [process.execPath, ...parts.map((name) => join(folder, name)).filter((path) => existsSync(path))];
  const bytes = (files: readonly string[]) => files.reduce((sum, path) => sum + statSync(path).size, 0) / 2 ** 20;
  return { ours: bytes([program]), rival: bytes(rivalFiles), rivalFiles };
}

/** The same as `xz` packs them; nothing where there is no xz. */
async function packed(program: string, rivalFiles: readonly string[], tell: (line: string) => void) {
  if (Bun.which("xz") === null) return [];
  tell("xz");
  const size = async (files: readonly string[]) => {
    let sum = 0;
    for (const file of files) {
      const child = Bun.spawn(["xz", "-1", "-T0", "-c", file], { stdout: "pipe", stderr: "ignore" });
      for await (const chunk of child.stdout) sum += chunk.length;
    }
    return sum / 2 ** 20;
  };
  return [less("executable, xz -1", "MiB", await size([program]), await size(rivalFiles), FLOOR)];
}
