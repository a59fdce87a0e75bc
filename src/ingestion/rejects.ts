import { canonicalJson, sha256Hex } from "../base/digest.ts";

/** Why rows go to quarantine: the stable code, what it means, and the next step. `rule` says which rule of the code. */
export const REJECT_CODES = {
  "ingestion.undecodable": {
    meaning: "The bytes are no record of the format. Rules: json, object, columns, quote, utf8, too_long.",
    fix: "Correct the record at its origin and send it again.",
  },
  "ingestion.wrong_type": {
    meaning:
      "A value can't become the field's type without loss. Rules: number, whole, exact, finite, int_range, long_range, float_range, boolean, string, base64, timestamp, offset, date.",
    fix: "Correct the value, or widen the field's type in the contract.",
  },
  "ingestion.unknown_symbol": {
    meaning: "A value is not among the symbols of the contract's enum. Rule: enum.",
    fix: "Correct the value, or add the symbol to the contract.",
  },
  "ingestion.required": {
    meaning: "A field that may not be null has no value. Rules: not_null, record_id, event_time.",
    fix: "Send the value, set it in the dataset's `set`, or let the contract allow null.",
  },
  "ingestion.not_computed": {
    meaning: "An expression has no result for this row. Rules: undefined, overflow, wrong_type.",
    fix: "Correct the values it reads, or the expression.",
  },
  "ingestion.blocked": {
    meaning: "A check with severity `block` failed for the batch that the row came in. Rule: check.",
    fix: "See the verdict and `mlpe quarantine list`; correct the data or the check, then send the rows again.",
  },
} as const;

export type RejectCode = keyof typeof REJECT_CODES;

/** One problem of one record, before it is known where the record stands. */
export interface Rejection {
  readonly code: RejectCode;
  readonly field: string | null;
  readonly rule: string;
  readonly message: string;
  readonly value?: unknown;
}

/** The first half of SHA-256 over the canonical JSON of a rejected value: equal values can be counted without being shown. */
export function valueDigest(value: unknown): string | null {
  return value === undefined || value === null ? null : sha256Hex(canonicalJson(value)).slice(0, 32);
}
