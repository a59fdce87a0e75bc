import { errorTable } from "../base/errors.ts";

export const feedbackErrors = errorTable("feedback", {
  bad_labels: {
    kind: "invalid",
    meaning: "The body is no list of labels.",
    fix: 'Send { "labels": [ { "score_id": "...", "label": true } ] }, or entries with "keys" in place of "score_id".',
  },
  bad_label: {
    kind: "invalid",
    meaning: "One label can't be taken: it names no score, or its value is no outcome.",
    fix: "Correct that entry and send it again; the others were taken.",
  },
  too_many: {
    kind: "too_large",
    meaning: "One request holds more labels than are taken at once.",
    fix: "Send several smaller requests.",
  },
});
