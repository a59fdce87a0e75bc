import { errorTable } from "../base/errors.ts";

export const connectorErrors = errorTable("connectors", {
  file_missing: {
    kind: "missing",
    meaning: "The file of a source isn't there, or can't be read.",
    fix: "Put the file there, make it readable, or correct `path`.",
  },
  unknown_format: {
    kind: "invalid",
    meaning: "The file's name doesn't say its format.",
    fix: "Give the source `format: csv`, `jsonl` or `parquet`.",
  },
  file_changed: {
    kind: "conflict",
    meaning: "The file is not the one that was being read: it grew, shrank or was replaced.",
    fix: "Put the former file back, or give the new one a source of its own: rows seen before count as duplicates.",
  },
  file_damaged: {
    kind: "damaged",
    meaning: "The compressed file can't be unpacked, or ends too early.",
    fix: "Copy the file again; reading goes on where it stopped.",
  },
  bad_header: {
    kind: "invalid",
    meaning: "The header of a CSV file can't be read.",
    fix: "Begin the file with one line of column names in UTF-8.",
  },
  bad_cursor: {
    kind: "damaged",
    meaning: "The stored position of a source does not fit the source.",
    fix: "Give the source a new name, so that it starts anew: rows seen before count as duplicates.",
  },
  bad_delimiter: {
    kind: "invalid",
    meaning: "The CSV delimiter is not one ASCII character other than a quote or a line break.",
    fix: "Use a comma, a semicolon, a tab or a bar.",
  },
  bad_body: {
    kind: "invalid",
    meaning: "The pushed body is not a JSON array of objects, nor one object a line.",
    fix: 'Send [{"field": value, ...}, ...].',
  },
  too_many_rows: {
    kind: "too_large",
    meaning: "The pushed body has more rows or bytes than one request may have.",
    fix: "Send the rows in several requests, each with an idempotency key of its own.",
  },
  key_conflict: {
    kind: "conflict",
    meaning: "The idempotency key was used before, with another body.",
    fix: "Use a new key for new content.",
  },
  bad_key: {
    kind: "invalid",
    meaning: "The idempotency key is empty, too long, or not printable ASCII.",
    fix: "Use 1 to 200 printable ASCII characters.",
  },
  busy: {
    kind: "overloaded",
    meaning: "As many pushed requests are waiting as may wait.",
    fix: "Send the request again after a moment, with the same idempotency key.",
  },
  closed: {
    kind: "unavailable",
    meaning: "The source is closed.",
    fix: "Send the request again when MLPE runs again, with the same idempotency key.",
  },
});
