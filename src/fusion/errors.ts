import { errorTable } from "../base/errors.ts";

export const fusionErrors = errorTable("fusion", {
  bad_view: {
    kind: "invalid",
    meaning: "A view in the config can't be built: a name it uses doesn't exist, or a type doesn't fit.",
    fix: "Correct the view; every problem is listed with its place.",
  },
  unknown_dataset: {
    kind: "invalid",
    meaning: "A view reads a dataset that the config doesn't have.",
    fix: "Name one of the config's datasets, or add it under `datasets`.",
  },
  unknown_column: {
    kind: "invalid",
    meaning: "A view names a column that the dataset's contract doesn't have.",
    fix: "Name a field of the contract.",
  },
  key_mismatch: {
    kind: "invalid",
    meaning: "The two columns of a join key have types that can't be equal.",
    fix: "Join columns of the same type.",
  },
  reserved_name: {
    kind: "invalid",
    meaning: "A feature or alias has a name that the streams of a view use themselves.",
    fix: "Rename it.",
  },
  no_event_time: {
    kind: "invalid",
    meaning: "A dataset without an event time is used where one is needed.",
    fix: "Give the contract an `eventTime`, or use a join to a static dataset instead.",
  },
  before_first_commit: {
    kind: "invalid",
    meaning: "The cutoff is earlier than the first commit: nothing was known then.",
    fix: "Name a later time; the message says the earliest.",
  },
});
