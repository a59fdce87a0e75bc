/** The built executable as a stranger has it: alone in an empty directory, with an empty environment. */
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";

export const ROOT = resolve(import.meta.dir, "../../..");
const BUILT = join(ROOT, "dist/mlpe");
const COMMAND_TIMEOUT_MS = 180_000;
const READY_TIMEOUT_MS = 120_000;
/** A server that takes longer is killed, and its exit code says so (137). */
const STOP_TIMEOUT_MS = 30_000;

export interface Ran {
  readonly code: number;
  readonly output: string;
  readonly errors: string;
  /** The last line of the output. */
  json<Shape>(): Shape;
}

export interface RunOptions {
  /** The whole environment; default empty. */
  readonly environment?: Readonly<Record<string, string>>;
  /** Default the directory of the executable. */
  readonly from?: string;
  /** Words before the executable: a tracer. */
  readonly under?: readonly string[];
}

export interface Program {
  readonly path: string;
  /** Empty but for the executable. */
  readonly home: string;
  run(words: readonly string[], options?: RunOptions): Promise<Ran>;
  start(words: readonly string[], options?: RunOptions): ReturnType<typeof Bun.spawn<"ignore", "pipe", "pipe">>;
  serve(project: Placed): Promise<Server>;
  /** Kills what a failed test left running. */
  end(): void;
}

/** A config and a data directory. */
export interface Placed {
  readonly config: string;
  readonly data: string;
  readonly key: string;
}

/** A directory under the system's temporary one; all of them go when the tests are over. */
export interface Scratch {
  make(name: string): string;
  remove(): void;
}

export function scratch(): Scratch {
  const root = mkdtempSync(join(tmpdir(), "mlpe-e2e-"));
  let count = 0;
  return {
    make(name) {
      const path = join(root, `${++count}-${name}`);
      mkdirSync(path);
      return path;
    },
    remove: () => rmSync(root, { recursive: true, force: true }),
  };
}

export function install(home: string): Program {
  if (!existsSync(BUILT)) {
    const built = Bun.spawnSync([process.execPath, "scripts/build.ts"], { cwd: ROOT, stderr: "inherit" });
    if (!built.success) throw new Error("dist/mlpe is not there and can't be built");
  }
  if (readdirSync(home).length > 0) throw new Error(`${home} is not empty`);
  const path = join(home, "mlpe");
  copyFileSync(BUILT, path);
  return programAt(path, home);
}

/** An executable that is there already. */
export function programAt(path: string, home: string): Program {
  const running = new Set<{ kill(signal: "SIGKILL"): void }>();
  const start: Program["start"] = (words, { environment = {}, from = home, under = [] } = {}) => {
    const child = Bun.spawn([...under, path, ...words], {
      cwd: from,
      env: { ...environment },
      stdin: "ignore",
      stdout: "pipe",
      stderr: "pipe",
    });
    running.add(child);
    void child.exited.then(() => running.delete(child));
    return child;
  };
  const run: Program["run"] = async (words, options) => {
    const child = start(words, options);
    const timer = setTimeout(() => child.kill("SIGKILL"), COMMAND_TIMEOUT_MS);
    const [output, errors, code] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
    clearTimeout(timer);
    const json = <Shape>() => {
      const line = output.trim().split("\n").at(-1) ?? "";
      if (!line.startsWith("{") && !line.startsWith("[")) {
        throw new Error(`mlpe ${words.join(" ")} exited with ${code} and no JSON: ${line}\n${errors.slice(-2_000)}`);
      }
      return JSON.parse(line) as Shape;
    };
    return { code, output, errors, json };
  };
  const end = () => {
    for (const child of running) child.kill("SIGKILL");
  };
  return { path, home, run, start, end, serve: (project) => serve(start, project) };
}

/** Flags and environment of a command on a project. */
export const on = ({ config, data }: Placed): string[] => ["--config", config, "--data", data, "--json"];
export const keyed = ({ key }: Placed): RunOptions => ({ environment: { MLPE_KEY_FILE: key } });

export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
  // Answers are looked into field by field by the assertions.
  readonly body: ReturnType<typeof JSON.parse>;
}

export interface Server {
  readonly url: string;
  readonly pid: number;
  /** Lines of its log so far. */
  readonly log: readonly string[];
  /** Seconds from its start to ready. */
  readonly seconds: number;
  get(path: string): Promise<Answer>;
  post(path: string, body: unknown, headers?: Readonly<Record<string, string>>): Promise<Answer>;
  /** SIGTERM; the exit code. */
  stop(): Promise<number>;
  /** SIGKILL, at once. */
  kill(): Promise<void>;
}

const REQUEST_TIMEOUT_MS = 30_000;

async function request(url: string, init: RequestInit): Promise<Answer> {
  const response = await fetch(url, { ...init, signal: AbortSignal.timeout(REQUEST_TIMEOUT_MS) });
  const text = await response.text();
  const isJson = response.headers.get("content-type")?.includes("json") ?? false;
  return { status: response.status, headers: response.headers, text, body: isJson ? JSON.parse(text) : undefined };
}

async function serve(start: Program["start"], project: Placed): Promise<Server> {
  const began = performance.now();
  const child = start(["run", "--config", project.config, "--data", project.data, "--port", "0"], keyed(project));
  const log: string[] = [];
  let exited = false;
  const ended = child.exited.then((code) => {
    exited = true;
    return code;
  });
  const reading = readLines(child.stderr, log);
  void reading;
  const url = await until(`the server says where it listens`, READY_TIMEOUT_MS, () => {
    if (exited) throw new Error(`mlpe run ended at once: ${log.join("\n")}`);
    const line = log.find((text) => text.includes('"listening"'));
    return line === undefined ? undefined : (JSON.parse(line) as { url: string }).url;
  });
  const get: Server["get"] = (path) => request(`${url}${path}`, {});
  await until("the server is ready", READY_TIMEOUT_MS, async () => {
    if (exited) throw new Error(`mlpe run ended before it was ready: ${log.join("\n")}`);
    return (await get("/readyz")).status === 200 ? true : undefined;
  });
  return {
    url,
    pid: child.pid,
    log,
    seconds: (performance.now() - began) / 1000,
    get,
    post: (path, body, headers = {}) =>
      request(`${url}${path}`, {
        method: "POST",
        headers: { "content-type": "application/json", ...headers },
        body: typeof body === "string" ? body : JSON.stringify(body),
      }),
    async stop() {
      child.kill("SIGTERM");
      const timer = setTimeout(() => child.kill("SIGKILL"), STOP_TIMEOUT_MS);
      const code = await ended;
      clearTimeout(timer);
      return code;
    },
    async kill() {
      child.kill("SIGKILL");
      await ended;
    },
  };
}

/** Adds the whole lines of a stream to `into` as they come. */
export async function readLines(stream: ReadableStream<Uint8Array>, into: string[]): Promise<void> {
  const decoder = new TextDecoder();
  let rest = "";
  for await (const chunk of stream) {
    const lines = (rest + decoder.decode(chunk, { stream: true })).split("\n");
    rest = lines.pop()!;
    into.push(...lines);
  }
}

const POLL_MS = 20;

/** What `look` finds, asked again and again; throws with the name of what did not come. */
export async function until<Found>(
  what: string,
  timeoutMs: number,
  look: () => Found | undefined | Promise<Found | undefined>,
): Promise<Found> {
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    const found = await look();
    if (found !== undefined) return found;
    if (performance.now() > deadline) throw new Error(`waited ${timeoutMs} ms in vain until ${what}`);
    await Bun.sleep(POLL_MS);
  }
}
