import { errorTable } from "../base/errors.ts";

export const keyErrors = errorTable("keys", {
  missing_key: {
    kind: "missing",
    meaning: "The key file that opens this data directory is not there.",
    fix: "Put the key file back where the config names it, or name the right one; without it the data can't be read.",
  },
  wrong_key: {
    kind: "refused",
    meaning: "The key does not open this data directory: it is another key, or the stored data keys were altered.",
    fix: "Name the key file that this data directory was made with, or the one that `mlpe keys rewrap` put in its place. Nothing was changed.",
  },
  same_key: {
    kind: "refused",
    meaning: "The key that is to take over is the one that wraps the store's keys already.",
    fix: "Where mlpe.yaml names another file, write this one into it as `keys.path`; else name one that is not there yet: it is made.",
  },
  bad_key_file: {
    kind: "invalid",
    meaning: "The key file is not a 32-byte key that only its owner can read.",
    fix: "Use a regular file of 32 bytes with the mode 0600 (chmod 600), owned by the user that runs MLPE.",
  },
  key_inside_data: {
    kind: "refused",
    meaning: "The key file lies inside the data directory, where a copy of the data would carry its own key.",
    fix: "Keep the key file outside the data directory.",
  },
  unknown_provider: {
    kind: "unsupported",
    meaning: "No key provider has that name.",
    fix: "Use one of the providers that the message lists.",
  },
});
