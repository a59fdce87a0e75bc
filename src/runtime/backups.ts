import { toHex } from "../base/bytes.ts";
import { MlpeError } from "../base/errors.ts";
import type { Row } from "../base/row.ts";
import type { Micros } from "../base/time.ts";
import type { World } from "../base/world.ts";
import { batchOf, rowAt } from "../contract/batch.ts";
import { BACKUPS, backupContract, ERASURES, RETENTION } from "../contract/streams.ts";
import { type BackupManifest, manifestDigest } from "../store/backup.ts";
import { commitOf } from "../store/commit_of.ts";
import type { ErasedRows } from "../store/erase.ts";
import type { RecordedErasure } from "../store/erase_again.ts";
import { joined } from "../store/erase_select.ts";
import { checkMigrations, migrations } from "../store/migrations.ts";
import type { Store } from "../store/port.ts";
import type { LogStore } from "../store/store.ts";
import { withWriter } from "./beside.ts";
import { withEngine } from "./engine.ts";
import { runtimeErrors } from "./errors.ts";
import { openProject, type ProjectLocation } from "./project.ts";
import { runningServer } from "./running.ts";

/** Where a backup goes; never which file. */
export type BackupDestination = "file" | "pipe";

/** A backup that the log knows of: it was begun, and may be there in part where what it made is not stated. */
export interface KnownBackup {
  /** The first is 1. */
  readonly number: number;
  readonly backup: string;
  readonly to: string;
  /** When the log committed that it began, and as which commit. */
  readonly begun: Micros;
  readonly begunCommit: number;
  /** The last commit in it; undefined where nothing says that it was finished. */
  readonly commitNo: number | undefined;
  readonly files: number | undefined;
  readonly bytes: number | undefined;
  /** SHA-256 of its `manifest.json`, in hex. */
  readonly manifest: string | undefined;
}

/** Every backup that the log knows of, oldest first. */
export async function knownBackups(store: Store): Promise<readonly KnownBackup[]> {
  const known = new Map<string, KnownBackup>();
  for await (const { batch, knownTimes, commitNos } of store.scan(BACKUPS)) {
    for (let i = 0; i < batch.length; i++) {
      const row = rowAt(batch, i);
      const backup = row.backup as string;
      const before = known.get(backup) ?? {
        number: known.size + 1,
        backup,
        to: row.destination as string,
        begun: knownTimes[i]!,
        begunCommit: commitNos[i]!,
      };
      known.set(backup, {
        ...before,
        commitNo: numberOf(row.commit_no),
        files: numberOf(row.files),
        bytes: numberOf(row.bytes),
        manifest: (row.manifest as string | null) ?? undefined,
      });
    }
  }
  return [...known.values()];
}

/**
 * The known backups that hold rows which an erasure at commit `erasedAt` took out, or may hold them: those that reach to the
 * first commit of such a row, and those of which only the begin is known. Where the entity was erased before, or retention
 * dropped rows that may have been of it, all that are older than the erasure. `done` is what erased it, one after another.
 */
export async function backupsHolding(
  store: LogStore,
  done: readonly RecordedErasure[],
): Promise<readonly KnownBackup[]> {
  const erasedAt = done.at(-1)!.outcome.commitNo;
  const older = (await knownBackups(store)).filter(
    ({ begunCommit, commitNo }) => begunCommit < erasedAt && (commitNo ?? 0) < erasedAt,
  );
  const dropped = (await store.streams()).some(({ stream }) => stream === RETENTION);
  if (older.length === 0 || dropped || (await wasErasedBefore(store, done))) return older;
  const rows = joined(done.map(({ erasure }) => erasure)).filter(
    ({ emptied, replaced }) => emptied.length + replaced.length > 0,
  );
  if (rows.length === 0) return [];
  const first = firstCommitOf(store, rows);
  return older.filter(({ commitNo = Number.POSITIVE_INFINITY }) => commitNo >= first);
}

async function wasErasedBefore(store: Store, done: readonly RecordedErasure[]): Promise<boolean> {
  const own = new Set(done.map(({ erasure }) => erasure.erasure));
  const digest = toHex(done[0]!.erasure.digest);
  for await (const { batch } of store.scan(ERASURES, { columns: ["erasure", "kind", "digest"] })) {
    for (let i = 0; i < batch.length; i++) {
      const row = rowAt(batch, i);
      if (row.kind !== "entity" || own.has(row.erasure as string)) continue;
      if (toHex(row.digest as Uint8Array) === digest) return true;
    }
  }
  return false;
}

/** The first commit with any of the rows: sequences go up with commits. */
function firstCommitOf({ reader }: Pick<LogStore, "reader">, erased: readonly ErasedRows[]): number {
  const commits = erased.map(({ stream, emptied, replaced }) => {
    const sequences = [...emptied, ...replaced.map(({ sequence }) => sequence)];
    const least = sequences.reduce((a, b) => Math.min(a, b));
    return commitOf(reader, stream, least) ?? 0;
  });
  return commits.reduce((a, b) => Math.min(a, b));
}

const numberOf = (value: unknown): number | undefined => (value === null ? undefined : Number(value));

export interface RecordedBackup<Made> {
  readonly made: Made;
  /** The backup's id in the log; undefined where the log does not know of it. */
  readonly backup: string | undefined;
  /** Why it could not be recorded, or not that it was finished. */
  readonly unrecorded: MlpeError | undefined;
}

/**
 * Makes a backup, and has the log say so: that it begins before anything is copied, so that the backup has that itself and
 * one that is broken off is known too, and what it holds once it is made. Whatever writes the log commits it: a running
 * server, else this process. Where that can't be, the backup is made all the same.
 */
export async function recordBackup<Made extends { readonly manifest: BackupManifest }>(
  world: World,
  location: ProjectLocation,
  to: BackupDestination,
  make: (store: LogStore) => Promise<Made>,
): Promise<RecordedBackup<Made>> {
  const backup = toHex(world.random.bytes(16));
  const begun = await unlessRefused(async () => {
    await requireCurrent(world, location);
    await commitRow(world, location, { backup, destination: to });
  });
  const made = await withEngine(world, location, "read", ({ store }) => make(store));
  if (begun) return { made, backup: undefined, unrecorded: begun };
  const { commit_no, files } = made.manifest;
  const bytes = files.reduce((sum, file) => sum + file.bytes, 0);
  const row = {
    backup,
    destination: to,
    commit_no,
    files: files.length,
    bytes,
    manifest: manifestDigest(made.manifest),
  };
  return { made, backup, unrecorded: await unlessRefused(() => commitRow(world, location, row)) };
}

/** Opening for writing would bring an older store up to date, and whoever backs up before an update wants it as it is. */
async function requireCurrent(world: World, location: ProjectLocation): Promise<void> {
  if ((await runningServer(world, await openProject(world, location))) !== undefined) return;
  const applied = await withEngine(world, location, "read", async ({ store }) =>
    checkMigrations(store.reader.database),
  );
  if (applied < migrations.length)
    throw runtimeErrors.error("older_store", "the data directory is of an earlier version");
}

const commitRow = (world: World, location: ProjectLocation, row: Row) =>
  withWriter(world, location, ({ store }) => {
    const batch = batchOf(backupContract, [{ ...row, at: world.clock.now() }]);
    return store.commit({ appends: [{ stream: BACKUPS, batch }] });
  });

async function unlessRefused(work: () => Promise<unknown>): Promise<MlpeError | undefined> {
  try {
    await work();
    return undefined;
  } catch (cause) {
    if (cause instanceof MlpeError) return cause;
    throw cause;
  }
}
