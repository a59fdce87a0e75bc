import type { World } from "../base/world.ts";
import { verifyLedger } from "../ingestion/ledger.ts";
import type { BackupManifest, BackupSource } from "../store/backup.ts";
import { errorOf, type Failure } from "../store/channel.ts";
import { storeErrors } from "../store/errors.ts";
import { claimForRestore, placeRestored, restorePlace } from "../store/restore.ts";
import { openLog } from "./engine.ts";
import type { Project } from "./project.ts";
import type { RestoreMessage, Unpacked } from "./restore_worker.ts";

export interface Restored {
  readonly manifest: BackupManifest;
  /** Rows that were hashed again. */
  readonly rows: number;
  readonly root: string;
}

/**
 * Makes the project's data directory from a backup: a file, or standard input (0), which is checked as it comes. Before it gets
 * its name the copy must open with the key, stand at the manifest's commit, verify against its audit tree, and have a ledger
 * that balances.
 * Throws `store.not_empty`, `store.bad_backup`, `keys.missing_key` or `keys.wrong_key`; then nothing was made. A
 * signal removes what was made; what `kill -9` leaves of it the next one of the same directory takes over.
 */
export async function restoreBackup(world: World, project: Project, from: BackupSource): Promise<Restored> {
  const place = restorePlace(project.dataDirectory.replace(/(?<=.)\/+$/, ""));
  const { unpacked, release } = claimForRestore(place.working);
  const unwatch = world.files.removedWhenStopped(place.working);
  try {
    const { keys } = project.config;
    const { manifest, head, audit } = await unpackInThread({ from, directory: unpacked, keys }, world.workers.restore);
    const { commitNo, knownTime } = head;
    if (commitNo !== manifest.commit_no || knownTime !== manifest.known_time) {
      throw unproven(`it says commit ${manifest.commit_no}, and holds ${commitNo}`);
    }
    const [problem] = audit.problems;
    if (problem) throw unproven(`${problem.place}: ${problem.message}`);
    await proveLedger(world, project, unpacked);
    placeRestored(unpacked, place);
    return { manifest, rows: audit.rows, root: audit.root };
  } finally {
    release();
    unwatch();
  }
}

const unproven = (what: string) =>
  storeErrors.error("bad_backup", `the backup does not prove itself: ${what}`, {
    fix: "It is as it was written, so the data directory was damaged when it was made: restore an earlier backup.",
  });

async function unpackInThread(message: RestoreMessage, workerUrl: string): Promise<Unpacked> {
  const worker = new Worker(workerUrl);
  const { promise, resolve, reject } = Promise.withResolvers<Unpacked>();
  const ended = (why: string) => reject(storeErrors.error("backup_failed", `the thread that restores ended: ${why}`));
  worker.onerror = (event) => ended(event.message);
  worker.addEventListener("close", () => ended("it stopped by itself"));
  worker.onmessage = ({ data }: MessageEvent<{ unpacked: Unpacked } | { failure: Failure }>) => {
    if ("failure" in data) reject(errorOf(data.failure));
    else resolve(data.unpacked);
  };
  try {
    worker.postMessage(message);
    return await promise;
  } finally {
    worker.terminate();
  }
}

async function proveLedger({ clock, random }: World, project: Project, directory: string): Promise<void> {
  const store = await openLog({ directory, keys: project.config.keys, clock, random, mode: "read" });
  try {
    const ledger = await verifyLedger(store, [...project.sources.values()]);
    if (!ledger.ok) throw unproven(ledger.problems[0] ?? "the ledger does not balance");
  } finally {
    await store.close();
  }
}
