import { storeErrors } from "./errors.ts";

/** The code of this room's own error. */
export const FULL = `${storeErrors.prefix}.full`;
const FULL_CODES = new Set(["SQLITE_FULL", "ENOSPC", "EDQUOT", "EFBIG", "SQLITE_IOERR_SHMSIZE", FULL]);

/** What SQLite, the operating system and this room say where there is no room to write. */
export function isFull(cause: unknown): boolean {
  const code = (cause as { code?: unknown } | null)?.code;
  return typeof code === "string" && FULL_CODES.has(code);
}

export const fullDisk = (cause: unknown): Error =>
  storeErrors.error("full", "the disk of the data directory is full", { cause });
