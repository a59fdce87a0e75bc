import type { Database } from "bun:sqlite";
import { existsSync, fstatSync, lstatSync, readdirSync } from "node:fs";
import { join } from "node:path";
import type { Clock } from "../base/clock.ts";
import { MlpeError } from "../base/errors.ts";
import type { Random } from "../base/random.ts";
import { showBytes } from "../base/size.ts";
import { MICROS_PER_SECOND } from "../base/time.ts";
import { learnNewKeys, namesOf, readIdentity, type Sealer } from "./catalogue.ts";
import { checkCatalogue } from "./check.ts";
import { damagedRows } from "./damage.ts";
import { databasePath, hasStore, REMAINS_FIX, RESTORING, remainsOf, segmentsPath } from "./database.ts";
import { openUnchanged, writerOf } from "./doctor_open.ts";
import { bytesOf } from "./file_size.ts";
import { damageOf } from "./look_through.ts";
import { checkMigrations, migrations } from "./migrations.ts";
import { type HeldSnapshot, holdSnapshot } from "./replaced.ts";
import { type Keys, openSealer } from "./sealer.ts";
import { amountsOf, freeSpace, type SpaceSettings } from "./space.ts";
import { checkSums } from "./sums_check.ts";
import { type Snapshot, tailIndex } from "./tail_index.ts";

/** Something of a data directory that needs a hand, and what to do next. */
export interface Complaint {
  readonly about: "directory" | "store" | "keys" | "space" | "log" | "segments" | "catalogue" | "files" | "clock";
  readonly message: string;
  readonly next: string;
}

/** What there is, by name: numbers, texts and lists, for people and programs. */
export type Facts = Record<string, string | number | boolean | readonly object[]>;

export interface Diagnosis {
  readonly facts: Facts;
  readonly complaints: readonly Complaint[];
}

export interface DoctorOptions {
  readonly directory: string;
  readonly keys: Keys;
  readonly space: SpaceSettings;
  readonly clock: Clock;
  readonly random: Random;
  /** Look at the ends of segments alone, not at every block. */
  readonly quick: boolean;
}

/** A tail of so many commits says that compaction falls behind. */
const TAIL_MAX = 4_096;
/** A write-ahead log of so many bytes says that something holds it open. */
const WAL_BYTES_MAX = 256 << 20;
/** The last known time may be so far ahead of the clock. */
const CLOCK_AHEAD_MAX = 60 * MICROS_PER_SECOND;

interface Exam extends DoctorOptions {
  readonly facts: Facts;
  readonly complaints: Complaint[];
}

/** Looks at a data directory from all sides and changes nothing in it. Nothing that is wrong there throws. */
export async function examine(options: DoctorOptions): Promise<Diagnosis> {
  const exam: Exam = { ...options, facts: {}, complaints: [] };
  const { directory, facts, complaints } = exam;
  try {
    if (!hasStore(directory)) {
      complainOfNone(exam, `${directory} holds no store`);
      return { facts, complaints };
    }
    lookAtFiles(exam);
  } catch (cause) {
    if (!["EACCES", "EPERM"].includes((cause as { code: string }).code)) throw cause;
    complain(exam, "directory", `this user may not read ${directory}`, "Run it as the user that runs MLPE there.");
    return { facts, complaints };
  }
  lookAtSpace(exam);
  let database: Database | undefined;
  try {
    const writer = writerOf(directory);
    facts.writer = writer ? `process ${writer.process}` : "none";
    database = openUnchanged(directory);
    if (lookAtStore(exam, database)) {
      const sealer = await keysOf(exam, database);
      if (sealer) await lookInsideBeside(exam, database, sealer);
    }
  } catch (cause) {
    const next = "Restore the data directory from a backup: `mlpe restore`.";
    complain(exam, "store", `log.db can't be read: ${cause instanceof Error ? cause.message : cause}`, next);
  } finally {
    database?.close();
  }
  return { facts, complaints };
}

/** There is no store, or one without its catalogue. */
function complainOfNone(exam: Exam, message: string): void {
  if (existsSync(join(exam.directory, RESTORING))) {
    complain(exam, "directory", `${exam.directory} holds an unfinished restore`, "Run `mlpe restore` again.");
    return;
  }
  const remains = remainsOf(exam.directory);
  if (remains === undefined) complain(exam, "directory", message, "Run `mlpe run` or `mlpe ingest` to make one.");
  else complain(exam, "store", `${message}, though there is ${remains}`, REMAINS_FIX);
}

function complain({ complaints }: Exam, about: Complaint["about"], message: string, next: string): void {
  complaints.push({ about, message, next });
}

/** The complaint that an error of ours is already. */
function told(exam: Exam, about: Complaint["about"], cause: unknown): void {
  if (!(cause instanceof MlpeError)) throw cause;
  complain(exam, about, `${cause.code}: ${cause.message}`, cause.fix);
}

/** Only the owner may read what is here: sealed bytes still tell sizes and times. */
function lookAtFiles(exam: Exam): void {
  const { directory } = exam;
  const open: string[] = [];
  const look = (path: string, name: string) => {
    const mode = lstatSync(path, { throwIfNoEntry: false })?.mode ?? 0; // a server beside removes files
    if ((mode & 0o077) !== 0) open.push(`${name} (${(mode & 0o777).toString(8)})`);
  };
  look(directory, ".");
  for (const name of readdirSync(directory)) if (name !== "runtime") look(join(directory, name), name);
  for (const folder of ["segments", "folds"]) {
    const path = join(directory, folder);
    if (existsSync(path)) for (const name of readdirSync(path)) look(join(path, name), `${folder}/${name}`);
  }
  if (open.length === 0) return;
  const more = open.length > 5 ? ` and ${open.length - 5} more` : "";
  const next = `chmod -R go-rwx ${directory}`;
  complain(exam, "files", `other users may use ${open.slice(0, 5).join(", ")}${more}`, next);
}

function lookAtSpace(exam: Exam): void {
  const { free, total } = freeSpace(exam.directory);
  const { soft, hard, ballast } = amountsOf(exam.space, total);
  const there = bytesOf(join(exam.directory, "ballast"));
  const left = Math.max(0, free - Math.max(0, ballast - there));
  Object.assign(exam.facts, { free_bytes: left, soft_bytes: soft, hard_bytes: hard, ballast_bytes: there });
  exam.facts.space = left < hard ? "hard" : left < soft ? "soft" : "ok";
  if (left >= soft) return;
  const message = `${showBytes(left)} are free, below the ${left < hard ? "hard" : "soft"} mark`;
  const waits = left < hard ? "nothing new is taken" : "files are not read on";
  complain(exam, "space", `${message}: ${waits}`, "Free space on that disk; MLPE goes on by itself.");
}

function lookAtStore(exam: Exam, database: Database): boolean {
  try {
    const made = database.query("SELECT 1 FROM sqlite_master WHERE name = 'store'").get();
    const identity = made ? readIdentity(database) : undefined;
    if (!identity) {
      complainOfNone(exam, "log.db names no store");
      return false;
    }
    const applied = checkMigrations(database);
    Object.assign(exam.facts, { format: identity.format, migrations: `${applied} of ${migrations.length}` });
    return true;
  } catch (cause) {
    told(exam, "store", cause);
    return false;
  }
}

async function keysOf(exam: Exam, database: Database): Promise<Sealer | undefined> {
  try {
    const sealer = await openSealer(database, exam.keys, exam.directory, exam.random);
    exam.facts.key = "opens";
    return sealer;
  } catch (cause) {
    exam.facts.key = "does not open";
    told(exam, "keys", cause);
    return undefined;
  }
}

/** Where a server beside rotates the keys, what is wrong without the new ones is looked at again with them. */
async function lookInsideBeside(exam: Exam, database: Database, sealer: Sealer): Promise<void> {
  const { complaints } = exam;
  const before = complaints.length;
  lookInside(exam, database, sealer);
  if (complaints.length === before || !(await learnNewKeys(database, sealer))) return;
  complaints.length = before;
  lookInside(exam, database, sealer);
}

function lookInside(exam: Exam, database: Database, sealer: Sealer): void {
  const sums = checkSums({ database, directory: exam.directory }, sealer);
  if (sums.unchecked.length > 0) exam.facts.not_compared = sums.unchecked.join("; ");
  for (const { place, message } of sums.problems) {
    const next = "If `mlpe audit verify` names nothing else, only unused bytes changed: look after the disk.";
    complain(exam, "files", `${place}: ${message}`, next);
  }
  for (const { place, message } of checkCatalogue({ database, directory: exam.directory }, sealer)) {
    const fold = place.startsWith("fold");
    const next = fold ? "Delete that file: the next start folds anew." : "Restore the data directory from a backup.";
    complain(exam, "catalogue", `${place}: ${message}`, next);
  }
  let held: HeldSnapshot;
  try {
    held = holdSnapshot(exam.directory, tailIndex(database, sealer).look);
  } catch (cause) {
    told(exam, "log", cause);
    return;
  }
  try {
    lookAtLog(exam, database, held.snapshot);
    lookAtSegments(exam, database, sealer, held);
    lookAtClock(exam, held.snapshot);
  } finally {
    held.close();
  }
}

function lookAtLog(exam: Exam, database: Database, { head, tail }: Snapshot): void {
  const count = (name: "freelist_count" | "page_size") =>
    database.query<Record<string, number>, []>(`PRAGMA ${name}`).get()![name]!;
  const wal = bytesOf(`${databasePath(exam.directory)}-wal`);
  Object.assign(exam.facts, {
    commits: head.commitNo,
    tail_records: tail.length,
    tail_bytes: tail.reduce((sum, { sealed }) => sum + sealed.length, 0),
    wal_bytes: wal,
    free_page_bytes: count("freelist_count") * count("page_size"),
  });
  if (tail.length > TAIL_MAX) {
    const message = `${tail.length} commits are not compacted`;
    complain(exam, "log", message, "Look for `compaction failed` in the log lines of the server.");
  }
  if (wal > WAL_BYTES_MAX) {
    const message = `the write-ahead log has ${showBytes(wal)}`;
    complain(exam, "log", message, "A reader holds it open, or a crash left it: start `mlpe run`, or stop what reads.");
  }
}

function lookAtSegments(exam: Exam, database: Database, sealer: Sealer, held: HeldSnapshot): void {
  const { segments } = held.snapshot;
  const named = new Set(segments.map(({ file }) => file));
  const folder = segmentsPath(exam.directory);
  const orphans = (existsSync(folder) ? readdirSync(folder) : []).filter((file) => !named.has(file));
  const names = namesOf(database, sealer);
  const damaged = segments.flatMap((info) => {
    const look = { handle: held.handles.get(info.file), quick: exam.quick };
    const damage = toEnd(damageOf(exam.directory, info, names, sealer, look));
    return damage ? [{ rows: damagedRows(damage) ?? { file: info.file }, message: damage.message }] : [];
  });
  Object.assign(exam.facts, {
    segments: segments.length,
    segment_bytes: segments.reduce((sum, { bytes }) => sum + bytes, 0),
    rows: segments.reduce((sum, { rows }) => sum + rows, 0),
    orphans: orphans.length, // being written, replaced a moment ago, or left by a crash: the next start removes those
    damaged: damaged.map(({ rows }) => rows),
  });
  for (const { message } of damaged) {
    const next =
      "Restore the data directory from a backup; until then everything that does not need these rows goes on.";
    complain(exam, "segments", message, next);
  }
  const hurt = new Set(damaged.map(({ rows }) => rows.file));
  for (const { file, bytes } of segments) {
    const handle = held.handles.get(file);
    const found = handle === undefined ? bytes : fstatSync(handle).size;
    if (found === bytes || hurt.has(file)) continue;
    const next = "Its rows are as they were, so this takes nothing away: look after the disk, and at who writes there.";
    complain(exam, "files", `segments/${file} has ${found} bytes, not ${bytes}`, next);
  }
}

function toEnd<Result>(steps: Generator<unknown, Result>): Result {
  for (;;) {
    const { value, done } = steps.next();
    if (done) return value;
  }
}

function lookAtClock(exam: Exam, { head }: Snapshot): void {
  const ahead = head.knownTime - exam.clock.now();
  exam.facts.known_time_ahead_seconds = Math.max(0, Math.round(ahead / MICROS_PER_SECOND));
  if (head.commitNo === 0 || ahead <= CLOCK_AHEAD_MAX) return;
  const message = `the last commit is ${Math.round(ahead / MICROS_PER_SECOND)} seconds ahead of the clock`;
  complain(exam, "clock", message, "Set the clock of this host: until then known times only count up.");
}
