import type { Clock } from "../base/clock.ts";
import type { Random } from "../base/random.ts";
import { waitingAtMost } from "./database.ts";
import { isFull } from "./full.ts";
import type { Receipt } from "./port.ts";
import type { EncodedCommit } from "./record.ts";
import { removeSegments } from "./segment_write.ts";
import { LOOK_EVERY_MS, type SpaceReport, type SpaceSettings, spaceGuard } from "./space.ts";
import type { LogWriter } from "./sqlite_log.ts";

/** The guard at work beside an open log: commits go through it, and it looks every second. */
export interface SpaceWatch {
  commit(request: EncodedCommit): Promise<Receipt>;
  /** Something else than a commit failed: a full disk counts. */
  failed(cause: unknown): void;
  onReport(listener: (report: SpaceReport) => void): void;
  close(): void;
}

export function watchSpace(
  log: LogWriter,
  directory: string,
  settings: SpaceSettings,
  clock: Clock,
  random: Random,
): SpaceWatch {
  const guard = spaceGuard({ directory, settings, clock, random, giveBack: () => giveBackFiles(log, directory) });
  const look = () => {
    try {
      guard.look();
    } catch {
      // The file system does not answer: commits will say so themselves.
    }
  };
  const failed = (cause: unknown) => {
    if (isFull(cause)) guard.refused();
  };
  look();
  const timer = setInterval(look, LOOK_EVERY_MS);
  timer.unref?.();
  return {
    async commit(request) {
      const refusal = guard.refusal({ urgent: request.urgent, bytes: request.record.length });
      if (refusal) throw refusal;
      try {
        const receipt = await log.commit(request);
        guard.written();
        return receipt;
      } catch (cause) {
        failed(cause);
        throw cause;
      }
    },
    failed,
    onReport: guard.onReport,
    close() {
      clearInterval(timer);
      guard.close();
    },
  };
}

/** So long commits wait for readers where room is to be made. */
const CUT_WAIT_MS = 50;

/** What can go at once: replaced segment files, and the part of the log's file that is in the database already. */
function giveBackFiles(log: LogWriter, directory: string): void {
  removeSegments(directory, log.takeReplaced());
  try {
    waitingAtMost(log.database, CUT_WAIT_MS, () => log.sums.checkpoint("TRUNCATE"));
  } catch {
    // A reader holds it, or there is no room to copy: it is tried again when the mark is crossed the next time.
  }
}
