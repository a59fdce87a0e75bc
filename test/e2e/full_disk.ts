/**
 * A serving program on a small disk that is filled from outside while clients push and score: it refuses rows, answers
 * scores that it says are not stored, goes on by itself once there is room, and has lost nothing that it acknowledged.
 * Runs in a namespace of its own, as `bun test/e2e/full_disk.ts <place of the small disk> <executable>`: `support/small_disk.ts`.
 */
import { existsSync, mkdirSync, statfsSync, statSync, truncateSync, unlinkSync } from "node:fs";
import { join } from "node:path";
import { fillDisk } from "../support/fill_disk.ts";
import { check, emptyLedger, flightOf, pushProject, scheduledOf } from "./kills.ts";
import { keyed, on, programAt } from "./support/program.ts";

/** Megabytes of the small disk: the runtime that the executable unpacks takes some of it. */
export const DISK_MIB = 256;

export interface FullDiskReport {
  readonly problems: readonly string[];
  readonly acknowledged: { readonly rows: number; readonly scores: number };
  readonly refused: number;
  readonly notStored: number;
  readonly alertFired: boolean;
}

const MIB = 1 << 20;
const DEADLINE_MS = 60_000;
const POLL_MS = 50;
const TEMPLATE = { tailnum: "N14228", origin: "EWR", dest: "IAH", distance: "1400" };

if (import.meta.main) {
  const [place, executable] = process.argv.slice(2) as [string, string];
  console.log(JSON.stringify(await fillWhileServing(place, executable)));
  process.exit(0);
}

async function fillWhileServing(place: string, executable: string): Promise<FullDiskReport> {
  const directory = join(place, "project");
  mkdirSync(directory);
  const project = await pushProject(directory, {
    space: { soft: "24MiB", hard: "16MiB", ballast: "8MiB" },
    alerts: {
      full: { when: "mlpe_space_state = 2", severity: "critical" },
      soon: { when: "mlpe_space_time_to_full_seconds < 60" },
    },
  });
  const program = programAt(executable, directory);
  const ledger = emptyLedger();
  const { problems } = ledger;
  const server = await program.serve(project);
  const ready = async () => (await server.get("/readyz")).body as { space?: { state: string } };
  const metric = async (name: string) => {
    const { text } = await server.get("/metrics");
    return Number(new RegExp(`^${name}(?:\\{[^}]*\\})? (\\S+)$`, "m").exec(text)?.[1] ?? Number.NaN);
  };
  const push = async (): Promise<number> => {
    const ids = Array.from({ length: 20 }, () => ledger.next++);
    const rows = ids.map((id) => flightOf(id, TEMPLATE));
    const { status, text, headers } = await server.post("/v1/sources/flights/rows", rows);
    if (status === 200) {
      for (const id of ids) ledger.rows.add(id);
      ledger.last = ids[0]!;
    } else if (status !== 503 || !text.includes('"store.full"') || headers.get("retry-after") === null) {
      problems.push(`a push got ${status} ${text.slice(0, 200)}`);
    }
    return status;
  };
  const unstored: string[] = [];
  const score = async (): Promise<boolean> => {
    const id = ledger.last;
    const request = `score-${ledger.next++}`;
    const entity = { carrier: ["AA", "B6", "DL", "UA"][id % 4]!, flight: id, scheduled: scheduledOf(id) };
    const ask = () => server.post("/v1/score/flight_delay", { id: request, entities: [entity] });
    let answer = await ask();
    for (const deadline = performance.now() + DEADLINE_MS; answer.status === 404 && performance.now() < deadline; ) {
      await Bun.sleep(POLL_MS); // the row is committed, and the index comes a moment later
      answer = await ask();
    }
    const body = answer.body as { durable?: boolean; results: { score_id: string; score: number }[] };
    if (answer.status !== 200) problems.push(`a score got ${answer.status} ${answer.text.slice(0, 200)}`);
    else if (body.durable === false) {
      unstored.push(body.results[0]!.score_id);
      if (answer.headers.get("mlpe-durable") !== "false") problems.push("an answer that is not durable has no header");
    } else ledger.scores.set(request, body.results[0]!.score_id);
    return body.durable !== false;
  };
  const until = async (what: string, holds: () => Promise<boolean>) => {
    const deadline = performance.now() + DEADLINE_MS;
    while (!(await holds())) {
      if (performance.now() > deadline) {
        problems.push(`${what} did not come`);
        return;
      }
      await Bun.sleep(POLL_MS);
    }
  };
  const ballast = () => existsSync(join(project.data, "ballast"));

  for (let i = 0; i < 30; i++) await push();
  for (let i = 0; i < 30; i++) await score();
  await until("the ballast", async () => (await metric("mlpe_space_ballast_bytes")) === 8 * MIB);
  if ((await ready()).space !== undefined) problems.push("readiness speaks of space while there is room");

  fillDisk(join(place, "filler"), 0);
  let refused = 0;
  await until("a refused push", async () => (await push()) === 503);
  await until("the hard state", async () => (await ready()).space?.state === "hard");
  for (let i = 0; i < 20; i++) {
    if ((await push()) === 503) refused++;
    await score();
  }
  await until("a score that is not stored", async () => !(await score()));
  await until("the ballast given up", async () => !ballast());
  leave(join(place, "filler"), 4 * MIB);
  if ((await metric("mlpe_space_state")) !== 2) problems.push("the metric does not say hard");
  if ((await metric("mlpe_scores_not_stored_total")) !== unstored.length) problems.push("not every score was counted");
  let alertFired = false;
  await until("the alert", async () => {
    const verdicts = (await server.get("/v1/verdicts")).body as { kind: string; name: string; outcome: string }[];
    alertFired = verdicts.some((one) => one.kind === "alert" && one.name === "full" && one.outcome === "firing");
    return alertFired;
  });

  unlinkSync(join(place, "filler"));
  await until("recovery", async () => (await ready()).space === undefined);
  await until("a push that is taken", async () => (await push()) === 200);
  await until("a score that is stored", score);
  await until("the ballast made again", async () => ballast());
  for (let i = 0; i < 30; i++) await push();
  for (let i = 0; i < 10; i++) await score();
  const code = await server.stop();
  if (code !== 0) problems.push(`the server ended with ${code}`);
  await check(program, project, ledger, "after recovery");
  for (const id of unstored.slice(0, 3)) {
    const asked = await program.run(
      ["query", `select count(*) as n from "scores/flight_delay_versions" where score_id = '${id}'`, ...on(project)],
      keyed(project),
    );
    if (Number(asked.json<{ rows: number[][] }>().rows[0]![0]) !== 0) problems.push(`${id} is stored after all`);
  }
  const acknowledged = { rows: ledger.rows.size, scores: ledger.scores.size };
  return { problems, acknowledged, refused, notStored: unstored.length, alertFired };
}

/** The ballast may be given up while the filler still fills, which then has its place too: gives so much of it back. */
function leave(filler: string, bytes: number): void {
  const { bavail, bsize } = statfsSync(filler);
  const missing = bytes - bavail * bsize;
  if (missing > 0) truncateSync(filler, statSync(filler).size - missing);
}
