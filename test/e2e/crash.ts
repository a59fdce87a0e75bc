/**
 * Kills the program at random moments while it ingests and fuses real flights, starts it again each time, and compares
 * what the log holds at the end with what a run without any kill left behind.
 */
import { Database } from "bun:sqlite";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { seededRandom } from "../../src/base/random.ts";

export interface KillReport {
  /** No problem was found. */
  readonly ok: boolean;
  /** One sentence each. */
  readonly problems: readonly string[];
  /** How often a running program was killed. */
  readonly kills: number;
  /** Kills before the first commit of their run (at the start and in recovery), while sources were read, and after. */
  readonly moments: { readonly starting: number; readonly ingesting: number; readonly fusing: number };
  /** Streams whose content was compared, with the rows of each. */
  readonly compared: Readonly<Record<string, number>>;
  readonly audit: "verified" | "failed" | "skipped";
  readonly seconds: { readonly undisturbed: number; readonly killed: number };
}

/** Enough for several commits of every step, and quick. */
const FLIGHTS = 60_000;
const COMPARED = /^(?:curated|quarantine|features|labels)\//;
const ROOT = new URL("../../", import.meta.url).pathname;
/** How often the log is looked at while it grows towards the next kill. */
const POLL_MS = 2;

/**
 * Runs `<command> ingest` on the first 60,000 flights in `workDirectory`, once to its end, and once killed with SIGKILL
 * at `kills` moments drawn from the seed and spread over its commits; every third one falls into the start of a run,
 * when it folds what the one before left. `command` is the program; relative paths in it start at the working directory.
 */
export async function killTest(
  command: string[],
  workDirectory: string,
  kills: number,
  seed: number,
): Promise<KillReport> {
  const config = await writeProject(workDirectory);
  const plain = programOn(command, config, workDirectory, "plain");
  const killed = programOn(command, config, workDirectory, "killed");
  const problems: string[] = [];
  const seconds = { undisturbed: await plain.complete(problems), killed: 0 };
  const { commits, ingesting } = await plain.extent();
  const pace = (seconds.undisturbed * 1000) / Math.max(1, commits);
  const started = performance.now();
  const schedule = momentsOf(kills, commits, pace, seed);
  const moments = { starting: 0, ingesting: 0, fusing: 0 };
  for (const { commits: target, ...moment } of schedule) {
    const before = killed.commits();
    // Where the log is past the moment already, the run still gets as far as a commit of its own, if one can be left.
    const next = target === 0 ? 0 : Math.max(target, Math.min(before + 1, commits - 1));
    // A run that came to its end first is made again, and killed sooner.
    let met = await killed.killAt({ ...moment, commits: next }, problems);
    for (let delayMs = 200; !met && delayMs > 1; delayMs /= 2)
      met = await killed.killAt({ commits: 0, delayMs }, problems);
    if (!met) continue;
    const after = killed.commits();
    if (after === before) moments.starting++;
    else if (after <= ingesting) moments.ingesting++;
    else moments.fusing++;
  }
  await killed.complete(problems);
  seconds.killed = (performance.now() - started) / 1000;
  const compared = compare(await plain.contents(), await killed.contents(), problems);
  for (const one of [plain, killed]) await one.verifyLedger(problems);
  const audit = await killed.verifyAudit(problems);
  const done = moments.starting + moments.ingesting + moments.fusing;
  if (done < kills) problems.push(`only ${done} of ${kills} kills met a running program`);
  return { ok: problems.length === 0, problems, kills: done, moments, compared, audit, seconds };
}

/** The example's config with the flights cut short; keys beside the data, not in it. */
async function writeProject(directory: string): Promise<string> {
  const examples = `${ROOT}examples/nycflights`;
  mkdirSync(directory, { recursive: true });
  const packed = readFileSync(`${examples}/data/flights.csv.zst`);
  const text = new TextDecoder().decode(await Bun.zstdDecompress(packed));
  let end = 0;
  for (let line = 0; line <= FLIGHTS; line++) end = text.indexOf("\n", end) + 1;
  writeFileSync(join(directory, "flights.csv"), text.slice(0, end));
  const config = readFileSync(`${examples}/mlpe.yaml`, "utf8")
    .replace("data/flights.csv.zst", join(directory, "flights.csv"))
    .replaceAll(/(?<=path: )data\//g, `${examples}/data/`)
    .replaceAll("../../", ROOT);
  const path = join(directory, "mlpe.yaml");
  writeFileSync(path, config);
  return path;
}

interface Moment {
  /** The run goes on until the log has so many commits; 0 is the start of the run. */
  readonly commits: number;
  readonly delayMs: number;
}

/** A run that is killed early: while it starts, opens the log and folds it. */
const EARLY_MS = 1500;

function momentsOf(kills: number, commits: number, pace: number, seed: number): Moment[] {
  const random = seededRandom(seed);
  const targets = Array.from({ length: kills }, () => Math.floor(random.next() * commits)).sort((a, b) => a - b);
  return targets.map((target, i) => {
    const atStart = i % 3 === 2;
    return { commits: atStart ? 0 : target, delayMs: random.next() * (atStart ? EARLY_MS : pace * 0.6) };
  });
}

/** The program on a data directory of its own. */
function programOn(command: string[], config: string, directory: string, name: string) {
  const data = join(directory, `${name}.mlpe`);
  const environment = { MLPE_KEY_FILE: join(directory, `${name}.key`), PATH: process.env.PATH ?? "" };
  const program = command.map((word) => (word.includes("/") ? resolve(word) : word));
  const run = (...words: string[]) =>
    Bun.spawn([...program, ...words, "--config", config, "--data", data, "--json"], {
      cwd: directory,
      env: environment,
      stdout: "pipe",
      stderr: "pipe",
    });
  const answer = async (...words: string[]) => {
    const child = run(...words);
    const [output, errors, code] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
    const ended = `exit ${code}${child.signalCode === null ? "" : ` by ${child.signalCode}`}: ${errors.trim()}`;
    return { code, errors: ended, json: output.trim() === "" ? undefined : (JSON.parse(output) as unknown) };
  };
  let seen = 0; // a compaction may leave the table empty for a while
  const commits = () => {
    seen = Math.max(seen, lastCommit(data));
    return seen;
  };
  return {
    commits,
    /** How many commits there are, and how many of them come before the first feature row. */
    async extent(): Promise<{ commits: number; ingesting: number }> {
      const { json } = await answer("streams");
      const infos = json as { stream: string; firstCommit: number; lastCommit: number }[];
      const features = infos.filter(({ stream }) => stream.startsWith("features/"));
      return {
        commits: Math.max(...infos.map((info) => info.lastCommit)),
        ingesting: Math.min(...features.map((info) => info.firstCommit)) - 1,
      };
    },
    /** Runs `ingest` to its end; seconds. */
    async complete(problems: string[]): Promise<number> {
      const started = performance.now();
      const { code, errors } = await answer("ingest");
      if (code !== 0) problems.push(`${name}: ingest ended with ${code}: ${errors}`);
      return (performance.now() - started) / 1000;
    },
    /** Runs `ingest` until that moment; false where it had ended by then. That a run fails of itself is a problem. */
    async killAt(moment: Moment, problems: string[]): Promise<boolean> {
      const child = run("ingest");
      let ended = false;
      const exited = child.exited.then(() => {
        ended = true;
      });
      while (!ended && moment.commits > 0 && commits() < moment.commits) await Bun.sleep(POLL_MS);
      await Promise.race([Bun.sleep(moment.delayMs), exited]);
      const running = !ended;
      child.kill("SIGKILL");
      await exited;
      const failed = !running && child.exitCode !== 0;
      if (failed) problems.push(`${name}: a restart ended with ${child.exitCode}: ${await child.stderr.text()}`);
      return running;
    },
    async contents(): Promise<Map<string, { rows: number; digest: string }>> {
      const { json, errors } = await answer("streams", "--digest");
      if (!Array.isArray(json)) throw new Error(`${name}: streams --digest failed: ${errors}`);
      const infos = json as { stream: string; content: { rows: number; digest: string } }[];
      return new Map(infos.filter(({ stream }) => COMPARED.test(stream)).map((info) => [info.stream, info.content]));
    },
    async verifyLedger(problems: string[]): Promise<void> {
      const { json, errors } = await answer("ledger", "verify");
      if ((json as { ok?: boolean } | undefined)?.ok === true) return;
      problems.push(`${name}: the ledger does not verify: ${errors || JSON.stringify(json)}`);
    },
    async verifyAudit(problems: string[]): Promise<KillReport["audit"]> {
      const { json, errors } = await answer("audit", "verify");
      if (/cli\.unknown/.test(errors)) return "skipped"; // not every build has the command
      if ((json as { verified?: boolean } | undefined)?.verified === true) return "verified";
      problems.push(`${name}: the audit does not verify: ${errors || JSON.stringify(json)}`);
      return "failed";
    },
  };
}

/** Commits in a log, read beside whoever writes it: the numbers are not sealed. 0 where there is no log yet. */
function lastCommit(data: string): number {
  const path = join(data, "log.db");
  if (!existsSync(path)) return 0;
  let database: Database | undefined;
  try {
    database = new Database(path, { readonly: true }); // any other moves the write-ahead log when it closes
    return database.query<{ last: number | null }, []>("SELECT max(commit_no) AS last FROM commits").get()?.last ?? 0;
  } catch {
    return 0; // it is being made
  } finally {
    database?.close();
  }
}

type Contents = ReadonlyMap<string, { readonly rows: number; readonly digest: string }>;

function compare(plain: Contents, killed: Contents, problems: string[]): Record<string, number> {
  for (const stream of new Set([...plain.keys(), ...killed.keys()])) {
    const [one, other] = [plain.get(stream), killed.get(stream)];
    if (one?.digest === other?.digest) continue;
    problems.push(
      `${stream}: ${other?.rows ?? "no"} rows after the kills, ${one?.rows ?? "none"} without; they differ`,
    );
  }
  if (plain.size < 4) problems.push(`only ${plain.size} streams were there to compare`);
  return Object.fromEntries([...plain].map(([stream, { rows }]) => [stream, rows]));
}
