import { createCipheriv, createDecipheriv } from "node:crypto";

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
  const cipher = createCipheriv("aes-256-gcm", derived, nonce);
  cipher.setAAD(additional);
  const body = cipher.update(plaintext);
  const rest = cipher.final();
  const sealed = new Uint8Array(body.length + rest.length + TAG_BYTES);
  sealed.set(body);
  sealed.set(rest, body.length);
  sealed.set(cipher.getAuthTag(), body.length + rest.length);
  return sealed;
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
export function deriveKey(key: Uint8Array, nonce: Uint8Array): Uint8Array {
  if (key.length !== KEY_BYTES || nonce.length !== NONCE_BYTES) throw new RangeError("a key is 32 bytes, a nonce 24");
  const cipher = createCipheriv("aes-256-ecb", key, null).setAutoPadding(false);
  const whitening = cipher.update(new Uint8Array(BLOCK));
  const carried = whitening[0]! >> 7;
  for (let i = 0; i < BLOCK; i++) whitening[i] = (whitening[i]! << 1) | ((whitening[i + 1] ?? 0) >> 7);
  whitening[BLOCK - 1]! ^= carried * 0x87;
  const blocks = new Uint8Array(2 * BLOCK);
  for (let counter = 1; counter <= 2; counter++) {
    const block = blocks.subarray((counter - 1) * BLOCK, counter * BLOCK);
    block.set([0, counter, 0x58, 0]);
    block.set(nonce.subarray(0, 12), 4);
    for (let i = 0; i < BLOCK; i++) block[i]! ^= whitening[i]!;
  }
  return cipher.update(blocks);
}
