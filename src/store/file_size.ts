import { existsSync, statSync } from "node:fs";

/** How long a file is; 0 where it is not there, or this user may not look. */
export const bytesOf = (path: string): number =>
  existsSync(path) ? (statSync(path, { throwIfNoEntry: false })?.size ?? 0) : 0;
