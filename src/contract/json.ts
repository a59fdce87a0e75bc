/** A run of digits that a double may not hold: only then is the slower, exact way taken. */
const LONG_NUMBER = /\d{16}/;

/**
 * JSON as `JSON.parse` has it, but whole numbers beyond 2^53 come as bigint instead of losing digits.
 * Throws SyntaxError.
 */
export function parseExactJson(text: string): unknown {
  return LONG_NUMBER.test(text) ? JSON.parse(text, exact) : JSON.parse(text);
}

function exact(_key: string, value: unknown, context?: { source?: string }): unknown {
  if (typeof value !== "number" || Number.isSafeInteger(value)) return value;
  const source = context?.source;
  return source !== undefined && /^-?\d+$/.test(source) ? BigInt(source) : value;
}

/** JSON text of a value that may hold bigints (as plain digits) and bytes (as base64). */
export function exactJsonText(value: unknown): string {
  if (typeof value === "bigint") return value.toString();
  if (value instanceof Uint8Array) return JSON.stringify(Buffer.from(value).toString("base64"));
  if (Array.isArray(value)) return `[${value.map((item) => exactJsonText(item)).join(",")}]`;
  if (value === null || typeof value !== "object") return JSON.stringify(value) ?? "null";
  const parts = Object.entries(value).map(([key, item]) => `${JSON.stringify(key)}:${exactJsonText(item)}`);
  return `{${parts.join(",")}}`;
}
