import { errorTable } from "../base/errors.ts";

export const monitoringErrors = errorTable("monitoring", {
  unknown_target: {
    kind: "invalid",
    meaning: "An alert is to be sent to a name that `notify` does not have.",
    fix: "Add the name under notify, or correct `to`.",
  },
  bad_webhook: {
    kind: "invalid",
    meaning: "A webhook is no http or https URL.",
    fix: "Write the whole URL, or leave it empty to switch it off.",
  },
});
