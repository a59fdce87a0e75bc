import { errorTable } from "../base/errors.ts";

export const runtimeErrors = errorTable("runtime", {
  unknown_model: {
    kind: "missing",
    meaning: "There is no model of that name in the config.",
    fix: "Name one of the config's `models`.",
  },
  unknown_view: {
    kind: "missing",
    meaning: "There is no view of that name in the config.",
    fix: "Name one of the config's `views`.",
  },
  view_mismatch: {
    kind: "refused",
    meaning: "The training set was made from another view than the one the config declares now.",
    fix: "Export the training set again from this view and train on it, or go back to the view it names.",
  },
  unknown_source: {
    kind: "missing",
    meaning: "There is no source of that name that takes pushed rows.",
    fix: "Name a source of the config with `connector: http_push`.",
  },
  not_ready: {
    kind: "unavailable",
    meaning: "The server is still folding the history or loading models.",
    fix: "Wait until /readyz answers 200.",
  },
  server_gone: {
    kind: "unavailable",
    meaning: "The server that has the data directory open went away while a command asked it for something.",
    fix: "Run the command again: it asks the server that is there then, or does the work itself. What was answered is committed.",
  },
  other_retention: {
    kind: "refused",
    meaning: "The config's `retention` is not the one that the running server goes by, so nothing was dropped.",
    fix: "Start the server again with this config; then it retains by these rules, also when asked.",
  },
  older_store: {
    kind: "refused",
    meaning:
      "A backup of a data directory of an earlier version is not recorded in it: that would bring it up to date.",
    fix: "Keep the backup and note its date; a command that writes brings the directory up to date, and later backups are recorded.",
  },
  nothing_live: {
    kind: "unavailable",
    meaning: "No package of this model has been promoted, so nothing can score.",
    fix: "Promote one: `mlpe promote <model> <package directory>`.",
  },
  not_loaded: {
    kind: "unavailable",
    meaning: "The live package of this model can't be loaded, so nothing can score.",
    fix: "Make another one live: `mlpe rollback`, `mlpe rollforward` or `mlpe promote`; other models are served.",
  },
  damaged_rows: {
    kind: "unavailable",
    meaning: "Stored rows that this model needs are damaged: no number is computed without them.",
    fix: "Restore the data directory from a backup; `mlpe doctor` lists what is damaged. Other models are served.",
    retryable: false,
  },
  not_loadable: {
    kind: "refused",
    meaning: "The package that would become live can't be loaded, so the pointer was not moved.",
    fix: "Stay on the live package, or promote one that loads.",
  },
  no_package: {
    kind: "missing",
    meaning: "There is no model package in that directory.",
    fix: "Name a directory with a model.json, that this user may read; `mlpe model init` writes one.",
  },
  package_entry: {
    kind: "refused",
    meaning: "A package directory holds something that is neither a plain file nor a folder.",
    fix: "Put plain files in its place: links, pipes and devices are not followed.",
  },
  unknown_score: {
    kind: "missing",
    meaning: "There is no score with that id.",
    fix: "Use the score_id of an answer, or find one with `mlpe query`.",
  },
  no_profile: {
    kind: "missing",
    meaning: "The live package carries no frozen profile to compare with.",
    fix: "Make the package with a reference.json; `mlpe model init` writes one from a training set.",
  },
  busy: {
    kind: "overloaded",
    meaning: "More requests wait than the bound allows.",
    fix: "Send again after the time in Retry-After.",
  },
  step_failed: {
    kind: "internal",
    meaning: "A step of the pipeline met a defect.",
    fix: "It is tried again; what was committed is kept. Please report it.",
  },
  unusable_data: {
    kind: "unavailable",
    meaning: "The data directory can't be opened or made as a store.",
    fix: "Restore a backup (`mlpe restore`) where log.db is damaged; else name another directory as `data`, or mend what is said.",
  },
  not_an_entity: {
    kind: "invalid",
    meaning: "No dataset has all the fields that are to name the entity, or two read the values differently.",
    fix: "Name fields of one dataset's contract, as `--entity tailnum=N14228`.",
  },
  not_text: { kind: "invalid", meaning: "A file of the project is not UTF-8 text.", fix: "Save the file as UTF-8." },
  bad_training_set: {
    kind: "invalid",
    meaning: "The file is not the training set that its manifest describes.",
    fix: "Export it again with `mlpe views export`, which writes the Parquet file and its manifest beside it.",
  },
  bad_requests: {
    kind: "invalid",
    meaning: "Standard input holds no list of requests.",
    fix: "Give a JSON list of { spine, asOf, position }; times are microseconds.",
  },
  process_failed: {
    kind: "unavailable",
    meaning: "A new process of this program did not do its work.",
    fix: "Read its message; run the command again.",
  },
  worker_failed: {
    kind: "internal",
    meaning: "A thread of the process stopped.",
    fix: "Start MLPE again; what was committed is kept. Please report it.",
  },
});
