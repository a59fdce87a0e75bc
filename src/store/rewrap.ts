import type { Random } from "../base/random.ts";
import { keyErrors } from "../keys/errors.ts";
import { openKeyring, rewrapKeys } from "../keys/keyring.ts";
import { readIdentity, readWrappedKeys } from "./catalogue.ts";
import { closeWithoutMoving, openReaderDatabase, openWriterDatabase } from "./database.ts";
import { storeErrors } from "./errors.ts";
import { takeWriterLock } from "./lock.ts";
import { checkMigrations } from "./migrations.ts";
import { type Keys, providerOf } from "./sealer.ts";
import { keepSums, walBytesOf } from "./sums.ts";

/**
 * Has another provider, or another key of it, wrap the store keys, in one transaction: before it the old one opens the
 * store, after it the new one. Nothing else of the store changes, whatever its size. A key that is not there yet is made.
 * Throws store.locked first, then store.newer_format, then keys.missing_key, keys.wrong_key or keys.bad_key_file; then nothing was changed. Gives the
 * numbers of the store keys.
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
      const held = providerOf(from, directory, false, random);
      const keyring = await openKeyring(readWrappedKeys(database), held, storeId, random); // before the new key may be made
      const sums = keepSums(database, directory, { storeId, keyring }, left);
      close = sums.close;
      const taking = providerOf(to, directory, true, random);
      if (await opens(readWrappedKeys(database), taking, storeId, random)) throw sameKey(to);
      const rows = await rewrapKeys(readWrappedKeys(database), held, taking, storeId);
      await openKeyring(rows, taking, storeId, random);
      const update = database.query("UPDATE data_keys SET provider = ?, wrapped = ?, key_check = ? WHERE key_id = ?");
      database.transaction(() => {
        for (const { keyId, provider, wrapped, check } of rows) update.run(provider, wrapped, check, keyId);
      })();
      // The rows as the old key wrapped them stand in the write-ahead log until it is cut.
      sums.checkpoint("TRUNCATE");
      return rows.map(({ keyId }) => keyId);
    } finally {
      close();
    }
  } finally {
    release();
  }
}

async function opens(...given: Parameters<typeof openKeyring>): Promise<boolean> {
  return openKeyring(...given).then(
    () => true,
    () => false,
  );
}

function sameKey(to: Keys): Error {
  const path = "path" in to ? to.path : to.name;
  const message = `the key in ${path} wraps the store's keys already; nothing was changed`;
  const fix = "Name a file that is not there yet: a new key is made in it.";
  return keyErrors.error("same_key", message, { place: path, fix });
}
