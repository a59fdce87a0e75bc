import { errorTable } from "../base/errors.ts";

export const auditErrors = errorTable("audit", {
  bad_checkpoint: {
    kind: "invalid",
    meaning: "The text is not a signed checkpoint of this store's log.",
    fix: "Give the checkpoint exactly as it was printed, with its blank line and signature.",
  },
  no_such_commit: {
    kind: "missing",
    meaning: "The log has no commit of that number at that size.",
    fix: "Use a commit number from 1 to the size of the tree.",
  },
});
