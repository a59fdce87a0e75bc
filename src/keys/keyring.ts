import { hmac } from "../base/digest.ts";
import type { Random } from "../base/random.ts";
import { MICROS_PER_SECOND, type Micros } from "../base/time.ts";
import { keyErrors } from "./errors.ts";
import type { KeyProvider } from "./provider.ts";
import {
  deriveKey,
  KEY_BYTES,
  keyDeriver,
  NONCE_BYTES,
  openDerived,
  sealDerived,
  sealInto,
  TAG_BYTES,
} from "./xaes.ts";

/** Chunks of one file have 32 bits of its nonce to differ in. */
const CHUNKS_MAX = 2 ** 32;

/** A store key as it rests: wrapped by the provider, with a value that only the right key gives. */
export interface WrappedKey {
  readonly keyId: number;
  readonly provider: string;
  readonly wrapped: Uint8Array;
  readonly check: Uint8Array;
}

/** A key that seals the segments of one stream, for rows known in [from, to). It rests sealed under a store key. */
export interface StreamKey {
  /** From FIRST_STREAM_KEY on: smaller numbers are store keys. */
  readonly keyId: number;
  readonly stream: string;
  readonly from: Micros;
  readonly to: Micros;
  readonly key: Uint8Array;
  /** As it rests; its first byte is the store key it is sealed under. */
  readonly sealed: Uint8Array;
}

/** Seals and opens with the keys of one store. Each thread unwraps its own. */
export interface Keyring {
  /** The store key that everything new is sealed under. */
  readonly currentKeyId: number;
  /** How long one key of a stream is used, in microseconds of known time. */
  readonly period: Micros;
  /** key id (1 byte), nonce, ciphertext and tag: 41 bytes more than the plaintext. */
  seal(plaintext: Uint8Array, additional: Uint8Array): Uint8Array<ArrayBuffer>;
  /** The plaintext; undefined where anything differs from what was sealed. */
  open(sealed: Uint8Array, additional: Uint8Array): Uint8Array | undefined;
  /** Adds a key of a stream. */
  learn(key: StreamKey): void;
  knows(keyId: number): boolean;
  /** The key for new segments of a stream: one that rests under the current store key, for that known time. */
  streamKey(stream: string, knownTime: Micros): StreamKey | undefined;
  /** Seals and opens the numbered chunks of one file under its random 24-byte nonce. The key must be known. */
  chunks(keyId: number, nonce: Uint8Array): ChunkKeys;
  /** Whether the stored row is still that of a key which is open here. */
  holds(row: WrappedKey): boolean;
  /**
   * Unwraps those of the store keys there are now that are not open here; the newest is current from then on. Keys that are
   * gone stay open: what was read under them before goes on being readable. Throws as openKeyring; then nothing changed.
   */
  refresh(rows: readonly WrappedKey[]): Promise<void>;
  /** Unwraps with this one from now on: the store keys were wrapped anew. */
  trust(provider: KeyProvider): void;
}

export interface ChunkKeys {
  seal(chunk: number, plaintext: Uint8Array, additional: Uint8Array): Uint8Array<ArrayBuffer>;
  open(chunk: number, sealed: Uint8Array, additional: Uint8Array): Uint8Array | undefined;
}

/** Store keys are numbered 1 to 255, as sealed blobs name them with one byte; a rotation takes the next, in a ring. */
const LAST_STORE_KEY = 255;
export const FIRST_STREAM_KEY = 256;
/** 30 days. */
const DEFAULT_KEY_PERIOD: Micros = 30 * 24 * 3_600 * MICROS_PER_SECOND;

export const nextStoreKey = (keyId: number): number => (keyId % LAST_STORE_KEY) + 1;

/** The newest of the store keys there are: a few neighbours on the ring. */
export function newestStoreKey(keyIds: readonly number[]): number {
  const newer = (a: number, b: number) => {
    const ahead = (a - b + LAST_STORE_KEY) % LAST_STORE_KEY;
    return ahead > 0 && ahead <= LAST_STORE_KEY / 2;
  };
  return keyIds.reduce((newest, keyId) => (newer(keyId, newest) ? keyId : newest));
}

/** A new store key, wrapped: what the keys table holds a row of. */
export async function newDataKey(
  provider: KeyProvider,
  keyId: number,
  storeId: Uint8Array,
  random: Random,
): Promise<WrappedKey> {
  return wrapKey(provider, keyId, random.bytes(KEY_BYTES), storeId);
}

async function wrapKey(
  provider: KeyProvider,
  keyId: number,
  key: Uint8Array,
  storeId: Uint8Array,
): Promise<WrappedKey> {
  const wrapped = await provider.wrap(key);
  return { keyId, provider: provider.name, wrapped, check: checkValue(key, keyId, provider.name, wrapped, storeId) };
}

/** Unwraps all data keys of a store. Throws keys.wrong_key where one does not open or does not give its check value. */
export async function openKeyring(
  rows: readonly WrappedKey[],
  provider: KeyProvider,
  storeId: Uint8Array,
  random: Random,
  period: Micros = DEFAULT_KEY_PERIOD,
): Promise<Keyring> {
  const keys = await unwrapAll(rows, provider, storeId);
  return keyringOf(keys, storeId, random, period, provider);
}

/** The store keys wrapped by another provider: nothing else of the store depends on who wraps. Throws as openKeyring. */
export async function rewrapKeys(
  rows: readonly WrappedKey[],
  from: KeyProvider,
  to: KeyProvider,
  storeId: Uint8Array,
): Promise<WrappedKey[]> {
  const keys = await unwrapAll(rows, from, storeId);
  return Promise.all([...keys].map(([keyId, key]) => wrapKey(to, keyId, key, storeId)));
}

async function unwrapAll(
  rows: readonly WrappedKey[],
  provider: KeyProvider,
  storeId: Uint8Array,
): Promise<Map<number, Uint8Array>> {
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
  return keys;
}

function checkValue(key: Uint8Array, keyId: number, provider: string, wrapped: Uint8Array, storeId: Uint8Array) {
  return hmac(key, `mlpe/key-check/1/${keyId}/${provider}/`, storeId, wrapped).slice(0, 16);
}

function keyringOf(
  storeKeys: Map<number, Uint8Array>,
  storeId: Uint8Array,
  random: Random,
  period: Micros,
  opening: KeyProvider,
): Keyring {
  let provider = opening;
  let currentKeyId = newestStoreKey([...storeKeys.keys()]);
  const derivers = new Map([...storeKeys].map(([keyId, key]) => [keyId, keyDeriver(key)]));
  let derive = derivers.get(currentKeyId)!;
  const streamKeys = new Map<number, StreamKey>();
  const holds = (row: WrappedKey): boolean => {
    const key = storeKeys.get(row.keyId);
    if (!key) return false;
    return Buffer.compare(checkValue(key, row.keyId, row.provider, row.wrapped, storeId), row.check) === 0;
  };
  return {
    get currentKeyId() {
      return currentKeyId;
    },
    period,
    seal(plaintext, additional) {
      const nonce = random.bytes(NONCE_BYTES);
      const sealed = new Uint8Array(1 + NONCE_BYTES + plaintext.length + TAG_BYTES);
      sealed[0] = currentKeyId;
      sealed.set(nonce, 1);
      sealInto(sealed, 1 + NONCE_BYTES, derive(nonce), nonce.subarray(12), plaintext, additional);
      return sealed;
    },
    open(sealed, additional) {
      if (sealed.length <= NONCE_BYTES) return undefined;
      const nonce = sealed.subarray(1, 1 + NONCE_BYTES);
      const derived = derivers.get(sealed[0]!)?.(nonce);
      return derived && openDerived(derived, nonce.subarray(12), sealed.subarray(1 + NONCE_BYTES), additional);
    },
    learn: (key) => void streamKeys.set(key.keyId, key),
    knows: (keyId) => storeKeys.has(keyId) || streamKeys.has(keyId),
    streamKey(stream, knownTime) {
      for (const key of streamKeys.values()) {
        if (key.stream !== stream || knownTime < key.from || knownTime >= key.to) continue;
        if (key.sealed[0] === currentKeyId) return key;
      }
      return undefined;
    },
    chunks(keyId, nonce) {
      const key = storeKeys.get(keyId) ?? streamKeys.get(keyId)?.key;
      if (!key) throw keyErrors.error("wrong_key", `the store holds no data key ${keyId}`);
      const derived = deriveKey(key, nonce);
      return {
        seal: (chunk, plaintext, additional) => sealDerived(derived, chunkNonce(nonce, chunk), plaintext, additional),
        open: (chunk, sealed, additional) => openDerived(derived, chunkNonce(nonce, chunk), sealed, additional),
      };
    },
    holds,
    async refresh(rows) {
      const unknown = rows.filter((row) => !holds(row));
      for (const [keyId, key] of unknown.length > 0 ? await unwrapAll(unknown, provider, storeId) : []) {
        storeKeys.set(keyId, key);
        derivers.set(keyId, keyDeriver(key));
      }
      currentKeyId = newestStoreKey(rows.map(({ keyId }) => keyId));
      derive = derivers.get(currentKeyId)!;
    },
    trust(other) {
      provider = other;
    },
  };
}

/**
 * Chunk i of a file is sealed with the file's nonce, its last four bytes XORed with i: the file's nonce is random and
 * used for one writing of one file, so no pair of derived key and nonce repeats within 2^32 chunks. Beyond they would.
 */
function chunkNonce(nonce: Uint8Array, chunk: number): Uint8Array {
  if (!(chunk >= 0 && chunk < CHUNKS_MAX)) throw new RangeError("a file has at most 2^32 chunks");
  const own = new Uint8Array(nonce.subarray(12));
  for (let i = 0; i < 4; i++) own[8 + i]! ^= (chunk >>> (24 - 8 * i)) & 0xff;
  return own;
}
