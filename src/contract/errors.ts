import { errorTable } from "../base/errors.ts";

export const contractErrors = errorTable("contract", {
  not_json: {
    kind: "invalid",
    meaning: "The contract file is not JSON.",
    fix: "Write the contract as an Avro schema in JSON (.avsc).",
  },
  not_a_record: {
    kind: "invalid",
    meaning: "The contract is not an Avro record schema.",
    fix: 'Give it "type": "record", a "name" and a list of "fields".',
  },
  bad_field: {
    kind: "invalid",
    meaning: "A field of the contract has a name or type that can't be used.",
    fix: "Use boolean, int, long, float, double, string, bytes, an enum, or a logical type listed in the README.",
  },
  bad_property: {
    kind: "invalid",
    meaning: "A property of the contract (entity, eventTime, recordId, ...) is missing or wrong.",
    fix: "Correct the property; the README lists them all.",
  },
  bad_parquet: {
    kind: "invalid",
    meaning: "The bytes are not a Parquet file, or a damaged one.",
    fix: "Write the file again; if it came over a network, compare its length.",
  },
  parquet_unsupported: {
    kind: "unsupported",
    meaning: "The Parquet file uses a compression, encryption or size that is not read.",
    fix: "Write it with zstd, snappy or gzip, unencrypted, in row groups of at most 512 MiB.",
  },
  unreadable_csv: {
    kind: "invalid",
    meaning: "The file is no CSV that can be read: RFC 4180 in UTF-8, with one header line.",
    fix: "Check the file, its delimiter and its encoding.",
  },
  structure_mismatch: {
    kind: "invalid",
    meaning: "The columns of a typed input (Parquet) do not fit the contract.",
    fix: "Change the file or the contract so that every field is there with a type that fits without loss.",
  },
});
