import { errorTable } from "../base/errors.ts";

export const viewErrors = errorTable("views", {
  empty_set: {
    kind: "missing",
    meaning: "No spine row has its T in the period asked for.",
    fix: "Widen `from` and `to`, or choose a later cutoff.",
  },
  no_such_row: {
    kind: "missing",
    meaning: "No spine row has that entity.",
    fix: "Check the key values; they are given in the order of the view's entity.",
  },
  nothing_fused: {
    kind: "missing",
    meaning: "The view has no fused rows to check yet.",
    fix: "Ingest the view's datasets and let fusion catch up first.",
  },
});
