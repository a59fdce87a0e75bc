/**
 * Kills a serving program again and again while clients push rows and ask for scores, noting outside whatever it
 * acknowledged. Every acknowledged id must be there at the end, and none twice, a repeated request's either.
 */
import { Database } from "bun:sqlite";
import { existsSync, readdirSync, watch, writeFileSync } from "node:fs";
import { join } from "node:path";
import { seededRandom } from "../../src/base/random.ts";
import { EXAMPLE } from "./support/flights.ts";
import { keyed, on, type Placed, type Program, readLines } from "./support/program.ts";
import { type ConfigText, exampleConfig, place } from "./support/project.ts";

export interface ServingKills {
  /** One sentence each; none where everything held. Fewer runs than asked for where the time was up. */
  readonly problems: readonly string[];
  /** Kills of a program that was starting, serving or closing; and among all, those that left a compaction half done. */
  readonly kills: {
    readonly starting: number;
    readonly serving: number;
    readonly closing: number;
    readonly compacting: number;
  };
  /** Compactions and merges that were let end, all in the compaction thread. */
  readonly compactions: number;
  readonly acknowledged: { readonly rows: number; readonly scores: number };
  /** Requests that got no answer and were sent again with the same key, and those of them that had been committed. */
  readonly repeated: { readonly sent: number; readonly committed: number };
  readonly seconds: number;
}

const PUSHING = 6;
const SCORING = 2;
const ROWS_MAX = 12;
const SMALL_TABLE_ROWS = 60;
const READY_TIMEOUT_MS = 60_000;
const REQUEST_TIMEOUT_MS = 10_000;
const POLL_MS = 5;
/** The longest that a server is let work before its kill. */
const SERVING_MS_MAX = 700;
const CLOSING_MS_MAX = 120;
/** A run that is let compact. */
const CALM_MS_MAX = 15_000;
const RECORDED_POLL_MS = 100;
/** A kill that is meant for a compaction comes so long, at most, after its first file. */
const COMPACTING_MS_MAX = 30;
/** How often the program is stopped in between and asked for everything. */
const CHECK_EVERY = 100;
const START = Date.UTC(2013, 0, 1);
const CARRIERS = ["AA", "B6", "DL", "UA"];

/** What was acknowledged, and what is to be sent again: all that outlives a kill. */
export interface Ledger {
  readonly rows: Set<number>;
  /** Request id -> score id. */
  readonly scores: Map<string, string>;
  readonly again: { readonly key: string; readonly ids: readonly number[] }[];
  readonly repeated: { sent: number; committed: number };
  readonly problems: string[];
  next: number;
  /** A flight that can be scored. */
  last: number;
}

export const emptyLedger = (): Ledger => ({
  rows: new Set(),
  scores: new Map(),
  again: [],
  repeated: { sent: 0, committed: 0 },
  problems: [],
  next: 1,
  last: 0,
});

export async function killServing(
  program: Program,
  directory: string,
  runs: number,
  seed: number,
  until = Number.POSITIVE_INFINITY,
): Promise<ServingKills> {
  const began = performance.now();
  const { next } = seededRandom(seed);
  const project = await pushProject(directory);
  const ledger = emptyLedger();
  const kills = { starting: 0, serving: 0, closing: 0, compacting: 0 };
  let startMs = 1_000;
  const named = new Set<string>();
  for (let run = 0; run < runs && performance.now() < until; run++) {
    const draw = next();
    const kind = run > 0 && draw < 0.25 ? "starting" : draw < 0.4 ? "closing" : "serving";
    const child = program.start(["run", ...on(project).slice(0, 4), "--port", "0"], keyed(project));
    const log: string[] = [];
    void readLines(child.stderr, log);
    if (kind === "starting") await Promise.race([Bun.sleep(next() * startMs), child.exited]);
    else {
      const since = performance.now();
      const url = await listening(child, log);
      startMs = performance.now() - since;
      if (url === undefined) {
        ledger.problems.push(
          `run ${run}: the program ended by itself (${child.exitCode}): ${log.slice(-5).join(" / ")}`,
        );
        break;
      }
      const stop = clientsOf(url, ledger, next);
      // Now and then a compaction is let end, so that there are segments; else it is killed, or whatever goes on by then.
      const calm = next() < 0.15;
      const compacting =
        calm || next() < 0.4
          ? calm
            ? nextCompaction(project.data)
            : firstSegment(project.data, next() * COMPACTING_MS_MAX)
          : undefined;
      const serving = Bun.sleep(calm ? CALM_MS_MAX : next() * SERVING_MS_MAX);
      await Promise.race([serving, child.exited, ...(compacting ? [compacting.seen] : [])]);
      compacting?.end();
      if (kind === "closing") {
        child.kill("SIGTERM");
        await Promise.race([Bun.sleep(next() * CLOSING_MS_MAX), child.exited]);
      }
      child.kill("SIGKILL");
      await child.exited;
      await stop();
    }
    const byItself =
      child.exitCode !== null && child.exitCode !== 0 && child.signalCode === null && child.exitCode !== 137;
    if (byItself)
      ledger.problems.push(`run ${run}: the program ended with ${child.exitCode}: ${log.slice(-5).join(" / ")}`);
    child.kill("SIGKILL");
    await child.exited;
    kills[kind]++;
    if (leftHalfDone(project.data, named)) kills.compacting++;
    if ((run + 1) % CHECK_EVERY === 0) await check(program, project, ledger, `after ${run + 1} runs`);
    if (ledger.problems.length > 0) break;
  }
  await check(program, project, ledger, "at the end");
  const { rows, scores, repeated, problems } = ledger;
  const acknowledged = { rows: rows.size, scores: scores.size };
  return {
    problems,
    kills,
    compactions: compactionsOf(project.data),
    acknowledged,
    repeated,
    seconds: (performance.now() - began) / 1000,
  };
}

/** The example, with flights that are pushed and little of everything else, so that a start is quick. */
export async function pushProject(directory: string, changes: ConfigText = {}): Promise<Placed> {
  const config: ConfigText = { ...(await exampleConfig()), ...changes };
  config.sources.flights = { connector: "http_push", routes: config.sources.flights.routes };
  for (const name of ["weather", "planes", "airports"]) {
    const packed = await Bun.file(`${EXAMPLE}/data/${name}.csv.zst`).bytes();
    const lines = new TextDecoder().decode(Bun.zstdDecompressSync(packed)).split("\n", SMALL_TABLE_ROWS + 1);
    config.sources[name].path = join(directory, `${name}.csv`);
    writeFileSync(config.sources[name].path, `${lines.join("\n")}\n`);
  }
  return place(directory, config);
}

/** Ids are minutes and flight numbers: each makes a flight of its own. */
export function flightOf(id: number, template: Readonly<Record<string, string>>) {
  const time = START + Math.floor(id / 60) * 3_600_000;
  const { tailnum, origin, dest, distance } = template;
  return {
    carrier: CARRIERS[id % CARRIERS.length]!,
    flight: id,
    time_hour: new Date(time).toISOString(),
    minute: id % 60,
    tailnum: tailnum === "" ? null : tailnum,
    origin,
    dest,
    distance: Number(distance),
    dep_delay: (id % 90) - 10,
  };
}

export const scheduledOf = (id: number) => new Date(START + id * 60_000).toISOString();

/** Some clients that push, each with new ids or a request without an answer, and one that scores what is there. */
function clientsOf(url: string, ledger: Ledger, random: () => number): () => Promise<void> {
  let stopped = false;
  const template = { tailnum: "N14228", origin: "EWR", dest: "IAH", distance: "1400" };
  const post = (path: string, body: unknown, headers: Record<string, string> = {}) =>
    fetch(`${url}${path}`, {
      method: "POST",
      headers: { "content-type": "application/json", ...headers },
      body: JSON.stringify(body),
      signal: AbortSignal.timeout(REQUEST_TIMEOUT_MS),
    });
  const push = async () => {
    const old = ledger.again.shift();
    if (old) ledger.repeated.sent++;
    const ids = old?.ids ?? Array.from({ length: 1 + Math.floor(random() * ROWS_MAX) }, () => ledger.next++);
    const key = old?.key ?? `key-${ids[0]}`;
    try {
      const rows = ids.map((id) => flightOf(id, template));
      const answer = await post("/v1/sources/flights/rows", rows, { "idempotency-key": key });
      const text = await answer.text();
      if (answer.status === 200) {
        for (const id of ids) ledger.rows.add(id);
        ledger.last = ids[0]!;
        if (old && (JSON.parse(text) as { repeated?: boolean }).repeated) ledger.repeated.committed++;
      } else if (answer.status === 503 || answer.status === 429) ledger.again.push({ key, ids });
      else ledger.problems.push(`rows ${ids}: ${answer.status} ${text.slice(0, 200)}`);
    } catch {
      ledger.again.push({ key, ids }); // nobody knows what became of it
    }
  };
  const score = async () => {
    const id = ledger.last;
    if (id === 0) return;
    const request = `score-${ledger.next++}`;
    const entity = { carrier: CARRIERS[id % CARRIERS.length]!, flight: id, scheduled: scheduledOf(id) };
    const answer = await post("/v1/score/flight_delay", { id: request, entities: [entity] }).catch(() => undefined);
    const text = await answer?.text().catch(() => undefined);
    if (answer?.status === 200 && text !== undefined) {
      ledger.scores.set(request, (JSON.parse(text) as { results: { score_id: string }[] }).results[0]!.score_id);
    }
  };
  const client = async (act: () => Promise<void>) => {
    while (!stopped) {
      await act();
      await Bun.sleep(1); // a server that is gone refuses at once
    }
  };
  const clients = (count: number, act: () => Promise<void>) => Array.from({ length: count }, () => client(act));
  const running = Promise.all([...clients(PUSHING, push), ...clients(SCORING, score)]);
  return async () => {
    stopped = true;
    await running;
  };
}

async function listening(child: ReturnType<Program["start"]>, log: readonly string[]): Promise<string | undefined> {
  const deadline = performance.now() + READY_TIMEOUT_MS;
  let url: string | undefined;
  while (performance.now() < deadline && child.exitCode === null) {
    const line = log.find((text) => text.includes('"listening"'));
    if (line !== undefined) url ??= (JSON.parse(line) as { url: string }).url;
    if (url !== undefined && (await fetch(`${url}/readyz`).catch(() => undefined))?.status === 200) return url;
    await Bun.sleep(POLL_MS);
  }
  return undefined;
}

/** Resolves a moment after the first new file of a compaction. */
function firstSegment(data: string, delayMs: number) {
  const { promise, resolve } = Promise.withResolvers<void>();
  const watcher = watch(join(data, "segments"), () => setTimeout(resolve, delayMs));
  return { seen: promise, end: () => watcher.close() };
}

/** Resolves once a compaction more is recorded. */
function nextCompaction(data: string) {
  const { promise, resolve } = Promise.withResolvers<void>();
  const before = compactionsOf(data);
  const timer = setInterval(() => compactionsOf(data) > before && resolve(), RECORDED_POLL_MS);
  return { seen: promise, end: () => clearInterval(timer) };
}

/**
 * Whether there are files of segments that no row ever named: what a compaction leaves that was killed before it was
 * recorded. What a merge replaced was `named` once, which is noted after each kill.
 */
function leftHalfDone(data: string, named: Set<string>): boolean {
  for (const { file } of rowsOf<{ file: string }>(data, "SELECT file FROM segments")) named.add(file);
  const folder = join(data, "segments");
  return existsSync(folder) && readdirSync(folder).some((file) => !named.has(file));
}

/** They are numbered without gaps. */
const compactionsOf = (data: string): number =>
  rowsOf<{ last: number | null }>(data, "SELECT max(upkeep_id) AS last FROM upkeep")[0]?.last ?? 0;

function rowsOf<Row>(data: string, sql: string): Row[] {
  const path = join(data, "log.db");
  if (!existsSync(path)) return [];
  const database = new Database(path, { readonly: true }); // any other moves the write-ahead log when it closes
  try {
    return database.query<Row, []>(sql).all();
  } catch {
    return []; // it was killed before there was a table
  } finally {
    database.close();
  }
}

/** Every acknowledged row and score is stored, nothing twice, and ledger and audit verify. */
export async function check(program: Program, project: Placed, ledger: Ledger, when: string): Promise<void> {
  const ask = async <Shape>(...words: string[]): Promise<Shape> => {
    const ran = await program.run([...words, ...on(project)], keyed(project));
    if (ran.code !== 0) ledger.problems.push(`${when}: ${words[0]} ended with ${ran.code}: ${ran.errors.slice(-500)}`);
    return ran.json<Shape>();
  };
  const most = ["--rows", "10000000"];
  const flights = await ask<{ rows: [number, number][] }>(
    "query",
    "select flight, count(*) as n from schedule_versions group by flight",
    ...most,
  );
  const stored = new Map(flights.rows.map(([id, n]) => [Number(id), Number(n)]));
  const lost = [...ledger.rows].filter((id) => !stored.has(id));
  const twice = [...stored].filter(([, n]) => n !== 1);
  if (lost.length > 0) ledger.problems.push(`${when}: ${lost.length} acknowledged rows are lost: ${lost.slice(0, 10)}`);
  if (twice.length > 0) ledger.problems.push(`${when}: ${twice.length} rows are there twice: ${twice.slice(0, 10)}`);
  const scored = await ask<{ rows: [string, number, string][] }>(
    "query",
    `select request_id, count(*) as n, min(score_id) as id from "scores/flight_delay_versions" where request_id like 'score-%' group by request_id`,
    ...most,
  );
  const scores = new Map(scored.rows.map(([request, n, id]) => [request, { n: Number(n), id }]));
  for (const [request, id] of ledger.scores) {
    if (scores.get(request)?.id !== id) ledger.problems.push(`${when}: the score ${id} of ${request} is lost`);
  }
  for (const [request, { n }] of scores) if (n !== 1) ledger.problems.push(`${when}: ${request} has ${n} scores`);
  const balanced = await ask<{ ok: boolean }>("ledger", "verify");
  if (!balanced.ok)
    ledger.problems.push(`${when}: the ledger does not balance: ${JSON.stringify(balanced).slice(0, 500)}`);
  const audit = await ask<{ verified: boolean }>("audit", "verify");
  if (!audit.verified)
    ledger.problems.push(`${when}: the audit does not verify: ${JSON.stringify(audit).slice(0, 500)}`);
}
