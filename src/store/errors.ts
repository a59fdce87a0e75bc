import { errorTable } from "../base/errors.ts";

export const storeErrors = errorTable("store", {
  stale_writer: {
    kind: "conflict",
    meaning: "A commit expected a cursor or reader position that has since moved: another writer went on from there.",
    fix: "Read the position again and go on from it; nothing of the refused commit was written.",
    retryable: true,
  },
  closed: { kind: "unavailable", meaning: "The store is closed.", fix: "Start MLPE again on this data directory." },
});
