import { randomBytes } from "node:crypto";

/** Randomness as a value that is passed in, so that a seed can replay a run. */
export interface Random {
  bytes(count: number): Uint8Array;
}

export const systemRandom: Random = {
  bytes: (count) =>
    count <= GIVEN_AT_ONCE ? crypto.getRandomValues(new Uint8Array(count)) : new Uint8Array(randomBytes(count)),
};
const GIVEN_AT_ONCE = 65_536; // the bound of getRandomValues, which is quicker

/** What PKCS #8 writes before the 32-byte seed of an Ed25519 key (RFC 8410, section 7). */
const ED25519_PREFIX = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];

/** A new private Ed25519 key as PKCS #8 (DER). */
export const newEd25519Key = (random: Random): Uint8Array => Uint8Array.from([...ED25519_PREFIX, ...random.bytes(32)]);

/** A repeatable generator (mulberry32): for simulations, samples and tests, never for keys. */
export function seededRandom(seed: number): Random & { /** Uniform in [0, 1). */ next(): number } {
  let state = seed >>> 0;
  const next = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
  return { next, bytes: (count) => Uint8Array.from({ length: count }, () => Math.floor(next() * 256)) };
}
