import { errorTable } from "../base/errors.ts";

/** Errors of planning and reading. The codes of rejected rows stand in `rejects.ts`. */
export const ingestionErrors = errorTable("ingestion", {
  unknown_field: {
    kind: "invalid",
    meaning: "`rename` or `set` names a field that the dataset's contract doesn't have.",
    fix: "Correct the name, or add the field to the contract.",
  },
  no_event_time: {
    kind: "invalid",
    meaning: "The dataset is not static, and its contract names no event time.",
    fix: 'Give the contract an "eventTime", or say `static: true` in the dataset.',
  },
  no_route: {
    kind: "invalid",
    meaning: "The source feeds no dataset, or one that isn't configured.",
    fix: "Give it `dataset: <name>` or `routes:`, naming datasets of this file.",
  },
  bad_otherwise: {
    kind: "invalid",
    meaning: "`otherwise` is neither `drop` nor `drop: <reason>`.",
    fix: "Write `drop`, or `drop: <reason>` with a reason of letters, digits, _ and -.",
  },
  missing_column: {
    kind: "invalid",
    meaning: "The header of the file lacks a column that a contract needs.",
    fix: "Correct the file's header, map the name with `rename`, or give the field a default in the contract.",
  },
  duplicate_column: {
    kind: "invalid",
    meaning: "The header of the file has two columns of one name, so it isn't known which one is meant.",
    fix: "Rename one of them in the file.",
  },
  landing_moved: {
    kind: "conflict",
    meaning: "The landing stream of a source grew by another writer's rows.",
    fix: "Let one process write to a source at a time.",
    retryable: true,
  },
});
