import { toBase64 } from "../base/bytes.ts";
import type { Value } from "../base/row.ts";
import { formatDay, formatInstant } from "../base/time.ts";
import type { FieldType } from "./contract.ts";

/**
 * A value as JSON text, in the spelling that contracts are read from: instants and dates as ISO texts, bytes as base64,
 * whole numbers as plain digits, NaN and infinities as texts (which no number field takes).
 */
export function valueJson(value: Value, type: FieldType | undefined): string {
  if (value === null) return "null";
  if (typeof value === "bigint") return value.toString();
  if (value instanceof Uint8Array) return JSON.stringify(toBase64(value));
  if (typeof value !== "number") return JSON.stringify(value);
  if (type === "timestamp") return JSON.stringify(formatInstant(value));
  if (type === "date") return JSON.stringify(formatDay(value));
  return Number.isFinite(value) ? JSON.stringify(value) : JSON.stringify(String(value));
}

/** The same as a field of RFC 4180: null is an empty field, an empty text is "". */
export function valueCsv(value: Value, type: FieldType | undefined): string {
  if (value === null) return "";
  if (typeof value === "string") return csvField(value);
  if (value instanceof Uint8Array) return csvField(toBase64(value));
  if (typeof value !== "number") return String(value);
  if (type === "timestamp") return formatInstant(value);
  return type === "date" ? formatDay(value) : String(value);
}

/** A text as a field of RFC 4180, in quotes where it needs them. */
export const csvField = (text: string): string =>
  text === "" || /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
