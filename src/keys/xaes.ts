import { type Cipheriv, createCipheriv, createDecipheriv } from "node:crypto";

/**
 * XAES-256-GCM (C2SP): AES-256-GCM under a key derived from the first half of a 192-bit nonce, so that random nonces
 * never run out and no counter has to survive a restart or a restored backup.
 */
export const KEY_BYTES = 32;
export const NONCE_BYTES = 24;
export const TAG_BYTES = 16;

const BLOCK = 16;

/** The ciphertext and its tag. `nonce` must be fresh random bytes, `key` 32 bytes. */
export function seal(
  key: Uint8Array,
  nonce: Uint8Array,
  plaintext: Uint8Array,
  additional: Uint8Array,
): Uint8Array<ArrayBuffer> {
  return sealDerived(deriveKey(key, nonce), nonce.subarray(12), plaintext, additional);
}

/** The plaintext, or undefined where key, nonce, additional data or any byte differ from what was sealed. */
export function open(
  key: Uint8Array,
  nonce: Uint8Array,
  sealed: Uint8Array,
  additional: Uint8Array,
): Uint8Array | undefined {
  return openDerived(deriveKey(key, nonce), nonce.subarray(12), sealed, additional);
}

/** AES-256-GCM under a derived key: for the many chunks of one segment, which share the first half of their nonce. */
export function sealDerived(
  derived: Uint8Array,
  nonce: Uint8Array,
  plaintext: Uint8Array,
  additional: Uint8Array,
): Uint8Array<ArrayBuffer> {
  const sealed = new Uint8Array(plaintext.length + TAG_BYTES);
  sealInto(sealed, 0, derived, nonce, plaintext, additional);
  return sealed;
}

/** The same, written into `sealed` from `at` on: as many bytes as the plaintext, and the tag. */
export function sealInto(
  sealed: Uint8Array,
  at: number,
  derived: Uint8Array,
  nonce: Uint8Array,
  plaintext: Uint8Array,
  additional: Uint8Array,
): void {
  const cipher = createCipheriv("aes-256-gcm", derived, nonce);
  cipher.setAAD(additional);
  sealed.set(cipher.update(plaintext), at); // GCM holds nothing back
  cipher.final();
  sealed.set(cipher.getAuthTag(), at + plaintext.length);
}

export function openDerived(
  derived: Uint8Array,
  nonce: Uint8Array,
  sealed: Uint8Array,
  additional: Uint8Array,
): Uint8Array | undefined {
  if (sealed.length < TAG_BYTES) return undefined;
  const decipher = createDecipheriv("aes-256-gcm", derived, nonce, { authTagLength: TAG_BYTES });
  decipher.setAAD(additional);
  decipher.setAuthTag(sealed.subarray(sealed.length - TAG_BYTES));
  const body = decipher.update(sealed.subarray(0, sealed.length - TAG_BYTES));
  try {
    const rest = decipher.final();
    const whole = rest.length === 0 ? body : Buffer.concat([body, rest]);
    return new Uint8Array(whole.buffer, whole.byteOffset, whole.length); // a plain array: a Buffer's slice() is a view
  } catch {
    return undefined; // the tag does not match
  }
}

/** The AES-256-GCM key for a nonce: two AES blocks over its first 12 bytes, whitened as CMAC does (NIST SP 800-108r1). */
export const deriveKey = (key: Uint8Array, nonce: Uint8Array): Uint8Array => keyDeriver(key)(nonce);

/** The same for many nonces: what depends on the key alone is done once. */
export function keyDeriver(key: Uint8Array): (nonce: Uint8Array) => Uint8Array {
  if (key.length !== KEY_BYTES) throw new RangeError("a key is 32 bytes");
  const cipher: Cipheriv = createCipheriv("aes-256-ecb", key, null).setAutoPadding(false);
  const whitening = new Uint8Array(cipher.update(new Uint8Array(BLOCK)));
  const carried = whitening[0]! >> 7;
  for (let i = 0; i < BLOCK; i++) whitening[i] = (whitening[i]! << 1) | ((whitening[i + 1] ?? 0) >> 7);
  whitening[BLOCK - 1]! ^= carried * 0x87;
  const blocks = new Uint8Array(2 * BLOCK);
  return (nonce) => {
    if (nonce.length !== NONCE_BYTES) throw new RangeError("a nonce is 24 bytes");
    for (let at = 0; at < 2 * BLOCK; at += BLOCK) {
      for (let i = 0; i < LABEL.length; i++) blocks[at + i] = whitening[i]! ^ LABEL[i]!;
      blocks[at + 1]! ^= 1 + at / BLOCK; // the counter
      for (let i = LABEL.length; i < BLOCK; i++) blocks[at + i] = whitening[i]! ^ nonce[i - LABEL.length]!;
    }
    return cipher.update(blocks); // whole blocks: ECB keeps nothing from call to call
  };
}
const LABEL = [0, 0, 0x58, 0];
