import { errorTable } from "../base/errors.ts";

export const lineageErrors = errorTable("lineage", {
  bad_url: {
    kind: "invalid",
    meaning: "The address that lineage events are to be posted to is no http or https URL.",
    fix: "Set lineage.openlineage to the base URL of an OpenLineage server, for example http://localhost:5000.",
  },
});
