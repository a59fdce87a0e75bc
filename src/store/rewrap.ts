import type { Database } from "bun:sqlite";
import type { Random } from "../base/random.ts";
import { keyErrors } from "../keys/errors.ts";
import { openKeyring, rewrapKeys } from "../keys/keyring.ts";
import type { KeyProvider } from "../keys/provider.ts";
import { readIdentity, readState, readWrappedKeys, writeState } from "./catalogue.ts";
import { closeWithoutMoving, openReaderDatabase, openWriterDatabase } from "./database.ts";
import { storeErrors } from "./errors.ts";
import { takeWriterLock } from "./lock.ts";
import { checkMigrations } from "./migrations.ts";
import { type Keys, providerOf } from "./sealer.ts";
import type { LogWriter } from "./sqlite_log.ts";
import { keepSums, walBytesOf } from "./sums.ts";

/**
 * Has another provider, or another key of it, wrap the store keys, in one transaction: before it the old one opens the
 * store, after it the new one. Nothing else of the store changes, whatever its size. A key that is not there yet is made.
 * Throws store.locked first, then store.newer_format, then keys.missing_key, keys.wrong_key, keys.bad_key_file or
 * keys.same_key; then nothing was changed. Gives the numbers of the store keys.
 */
export async function rewrapStore(directory: string, from: Keys, to: Keys, random: Random): Promise<number[]> {
  openReaderDatabase(directory).close(); // or there is no store
  const release = takeWriterLock(directory);
  try {
    const database = openWriterDatabase(directory);
    const left = walBytesOf(directory);
    let close = () => closeWithoutMoving(database);
    try {
      checkMigrations(database); // a newer store stays as it is
      const identity = readIdentity(database);
      if (!identity) throw storeErrors.error("not_a_store", `${directory} holds no store`, { place: directory });
      const { storeId } = identity;
      await refuseTaken(database, storeId, directory, to, random);
      const held = providerOf(from, directory, false, random);
      const keyring = await openKeyring(readWrappedKeys(database), held, storeId, random); // before the new key may be made
      const sums = keepSums(database, directory, { storeId, keyring }, left);
      close = sums.close;
      const taking = providerOf(to, directory, true, random);
      const keyIds = await wrapAnew(database, storeId, held, taking, random);
      // The rows as the old key wrapped them stand in the write-ahead log until it is cut.
      sums.checkpoint("TRUNCATE");
      return keyIds;
    } finally {
      close();
    }
  } finally {
    release();
  }
}

/** What an open log is wrapped anew with. */
interface Rewrapping {
  readonly log: LogWriter;
  readonly directory: string;
  readonly random: Random;
}

/**
 * The same of an open log, while commits and reads go on. What the old key wrapped goes out of the write-ahead log with
 * the next scrubbing. The state's generation stays, so that a compaction under way goes on.
 */
export async function rewrapInPlace(
  { log, directory, random }: Rewrapping,
  from: Keys,
  to: Keys,
): Promise<{ readonly keyIds: number[]; readonly provider: KeyProvider }> {
  const { database, sealer } = log;
  await refuseTaken(database, sealer.storeId, directory, to, random);
  const held = providerOf(from, directory, false, random);
  await openKeyring(readWrappedKeys(database), held, sealer.storeId, random);
  const provider = providerOf(to, directory, true, random);
  const keyIds = await wrapAnew(database, sealer.storeId, held, provider, random, () =>
    writeState(database, sealer, { ...readState(database, sealer), scrub: true }),
  );
  return { keyIds, provider };
}

/** One transaction, of what the new provider was seen to open. */
async function wrapAnew(
  database: Database,
  storeId: Uint8Array,
  held: KeyProvider,
  taking: KeyProvider,
  random: Random,
  beside = () => {},
): Promise<number[]> {
  const rows = await rewrapKeys(readWrappedKeys(database), held, taking, storeId);
  await openKeyring(rows, taking, storeId, random);
  const update = database.query("UPDATE data_keys SET provider = ?, wrapped = ?, key_check = ? WHERE key_id = ?");
  database
    .transaction(() => {
      for (const { keyId, provider, wrapped, check } of rows) update.run(provider, wrapped, check, keyId);
      beside();
    })
    .immediate();
  return rows.map(({ keyId }) => keyId);
}

/** Where the new key wraps already, also because an earlier try was cut off after it was done. No key is made here. */
async function refuseTaken(
  database: Database,
  storeId: Uint8Array,
  directory: string,
  to: Keys,
  random: Random,
): Promise<void> {
  if (!(await opensWith(database, storeId, directory, to, random))) return; // whoever takes it over says what is wrong with it
  const path = "path" in to ? to.path : to.name;
  const message = `the key in ${path} wraps the store's keys already; nothing was changed`;
  throw keyErrors.error("same_key", message, { place: path });
}

/** Which of some keys open the store of a directory that nobody need have open. Throws store.not_a_store. */
export async function openedBy<One extends Keys>(
  directory: string,
  keys: readonly One[],
  random: Random,
): Promise<One[]> {
  const database = openReaderDatabase(directory);
  try {
    const { storeId } = readIdentity(database)!;
    const opens = await Promise.all(keys.map((one) => opensWith(database, storeId, directory, one, random)));
    return keys.filter((_, i) => opens[i]);
  } finally {
    database.close();
  }
}

async function opensWith(
  database: Database,
  storeId: Uint8Array,
  directory: string,
  keys: Keys,
  random: Random,
): Promise<boolean> {
  try {
    await openKeyring(readWrappedKeys(database), providerOf(keys, directory, false, random), storeId, random);
    return true;
  } catch {
    return false;
  }
}
