import { errorTable } from "../base/errors.ts";

export const qualityErrors = errorTable("quality", {
  unknown_expectation: {
    kind: "invalid",
    meaning: "A check names an expectation that does not exist here.",
    fix: "Use one of the expectations that the README lists, or write the check as { sql: <boolean expression> }.",
  },
  bad_check: {
    kind: "invalid",
    meaning: "A check is neither one expectation nor one SQL expression.",
    fix: "Write { expect_...: { arguments }, severity: warn } or { sql: <boolean expression>, severity: warn }.",
  },
  bad_argument: {
    kind: "invalid",
    meaning: "An argument of an expectation is missing, unknown or of the wrong type.",
    fix: "Correct the argument; names and meanings are those of Great Expectations.",
  },
  unknown_column: {
    kind: "invalid",
    meaning: "A check names a column that the dataset's contract does not have.",
    fix: "Use a field of the contract.",
  },
});
