import { createHmac } from "node:crypto";

/** SHA-256 of the parts, one after another, as 32 bytes. */
export function sha256(...parts: readonly (Uint8Array | string)[]): Uint8Array {
  const hasher = new Bun.SHA256();
  for (const part of parts) hasher.update(part);
  const digest = new Uint8Array(32);
  hasher.digest(digest);
  return digest;
}

export function sha256Hex(...parts: readonly (Uint8Array | string)[]): string {
  const hasher = new Bun.CryptoHasher("sha256");
  for (const part of parts) hasher.update(part);
  return hasher.digest("hex");
}

/** The same of as many parts as there are: a call takes only some ten thousands of arguments. */
export function sha256HexOf(parts: Iterable<Uint8Array | string>): string {
  const hasher = new Bun.CryptoHasher("sha256");
  for (const part of parts) hasher.update(part);
  return hasher.digest("hex");
}

/** HMAC-SHA-256: digests of values that are stored in clear are keyed, so that they can't be guessed. */
export function hmac(key: Uint8Array, ...parts: readonly (Uint8Array | string)[]): Uint8Array {
  const mac = createHmac("sha256", key);
  for (const part of parts) mac.update(part);
  return new Uint8Array(mac.digest());
}

/** JSON with sorted keys and no spaces: the form that digests of structures are taken of. */
export function canonicalJson(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map((item) => canonicalJson(item ?? null)).join(",")}]`;
  if (typeof value === "bigint") return value.toString();
  if (value === null || typeof value !== "object") return JSON.stringify(value);
  const entries = Object.entries(value)
    .filter(([, item]) => item !== undefined)
    .sort(([a], [b]) => (a < b ? -1 : 1));
  return `{${entries.map(([key, item]) => `${JSON.stringify(key)}:${canonicalJson(item)}`).join(",")}}`;
}
