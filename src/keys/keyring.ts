import { ByteReader, concatBytes } from "../base/bytes.ts";
import { hmac } from "../base/digest.ts";
import type { Random } from "../base/random.ts";
import { keyErrors } from "./errors.ts";
import type { KeyProvider } from "./provider.ts";
import { deriveKey, KEY_BYTES, NONCE_BYTES, open, openDerived, seal, sealDerived } from "./xaes.ts";

/** A data key as it rests: wrapped by the provider, with a value that only the right key gives. */
export interface WrappedKey {
  readonly keyId: number;
  readonly provider: string;
  readonly wrapped: Uint8Array;
  readonly check: Uint8Array;
}

/** Seals and opens with the data keys of one store. Each thread unwraps its own. */
export interface Keyring {
  readonly currentKeyId: number;
  /** key id (1 byte), nonce, ciphertext and tag: 41 bytes more than the plaintext. */
  seal(plaintext: Uint8Array, additional: Uint8Array): Uint8Array<ArrayBuffer>;
  /** The plaintext; undefined where anything differs from what was sealed. */
  open(sealed: Uint8Array, additional: Uint8Array): Uint8Array | undefined;
  /** Seals and opens the numbered chunks of one file under its random 24-byte nonce. */
  chunks(keyId: number, nonce: Uint8Array): ChunkKeys;
  /** Whether the stored row is still that of a key which is open here. */
  holds(row: WrappedKey): boolean;
}

export interface ChunkKeys {
  seal(chunk: number, plaintext: Uint8Array, additional: Uint8Array): Uint8Array<ArrayBuffer>;
  open(chunk: number, sealed: Uint8Array, additional: Uint8Array): Uint8Array | undefined;
}

/** A new data key, wrapped: what the keys table holds a row of. */
export async function newDataKey(
  provider: KeyProvider,
  keyId: number,
  storeId: Uint8Array,
  random: Random,
): Promise<WrappedKey> {
  const key = random.bytes(KEY_BYTES);
  const wrapped = await provider.wrap(key);
  return { keyId, provider: provider.name, wrapped, check: checkValue(key, keyId, provider.name, wrapped, storeId) };
}

/** Unwraps all data keys of a store. Throws keys.wrong_key where one does not open or does not give its check value. */
export async function openKeyring(
  rows: readonly WrappedKey[],
  provider: KeyProvider,
  storeId: Uint8Array,
  random: Random,
): Promise<Keyring> {
  const keys = new Map<number, Uint8Array>();
  for (const row of rows) {
    const key = row.provider === provider.name ? await provider.unwrap(row.wrapped) : undefined;
    const check = key && checkValue(key, row.keyId, row.provider, row.wrapped, storeId);
    if (!key || !check || Buffer.compare(check, row.check) !== 0) {
      throw keyErrors.error("wrong_key", `data key ${row.keyId} does not open with the provider ${provider.name}`);
    }
    keys.set(row.keyId, key);
  }
  if (keys.size === 0) throw keyErrors.error("wrong_key", "the store holds no data key");
  return keyringOf(keys, storeId, random);
}

function checkValue(key: Uint8Array, keyId: number, provider: string, wrapped: Uint8Array, storeId: Uint8Array) {
  return hmac(key, `mlpe/key-check/1/${keyId}/${provider}/`, storeId, wrapped).slice(0, 16);
}

function keyringOf(keys: ReadonlyMap<number, Uint8Array>, storeId: Uint8Array, random: Random): Keyring {
  const currentKeyId = Math.max(...keys.keys());
  const current = keys.get(currentKeyId)!;
  return {
    currentKeyId,
    seal(plaintext, additional) {
      const nonce = random.bytes(NONCE_BYTES);
      return concatBytes([Uint8Array.of(currentKeyId), nonce, seal(current, nonce, plaintext, additional)]);
    },
    open(sealed, additional) {
      if (sealed.length <= NONCE_BYTES) return undefined;
      const reader = new ByteReader(sealed);
      const key = keys.get(reader.u8());
      return key && open(key, reader.raw(NONCE_BYTES), reader.raw(reader.remaining), additional);
    },
    chunks(keyId, nonce) {
      const key = keys.get(keyId);
      if (!key) throw keyErrors.error("wrong_key", `the store holds no data key ${keyId}`);
      const derived = deriveKey(key, nonce);
      return {
        seal: (chunk, plaintext, additional) => sealDerived(derived, chunkNonce(nonce, chunk), plaintext, additional),
        open: (chunk, sealed, additional) => openDerived(derived, chunkNonce(nonce, chunk), sealed, additional),
      };
    },
    holds(row) {
      const key = keys.get(row.keyId);
      if (!key) return false;
      return Buffer.compare(checkValue(key, row.keyId, row.provider, row.wrapped, storeId), row.check) === 0;
    },
  };
}

/**
 * Chunk i of a file is sealed with the file's nonce, its last four bytes XORed with i: the file's nonce is random and
 * used for one writing of one file, so no pair of derived key and nonce repeats.
 */
function chunkNonce(nonce: Uint8Array, chunk: number): Uint8Array {
  const own = new Uint8Array(nonce.subarray(12));
  const view = new DataView(own.buffer);
  view.setUint32(8, (view.getUint32(8) ^ chunk) >>> 0);
  return own;
}
