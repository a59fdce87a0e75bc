import { errorTable } from "../base/errors.ts";

export const scoringErrors = errorTable("scoring", {
  engine_failed: {
    kind: "internal",
    meaning: "ONNX Runtime could not be loaded.",
    fix: "Check that the data directory is writable and not mounted noexec, and that the executable is for this platform.",
  },
  model_rejected: {
    kind: "invalid",
    meaning: "The ONNX file can't be loaded.",
    fix: "Export the model again with an opset that ONNX Runtime 1.30 supports, and check it with onnx.checker.",
  },
  not_a_tensor: {
    kind: "invalid",
    meaning: "An input or output of the graph is a map or a sequence instead of a tensor.",
    fix: "Export with zipmap=False (skl2onnx: options={id(model): {'zipmap': False}}).",
  },
  run_failed: {
    kind: "invalid",
    meaning: "The model could not be run on these inputs.",
    fix: "Compare names, shapes and datatypes of the inputs with GET /v2/models/<model>.",
  },
  not_onnx: {
    kind: "invalid",
    meaning: "The model file is not an ONNX model, or is cut short.",
    fix: "Copy the file again, or export the model again.",
  },
  external_data: {
    kind: "refused",
    meaning: "The model keeps tensors in other files, which could name any file of this host.",
    fix: "Save the model with its tensors inside: onnx.save(model, path, save_as_external_data=False).",
  },
  model_too_large: {
    kind: "too_large",
    meaning: "The model, or a tensor it declares, is above the limit.",
    fix: "Make the model smaller; the limits are in the README.",
  },
  operator_refused: {
    kind: "refused",
    meaning: "The model uses operators outside the allowed list (domains ai.onnx and ai.onnx.ml, nothing random).",
    fix: "Export with standard operators only.",
  },
  package_missing_file: {
    kind: "invalid",
    meaning: "The model package lacks a file that it names.",
    fix: "Put the file into the package, or remove its mention from model.json.",
  },
  package_path: {
    kind: "refused",
    meaning: "The model package names a path outside itself.",
    fix: "Use plain relative names inside the package.",
  },
  package_unlisted: {
    kind: "invalid",
    meaning: "The model package holds a file that its manifest does not list.",
    fix: "Add the file with its digest to `files` in model.json, or take it out of the package.",
  },
  package_digest: {
    kind: "damaged",
    meaning: "A file of the model package is not the one its manifest names.",
    fix: "Get the package again; if the change was wanted, write the new digest into `files` and sign again.",
  },
  manifest_invalid: {
    kind: "invalid",
    meaning: "model.json is not a valid model manifest.",
    fix: "Correct it; `mlpe model init --onnx m.onnx --view v` writes a valid one.",
  },
  graph_mismatch: {
    kind: "invalid",
    meaning: "The manifest's inputs and outputs do not agree with the ONNX graph.",
    fix: "Correct model.json; `mlpe model init` reads the shapes from the graph.",
  },
  golden_invalid: {
    kind: "invalid",
    meaning: "The golden rows or the reference profile of the package can't be read.",
    fix: "Write them again as the README describes.",
  },
  golden_mismatch: {
    kind: "refused",
    meaning: "The model does not give the scores that its golden rows promise, so it is not made ready.",
    fix: "Check the order of the features and the export; then write the golden rows again from the trained model.",
  },
  view_mismatch: {
    kind: "refused",
    meaning: "The model was trained on another version of its view.",
    fix: "Train on the current view, or configure the view the model was trained on.",
  },
  unknown_model: {
    kind: "missing",
    meaning: "There is no model of that name.",
    fix: "`mlpe model list` or GET /v2/repository/index shows the models.",
  },
  unknown_version: {
    kind: "missing",
    meaning: "The model has no such version ready.",
    fix: "Ask for the model without a version, or see its `versions` in GET /v2/models/<model>.",
  },
  feature_missing: {
    kind: "invalid",
    meaning: "A row lacks a feature that the model can't do without.",
    fix: "Give the feature, or let its null policy in model.json allow null.",
  },
  feature_invalid: {
    kind: "invalid",
    meaning: "A feature value does not fit the model's input.",
    fix: "Send a value of the declared type and range.",
  },
  feature_unknown_category: {
    kind: "invalid",
    meaning: "A feature has a category that the model refuses.",
    fix: "Send one of the known categories, or let `unknown` be `pass` in model.json.",
  },
  bad_output: {
    kind: "internal",
    meaning: "The model gave no usable score for a row.",
    fix: "Check the model's export: the score column must be a finite number for every row.",
  },
  request_invalid: {
    kind: "invalid",
    meaning: "The inference request is malformed.",
    fix: "Send the request as the Open Inference Protocol describes; GET /v2/models/<model> shows the inputs.",
  },
  request_unsupported: {
    kind: "unsupported",
    meaning: "The request uses a part of the protocol that is not built.",
    fix: "Send tensors as JSON.",
  },
  request_too_large: {
    kind: "too_large",
    meaning: "The request holds more rows or elements than one request may.",
    fix: "Split it into several requests.",
  },
  request_conflict: {
    kind: "conflict",
    meaning: "The request id was used before with another body.",
    fix: "Use a new id for a new request; repeat an id only to repeat the same request.",
  },
  score_missing: {
    kind: "missing",
    meaning: "There is no score of that id.",
    fix: "Check the id; `mlpe query` lists scores.",
  },
});
