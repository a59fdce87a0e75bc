import type { Database } from "bun:sqlite";
import { fromHex, toHex } from "../base/bytes.ts";
import type { Random } from "../base/random.ts";
import type { Micros } from "../base/time.ts";
import { FIRST_STREAM_KEY, type StreamKey } from "../keys/keyring.ts";
import { KEY_BYTES } from "../keys/xaes.ts";
import { openJson, type Sealer, sealJson } from "./catalogue.ts";

/**
 * The keys that segments are sealed under: one for each stream and period of known time, sealed in turn under the
 * store's key. Whoever writes a segment makes the key where there is none, and the transaction that records the
 * segment records the key with it, so no segment is ever without its key and no key waits for a segment.
 */

/** Key numbers are random, so that no thread has to ask for one: 48 bits, and a few thousand keys at most. */
const KEY_ID_BYTES = 6;

interface Content {
  readonly stream: string;
  readonly from: Micros;
  readonly to: Micros;
  /** In hex. */
  readonly key: string;
}

const whatOfStreamKey = (keyId: number): string => `stream key ${keyId}`;

/** The key for a segment of this stream whose newest row was known at that time; made where it is not known here. */
export function keyForSegment(sealer: Sealer, stream: string, knownTime: Micros, random: Random): StreamKey {
  const { keyring } = sealer;
  const known = keyring.streamKey(stream, knownTime);
  if (known) return known;
  const keyId = FIRST_STREAM_KEY + Number.parseInt(toHex(random.bytes(KEY_ID_BYTES)), 16);
  const from = Math.floor(knownTime / keyring.period) * keyring.period;
  const key = random.bytes(KEY_BYTES);
  const content: Content = { stream, from, to: from + keyring.period, key: toHex(key) };
  const made = { ...content, key, keyId, sealed: sealJson(sealer, whatOfStreamKey(keyId), content) };
  keyring.learn(made);
  return made;
}

/** A row of `stream_keys`; `key` is undefined where it does not open. */
export interface StreamKeyRow {
  readonly keyId: number;
  readonly sealed: Uint8Array;
  readonly key: StreamKey | undefined;
}

/** Every row; none where a store that is only read has no such table yet. */
export function readStreamKeys(database: Database, sealer: Sealer): StreamKeyRow[] {
  if (!database.query("SELECT 1 FROM sqlite_master WHERE name = 'stream_keys'").get()) return [];
  type Row = { key_id: number; sealed: Uint8Array };
  const rows = database.query<Row, []>("SELECT key_id, sealed FROM stream_keys ORDER BY key_id").all();
  return rows.map((row) => ({ keyId: row.key_id, sealed: row.sealed, key: openStreamKey(sealer, row) }));
}

function openStreamKey(sealer: Sealer, row: { key_id: number; sealed: Uint8Array }): StreamKey | undefined {
  try {
    const content = openJson<Content>(sealer, whatOfStreamKey(row.key_id), row.sealed);
    return { ...content, key: fromHex(content.key), keyId: row.key_id, sealed: new Uint8Array(row.sealed) };
  } catch {
    return undefined; // damage stops the segments under this key, and nothing else
  }
}

/** Makes the named keys known, where they are there and sound: looked up only where one is not known yet. */
export function learnStreamKeys(database: Database, sealer: Sealer, named: readonly { keyId: number }[]): void {
  const { keyring } = sealer;
  if (named.every(({ keyId }) => keyId < FIRST_STREAM_KEY || keyring.knows(keyId))) return;
  for (const { key } of readStreamKeys(database, sealer)) if (key && !keyring.knows(key.keyId)) keyring.learn(key);
}

/** In the transaction that records a segment under the key. */
export function insertStreamKey(database: Database, { keyId, sealed }: Pick<StreamKey, "keyId" | "sealed">): void {
  database.run("INSERT OR IGNORE INTO stream_keys VALUES (?, ?)", [keyId, sealed]);
}

/**
 * Removes the keys that no segment is sealed under any more, and gives their number. `secure_delete` overwrites them in
 * the database; the write-ahead log forgets them when it is next truncated.
 */
export function dropUnusedKeys(database: Database, named: readonly { keyId: number }[]): number {
  const used = new Set(named.map(({ keyId }) => keyId));
  const unused = database
    .query<{ key_id: number }, []>("SELECT key_id FROM stream_keys")
    .all()
    .filter(({ key_id }) => !used.has(key_id));
  const remove = database.query("DELETE FROM stream_keys WHERE key_id = ?");
  for (const { key_id } of unused) remove.run(key_id);
  return unused.length;
}
