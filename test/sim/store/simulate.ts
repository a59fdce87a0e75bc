import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join, relative } from "node:path";
import { verifyAudit } from "../../../src/audit/verify.ts";
import { type BackupManifest, writeBackup } from "../../../src/store/backup.ts";
import { rewrapStore } from "../../../src/store/rewrap.ts";
import { rotateKeys } from "../../../src/store/rotate_keys.ts";
import { openStore } from "../../../src/store/store.ts";
import { readUpkeep } from "../../../src/store/upkeep.ts";
import { backupPath, beside, checkBackup, commitSome, LONG_ACTS, someLongActs, takeUp } from "./beside.ts";
import { differences, folded } from "./history.ts";
import { kill } from "./kill.ts";
import * as disk from "./life.ts";
import { commitAll, count, type Life, optionsOf, reopen, ticks } from "./life.ts";
import { questionsFrom, unlike, wrongWith } from "./reads.ts";
import { loadSaved, saveSome, wrongFolds } from "./saved.ts";
import { inSeededTime } from "./time.ts";

export interface StoreReport {
  readonly seed: number;
  readonly findings: readonly string[];
  readonly seen: Readonly<Record<string, number>>;
  /** Two runs of one seed agree in it. */
  readonly digest: string;
}

export interface StoreOptions {
  /** Where to work; on a disk of its own it may be filled to the last byte. Default one where nothing waits for a disk. */
  readonly place?: string;
  readonly smallDisk?: boolean;
  readonly sabotage?: Life["sabotage"];
  /** How long the life is. Default ACTS. */
  readonly acts?: number;
}

export const storeCommand = (seed: number) => `bun scripts/sim.ts --kind store --seed ${seed}`;

const ACTS = 70;
const FINDINGS_MAX = 5;
/** As many segments of one size as a merge waits for, and one more. */
const MERGED = 17;

/** What goes by after an act: timers ring that tidy up after an erasure, sync or try again. */
const PAUSES_MS = [0, 0, 10, 1_500, 30_000] as const;

/** Act, and how often compared with the others. */
const WEIGHTS: readonly (readonly [name: string, weight: number, act: (life: Life) => Promise<void> | void])[] = [
  ["commit", 34, commitSome],
  ["compact", 9, (life) => beside(life, ["compact"])],
  ["read", 12, read],
  ["kill", 12, kill],
  ["reopen", 5, reopen],
  ["checkpoint", 5, disk.checkpoint],
  ["stale writer", 3, staleWriter],
  ["clock jumps", 4, jump],
  ["backup", 4, backup],
  ["rotate", 3, (life) => beside(life, ["rotate"])],
  ["rotate closed", 2, rotateClosed],
  ["rewrap", 2, rewrap],
  ["flip", 4, flip],
  ["erase", 4, (life) => beside(life, ["erase"])],
  ["retain", 3, (life) => beside(life, ["retain"])],
  ["several at once", 6, (life) => beside(life, someLongActs(life))],
  ["fold", 5, saveFold],
  ["merge", 1, merge],
];

const OFTEN = WEIGHTS.flatMap(([name, weight, run]) => Array.from({ length: weight }, () => [name, run] as const));

/** What lives may meet, on any disk and on a small one: where one of these never came, that is worth saying. */
export const MET_ANYWHERE: readonly string[] = [
  ...WEIGHTS.map(([name]) => name),
  ...Object.keys(LONG_ACTS).map((name) => `killed in ${name}`),
  ...["killed in rotate closed", "reads meanwhile", "reads of another process meanwhile", "backups meanwhile"],
  ...["gone on from a backup", "rows erased", "segments dropped", "several streams merged", "folds kept"],
  ...["folds refused", "flips found", "slow disk"],
];
export const MET_ON_A_SMALL_DISK: readonly string[] = [
  ...["full disk", "commits refused by a full disk", "compactions refused by a full disk"],
  ...["backups refused by a full disk", "folds refused by a full disk", "erasures refused by a full disk"],
  ...["retentions refused by a full disk", "rotations refused by a full disk"],
  ...["erasures taken up again", "rotations taken up again"],
];

/** One random life of a store: after each act it must be what the model says. */
export async function simulateStore(seed: number, options: StoreOptions = {}): Promise<StoreReport> {
  const home = mkdtempSync(join(options.place ?? disk.quickPlace(), "mlpe-life-"));
  try {
    return await inSeededTime(seed, async (time) =>
      live(await disk.begin(seed, home, time, options.sabotage), options),
    );
  } finally {
    disk.remove(home);
  }
}

async function live(life: Life, options: StoreOptions): Promise<StoreReport> {
  try {
    for (let i = 0; i < (options.acts ?? ACTS) && life.findings.length < FINDINGS_MAX; i++) {
      const name = await act(life, options.smallDisk ?? false);
      const wrong = await wrongWith(life.store, life.history.at(-1)!);
      if (life.early.size > 0) wrong.push(`nobody was told of commit ${life.history.length}`);
      wrong.push(...(await wrongFolds(life.store, life.folds)));
      life.findings.push(...wrong.map((finding) => `act ${i}, ${name}: ${finding}`));
    }
  } catch (cause) {
    life.findings.push(`${(cause as { code?: string }).code ?? ""} ${(cause as Error).stack ?? cause}`);
  }
  await life.store.close().catch((cause) => life.findings.push(`closing: ${cause}`));
  const digest = Bun.hash(JSON.stringify([life.history.at(-1), life.seen, life.findings.length])).toString(36);
  return { seed: life.seed, findings: life.findings, seen: life.seen, digest };
}

async function roomAgain(life: Life): Promise<void> {
  disk.emptyDisk(life);
  await disk.expectNoLeftovers(life);
}

const NEED_ROOM: ReadonlySet<string> = new Set([
  ...["kill", "reopen", "stale writer", "rotate closed", "rewrap", "flip", "merge"],
]);

async function act(life: Life, smallDisk: boolean): Promise<string> {
  if (smallDisk && !life.full && life.draw.chance(0.1)) disk.fillDisk(life);
  else if (life.full && life.draw.chance(0.3)) await roomAgain(life);
  if (!life.full) await takeUp(life);
  disk.slowDown(life, life.draw.chance(life.time.slow ? 0.7 : 0.08));
  const [name, run] = life.draw.pick(OFTEN);
  // What makes a new directory or a new key needs room; the rest must do without.
  if (life.full && NEED_ROOM.has(name)) {
    await roomAgain(life);
    await takeUp(life);
  }
  count(life, name);
  await run(life);
  life.time.pass(life.draw.pick(PAUSES_MS));
  return name;
}

/** So many of them that the segments of several streams are merged. */
async function merge(life: Life): Promise<void> {
  for (let i = 0; i < MERGED; i++) {
    await commitAll(life, [life.request(), life.request()]);
    await life.store.compact();
  }
  const upkeep = readUpkeep(life.store.reader.database, life.store.sealer);
  const merged = new Set(upkeep.flatMap(({ what, streams }) => (what === "merge" ? streams : [])));
  if (merged.size > 1) count(life, "several streams merged");
}

/** Saves a fold; now and then rows are taken out of the log before it is there, which is then refused. */
async function saveFold(life: Life): Promise<void> {
  const { draw } = life;
  const erases = !life.full && draw.chance(0.2);
  try {
    const { kept, name, saved } = await saveSome(life.store, draw, () =>
      erases ? LONG_ACTS.erase(life) : commitSome(life),
    );
    if (kept === erases)
      life.findings.push(`a fold was ${kept ? "kept" : "refused"} though rows were ${erases ? "" : "not "}erased`);
    if (kept) life.folds = { ...life.folds, [name]: saved };
    count(life, kept ? "folds kept" : "folds refused");
  } catch (cause) {
    if (!life.full || !disk.refused(cause)) throw cause;
    count(life, "folds refused by a full disk");
  }
}

async function read(life: Life): Promise<void> {
  const questions = questionsFrom(life.draw, life.made.length);
  life.findings.push(...(await unlike(life.store, life.model, questions)));
  const { knownTime } = await life.model.head();
  for (const time of [0, knownTime, knownTime - life.draw.integer(0, 100_000)]) {
    const [found, wanted] = [await life.store.commitAt(time), await life.model.commitAt(time)];
    if (found !== wanted) life.findings.push(`at ${time} commit ${found} was known, not ${wanted}`);
  }
}

/** Of two writers that go on from one position, one is refused, and nothing of it is there. */
async function staleWriter(life: Life): Promise<void> {
  const position = await life.model.position("r");
  const expect = { readers: { r: position } };
  const moved = { ...life.request(), readers: { r: position + 1 }, expect };
  await commitAll(life, [moved]);
  const outcome = await life.store.commit({ ...life.request(), expect }).then(
    () => "taken",
    (cause: { code?: string }) => cause.code,
  );
  if (outcome !== "store.stale_writer") life.findings.push(`a stale writer was answered: ${outcome}`);
}

async function jump(life: Life): Promise<void> {
  life.clock.jump(life.draw.integer(-3_600, 7_200) * 1_000_000);
  await commitSome(life);
}

/** A backup made while commits go on. */
async function backup(life: Life): Promise<void> {
  const running = life.draw.chance(0.5) ? commitSome(life) : undefined;
  await ticks(life, life.draw.integer(0, 3));
  let made: BackupManifest;
  try {
    made = await writeBackup(life.store, backupPath(life));
  } catch (cause) {
    if (!life.full || !disk.refused(cause)) throw cause;
    return count(life, "backups refused by a full disk");
  } finally {
    await running;
    if (life.full) disk.emptyDisk(life);
  }
  await checkBackup(life, made);
}

/** New data keys for a store that nobody has open; now and then the process is gone in the middle, and another finishes it. */
async function rotateClosed(life: Life): Promise<void> {
  await life.store.close();
  const dies = life.draw.chance(0.5) ? life.draw.integer(0, 6) : Number.POSITIVE_INFINITY;
  let steps = 0;
  const progress = () => {
    if (steps++ >= dies) throw new Error("killed in a rotation");
  };
  await rotateKeys({ ...optionsOf(life), progress }).catch((cause: Error) => {
    if (cause.message !== "killed in a rotation") throw cause;
    count(life, "killed in rotate closed");
  });
  if (life.draw.chance(0.5)) await rotateKeys(optionsOf(life));
  life.store = await openStore(optionsOf(life));
  if (dies > 0) life.folds = {};
  for (const [name, { tag }] of Object.entries(life.folds)) {
    if (!(await loadSaved(life.store, name, tag))) life.folds = {}; // a rotation that was killed had forgotten them
  }
}

/** Another key file wraps the store's keys; the old one opens it no more. */
async function rewrap(life: Life): Promise<void> {
  await life.store.close();
  const old = optionsOf(life);
  life.key = join(life.home, `key-${life.seen.rewrap}`);
  await rewrapStore(life.directory, old.keys, optionsOf(life).keys, life.random);
  const answer = await openStore(old).then(
    (store) => store.close(),
    (cause: { code?: string }) => cause.code,
  );
  if (answer !== "keys.wrong_key") life.findings.push(`after a rewrap the old key was answered: ${answer}`);
  rmSync(old.keys.path);
  life.store = await openStore(optionsOf(life));
}

/** One bit of a copy is flipped: it is found, or does no harm; no read answers wrongly. */
async function flip(life: Life): Promise<void> {
  const copy = disk.nextDirectory(life);
  disk.copyFiles(life.directory, copy);
  const path = life.draw.pick(disk.filesOf(copy).filter((file) => readFileSync(file).length > 0));
  const bytes = readFileSync(path);
  const place = life.draw.integer(0, bytes.length * 8 - 1);
  bytes[place >> 3]! ^= 1 << (place & 7);
  writeFileSync(path, bytes);
  const what = `bit ${place} of ${relative(copy, path)}`;
  try {
    const { outcome, unchecked } = await damageOutcome(life, copy);
    const known = /^log\.(?:db|sums)$/.test(relative(copy, path)); // what the write-ahead log has left over is not
    if (known && outcome === "harmless" && unchecked === 0) life.findings.push(`${what} flipped, and it is not found`);
    if (outcome.startsWith("wrong")) life.findings.push(`${what} flipped: ${outcome}`);
    else count(life, `flips ${outcome}`);
  } finally {
    rmSync(copy, { recursive: true });
  }
}

async function damageOutcome(life: Life, directory: string): Promise<{ outcome: string; unchecked: number }> {
  let unchecked = 0;
  const outcome = await outcomeOf(life, directory, (count) => {
    unchecked = count;
  });
  return { outcome, unchecked };
}

async function outcomeOf(life: Life, directory: string, told: (unchecked: number) => void): Promise<string> {
  const wanted = life.history.at(-1)!;
  const opened = await openStore({ ...optionsOf(life), directory, mode: "read" }).catch(() => undefined);
  if (!opened) return "refused";
  try {
    const { verified, size, unchecked } = verifyAudit(opened);
    told(unchecked.length);
    const found = await folded(opened).catch(() => undefined);
    const { commitNo } = found ?? wanted;
    // A bit of the write-ahead log may end it early: whole commits are gone, which a kept checkpoint shows.
    if (commitNo < wanted.commitNo || (verified && size < wanted.commitNo)) {
      const wrong = found && verified ? differences(found, life.history[commitNo]!) : [];
      return wrong.length === 0 ? "that cut the tail" : `wrong: ${wrong[0]}`;
    }
    const wrong = found ? differences(found, wanted) : [];
    wrong.push(
      ...(await wrongFolds(opened, life.folds, !verified).catch((cause) => {
        if (verified) throw cause;
        return []; // not even the head can be told, and the audit says so
      })),
    );
    if (wrong.length > 0) return `wrong: ${wrong[0]}`;
    for (const question of questionsFrom(life.draw, life.made.length)) {
      const answer = await question.ask(opened).catch(() => undefined);
      if (answer !== undefined && !Bun.deepEquals(answer, await question.ask(life.model)))
        return `wrong: ${question.what}`;
      if (answer === undefined && verified) return `wrong: the audit finds nothing, and ${question.what} fails`;
    }
    if (!found && verified) return "wrong: the audit finds nothing, and a scan fails";
    return verified ? "harmless" : "found";
  } finally {
    await opened.close().catch(() => undefined);
  }
}
