import { cpSync, existsSync, readdirSync, rmSync, statfsSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { verifyAudit } from "../../../src/audit/verify.ts";
import { type Random, seededRandom } from "../../../src/base/random.ts";
import type { CommitRequest } from "../../../src/store/port.ts";
import { type LogStore, type OpenOptions, openStore } from "../../../src/store/store.ts";
import { MemoryStore } from "../../support/memory_store.ts";
import { type Draw, drawFrom } from "../draw.ts";
import { after, type Folded, isErased, type Made, NOTHING } from "./history.ts";
import { requestsFrom } from "./requests.ts";
import type { SavedFolds } from "./saved.ts";
import type { SeededTime } from "./time.ts";

/** A store, the directory it is in, and the plain model of what it must hold. */
export interface Life {
  readonly seed: number;
  readonly draw: Draw;
  readonly home: string;
  store: LogStore;
  directory: string;
  key: string;
  readonly request: () => CommitRequest;
  /** What the log must fold to after each commit. */
  readonly history: Folded[];
  /** What every kind of read must answer. */
  model: MemoryStore;
  /** The time at which the model commits: the receipt's. */
  readonly told: { at: number };
  /** The greatest commit number that was acknowledged. */
  acknowledged: number;
  readonly made: Made[];
  /** Commits that were told of before one that came first, by number. */
  readonly early: Map<number, Made>;
  /** The folds that are saved beside the log. */
  folds: SavedFolds;
  /** One for the whole life: names and nonces must never come again. */
  readonly random: Random;
  readonly clock: { now(): number; jump(by: number): void };
  readonly findings: string[];
  /** How often each thing happened. */
  readonly seen: Record<string, number>;
  /** Changes a request on its way, to show that a broken promise is noticed. */
  readonly sabotage: (request: CommitRequest) => CommitRequest;
  full: boolean;
  readonly time: SeededTime;
}

export async function begin(
  seed: number,
  home: string,
  time: SeededTime,
  sabotage: Life["sabotage"] = (request) => request,
): Promise<Life> {
  const draw = drawFrom(seed);
  let now = 1_700_000_000_000_000;
  const clock = {
    now: () => (now += time.slow ? SLOW_STEP : 1_000),
    jump: (by: number) => {
      now += by;
    },
  };
  const told = { at: 0 };
  const life: Omit<Life, "store"> = {
    ...{
      seed,
      draw,
      home,
      clock,
      random: seededRandom(seed),
      sabotage,
      told,
      full: false,
      time,
      acknowledged: 0,
    },
    directory: join(home, "data-0"),
    key: join(home, "key-0"),
    request: requestsFrom(seed, draw),
    history: [NOTHING],
    model: new MemoryStore({ now: () => told.at }),
    ...{ made: [], early: new Map(), folds: {}, findings: [], seen: {} },
  };
  return Object.assign(life, { store: await openStore(optionsOf(life)) });
}

export const optionsOf = ({ directory, key, clock, random }: Pick<Life, "directory" | "key" | "clock" | "random">) => ({
  directory,
  keys: { provider: "file", path: key } as const,
  clock,
  random,
});

export const count = (life: Life, what: string): void => {
  life.seen[what] = (life.seen[what] ?? 0) + 1;
};

export async function reopen(life: Life): Promise<void> {
  await life.store.close();
  life.store = await openStore(optionsOf(life));
}

/** Microseconds from one look at the clock to the next while the disk is slow. */
const SLOW_STEP = 700_000;

/** Milliseconds that a turn takes, on a slow disk and else. */
const TURN_MS = 2;
const SLOW_TURN_MS = 300;

/** Turns of the event loop: whatever else waits goes first. */
export async function ticks(life: Pick<Life, "time">, count: number): Promise<void> {
  for (let i = 0; i < count; i++) {
    await new Promise((resolve) => setImmediate(resolve));
    life.time.pass(life.time.slow ? SLOW_TURN_MS : TURN_MS);
  }
}

/** What a full disk makes the store say. */
const REFUSED: ReadonlySet<string> = new Set([
  ...["store.failed_write", "store.full", "store.backup_failed", "store.failed_fold"],
]);

export const refused = (cause: unknown): boolean => REFUSED.has((cause as { code?: string }).code ?? "");

/** What no caller is told of may say it in the words of SQLite. */
const refusedRaw = (cause: unknown): boolean =>
  refused(cause) || /^(?:ENOSPC$|SQLITE_FULL|SQLITE_IOERR)/.test((cause as { code?: string }).code ?? "");

/** An act was refused: the disk must be full, and the error must say so. */
export function expectRefusal(life: Life, what: string, cause: unknown): void {
  if (!life.full || !refused(cause)) throw cause;
  count(life, `${what} refused by a full disk`);
}

/** Longer than all that the clock was turned back in a life. */
const LONG_AFTER = 100_000 * 1_000_000;

/** What was begun and refused must leave no file, but for those that a reader may be about to open: these go in time. */
export async function expectNoLeftovers(life: Life): Promise<void> {
  await life.store.compact(); // what is worth merging
  life.clock.jump(LONG_AFTER);
  await life.store.compact();
  const rows = life.store.reader.database.query<{ file: string }, []>("SELECT file FROM segments").all();
  const named = new Set(rows.map(({ file }) => file));
  const left = readdirSync(join(life.directory, "segments")).filter((file) => !named.has(file));
  if (left.length > 0) life.findings.push(`a full disk left ${left.length} files that nothing names`);
}

/** Hands requests over at once, and tells the model of those that were acknowledged. */
export async function commitAll(life: Life, requests: readonly CommitRequest[]): Promise<void> {
  const told: Made[] = [];
  await Promise.all(
    requests.map(async (request) => {
      try {
        const receipt = await life.store.commit(life.sabotage(request));
        life.acknowledged = Math.max(life.acknowledged, receipt.commitNo);
        told.push({ request, receipt });
        count(life, "commits");
      } catch (cause) {
        if (!life.full || !refused(cause)) throw cause;
        count(life, "commits refused by a full disk");
      }
    }),
  );
  for (const one of told) await note(life, one);
}

/** Commits may be told of in another order than theirs: each waits for the one before it. */
export async function note(life: Life, one: Made): Promise<void> {
  life.early.set(one.receipt.commitNo, one);
  for (let next = life.early.get(life.history.length); next; next = life.early.get(life.history.length)) {
    life.early.delete(next.receipt.commitNo);
    life.history.push(after(life.history.at(-1)!, life.made, next));
    life.made.push(next);
    await tellModel(life, next);
  }
}

async function tellModel({ model, told }: Life, { request, receipt, erased, dropped }: Made): Promise<void> {
  told.at = receipt.knownTime;
  const committed = model.commit(request);
  // At once: a commit that comes next may bring such rows again.
  if (erased) model.forget((_, row) => isErased(row, erased));
  if (dropped) model.forget((stream, _, sequence) => sequence < (dropped[stream] ?? 0));
  await committed;
}

/** The model as it was after that commit: what a kill or an older backup leaves. */
export async function rewind(life: Life, commitNo: number): Promise<void> {
  life.history.length = commitNo + 1;
  life.made.length = commitNo;
  life.early.clear();
  life.acknowledged = commitNo;
  life.model = new MemoryStore({ now: () => life.told.at });
  for (const one of life.made) await tellModel(life, one);
}

/** Where a sync costs nothing: what it is good for, power cuts tell. */
export const quickPlace = (): string => (existsSync("/dev/shm") ? "/dev/shm" : tmpdir());

export const remove = (path: string): void => rmSync(path, { recursive: true, force: true });

/** All files as they are, but what the operating system drops with a process. */
export function copyFiles(from: string, to: string): void {
  cpSync(from, to, { recursive: true, filter: (path) => !/(?:-shm|writer\.lock|writer\.pid)$/.test(path) });
}

/** What the audit says of the bytes of log.db in a directory that a crash left, before anybody opens it for writing. */
export async function falseAlarms(options: OpenOptions): Promise<string[]> {
  const store = await openStore({ ...options, mode: "read" }).catch(() => undefined);
  if (!store) return []; // there is none yet
  try {
    const own = verifyAudit(store).problems.filter(({ place }) => /^log\.(?:db|sums)(?!-)/.test(place));
    return own.map(({ place, message }) => `after a crash the audit says of ${place}: ${message}`);
  } finally {
    await store.close();
  }
}

export function nextDirectory(life: Life): string {
  count(life, "directories");
  return join(life.home, `data-${life.seen.directories}`);
}

/** What the log thread does when idle, or when the log is long. */
export async function checkpoint(life: Life): Promise<void> {
  try {
    await life.store.checkpoint(life.draw.pick(["PASSIVE", "FULL", "RESTART", "TRUNCATE"]));
  } catch (cause) {
    if (!life.full || !refusedRaw(cause)) throw cause;
  }
}

const FILLER = "filler";

/** Leaves so few bytes free that a write fails soon, somewhere. Only on a disk of its own. */
export function fillDisk(life: Life): void {
  const { bavail, bsize } = statfsSync(life.home);
  const bytes = Math.max(0, bavail * bsize - life.draw.integer(0, 120_000));
  writeFileSync(join(life.home, FILLER), new Uint8Array(bytes));
  life.full = true;
  count(life, "full disk");
}

export function emptyDisk(life: Life): void {
  rmSync(join(life.home, FILLER), { force: true });
  life.full = false;
}

/** A disk that is slow: the clock is later each time it is looked at, and others have a turn wherever they may. */
export function slowDown(life: Life, slow: boolean): void {
  if (slow && !life.time.slow) count(life, "slow disk");
  life.time.slow = slow;
}

/** Every file of the directory whose bytes may be damaged. */
export function filesOf(directory: string): string[] {
  const files = readdirSync(directory, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  const paths = files.map((entry) => join(entry.parentPath, entry.name));
  return paths.filter((path) => !/(?:-shm|writer\.lock|writer\.pid)$/.test(path)).sort();
}
