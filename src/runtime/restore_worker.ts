import { type AuditReport, verifyAudit } from "../audit/verify.ts";
import { systemClock } from "../base/clock.ts";
import { systemRandom } from "../base/random.ts";
import type { KeySettings } from "../keys/registry.ts";
import { type BackupManifest, type BackupSource, unpackBackup } from "../store/backup.ts";
import { failureOf } from "../store/channel.ts";
import type { Head } from "../store/port.ts";
import { openLog } from "./engine.ts";

/**
 * The restoring thread: the entry file of a Worker that unpacks a backup and audits the copy, neither of which lets others have
 * a turn. Meanwhile the main thread hears signals.
 */
declare const self: Worker;

export interface RestoreMessage {
  readonly from: BackupSource;
  /** Is not there yet. */
  readonly directory: string;
  readonly keys: KeySettings;
}

/** What the copy is. */
export interface Unpacked {
  readonly manifest: BackupManifest;
  readonly head: Head;
  readonly audit: AuditReport;
}

self.onmessage = async ({ data }: MessageEvent<RestoreMessage>) => {
  try {
    self.postMessage({ unpacked: await unpack(data) });
  } catch (cause) {
    self.postMessage({ failure: failureOf(cause) });
  }
};

async function unpack({ from, directory, keys }: RestoreMessage): Promise<Unpacked> {
  const manifest = unpackBackup(from, directory);
  const store = await openLog({ directory, keys, clock: systemClock, random: systemRandom, mode: "read" });
  try {
    return { manifest, head: await store.head(), audit: verifyAudit(store) };
  } finally {
    await store.close();
  }
}
