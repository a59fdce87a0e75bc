import { learnNewKeys } from "../store/catalogue.ts";
import type { LogStore } from "../store/store.ts";
import { type AuditOptions, type AuditReport, verifyAudit } from "./verify.ts";

/** Rotations that may come in between before what is found wrong is told. */
const ROTATIONS_MAX = 5;

/**
 * As verifyAudit, where a server beside may rotate the keys: what was found wrong under the keys that were unwrapped when the
 * store was opened is looked at again with those that came since.
 */
export async function verifyAuditBeside(store: LogStore, options: AuditOptions = {}): Promise<AuditReport> {
  for (let tries = 1; ; tries++) {
    const report = verifyAudit(store, options);
    if (report.verified || tries === ROTATIONS_MAX) return report;
    if (!(await learnNewKeys(store.reader.database, store.sealer))) return report;
  }
}
