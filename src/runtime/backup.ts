import { verifyAudit } from "../audit/verify.ts";
import type { World } from "../base/world.ts";
import { verifyLedger } from "../ingestion/ledger.ts";
import {
  type BackupManifest,
  type BackupSource,
  claimForRestore,
  placeRestored,
  requireEmpty,
  unpackBackup,
} from "../store/backup.ts";
import { storeErrors } from "../store/errors.ts";
import { openLog } from "./engine.ts";
import type { Project } from "./project.ts";

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
 * Throws `store.not_empty`, `store.bad_backup`, `keys.missing_key` or `keys.wrong_key`; then nothing was made. Ended by a signal
 * it leaves `<directory>.restoring`, which the next one of the same directory takes over.
 */
export async function restoreBackup(world: World, project: Project, from: BackupSource): Promise<Restored> {
  const directory = project.dataDirectory.replace(/\/+$/, "");
  requireEmpty(directory);
  const { unpacked, release } = claimForRestore(`${directory}.restoring`);
  try {
    const manifest = unpackBackup(from, unpacked);
    const { rows, root } = await prove(world, project, unpacked, manifest);
    placeRestored(unpacked, directory);
    return { manifest, rows, root };
  } finally {
    release();
  }
}

async function prove(world: World, project: Project, directory: string, manifest: BackupManifest) {
  const { clock, random } = world;
  const store = await openLog({ directory, keys: project.config.keys, clock, random, mode: "read" });
  try {
    const bad = (what: string) => storeErrors.error("bad_backup", `the backup does not prove itself: ${what}`);
    const { commitNo, knownTime } = await store.head();
    if (commitNo !== manifest.commit_no || knownTime !== manifest.known_time) {
      throw bad(`it says commit ${manifest.commit_no}, and holds ${commitNo}`);
    }
    const audit = verifyAudit(store);
    const [problem] = audit.problems;
    if (problem) throw bad(`${problem.place}: ${problem.message}`);
    const ledger = await verifyLedger(store, [...project.sources.values()]);
    if (!ledger.ok) throw bad(ledger.problems[0] ?? "the ledger does not balance");
    return audit;
  } finally {
    await store.close();
  }
}
