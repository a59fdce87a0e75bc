import { errorTable } from "../base/errors.ts";

export const configErrors = errorTable("config", {
  not_yaml: {
    kind: "invalid",
    meaning: "The config file is not one YAML 1.2 document.",
    fix: "Correct the YAML at this place.",
  },
  too_large: {
    kind: "too_large",
    meaning: "The config file is larger, deeper or more expanded by aliases than is read.",
    fix: "Keep the file under 1 MiB, 32 levels and 50,000 values, aliases counted each time they are used.",
  },
  duplicate_key: {
    kind: "invalid",
    meaning: "A key stands twice in one map.",
    fix: "Keep one of the two.",
  },
  unknown_key: {
    kind: "invalid",
    meaning: "A key that mlpe.yaml does not have.",
    fix: "Remove it, or correct its name; `mlpe config schema` prints every key.",
  },
  wrong_type: {
    kind: "invalid",
    meaning: "A value has another type than the key takes.",
    fix: "Write a value of the type that is asked for.",
  },
  bad_value: {
    kind: "invalid",
    meaning: "A value has the right type but is not one that the key takes.",
    fix: "Write one of the values that the message names.",
  },
  missing: { kind: "invalid", meaning: "A required key is not there.", fix: "Add the key." },
  missing_variable: {
    kind: "invalid",
    meaning: "A value names an environment variable that is not set and gives no default.",
    fix: "Set the variable, or write a default: ${NAME:-default}.",
  },
  bad_variable: {
    kind: "invalid",
    meaning: "A ${...} is not a variable's name with an optional default.",
    fix: "Write ${NAME} or ${NAME:-default}; a literal ${ is written $${.",
  },
  bad_override: {
    kind: "invalid",
    meaning: "A --set is not of the form path.to.key=value.",
    fix: "Write --set listen.port=0: the path, one =, and a YAML value.",
  },
  unknown_name: {
    kind: "invalid",
    meaning: "A value names a dataset, view, model or target that the config does not define.",
    fix: "Define it, or correct the name.",
  },
  conflict: {
    kind: "invalid",
    meaning: "Two parts of the config contradict each other.",
    fix: "Change one of the two.",
  },
  not_loopback: {
    kind: "unsupported",
    meaning: "The server was asked to listen beyond this machine.",
    fix: "Use listen.host 127.0.0.1 or ::1, with a reverse proxy that authenticates and speaks TLS in front.",
  },
});

/** How a check of the whole config says what it found; the place is a path into the config. */
export type Report = (code: keyof typeof configErrors.entries, place: string, message: string, fix?: string) => void;
