import type { Database } from "bun:sqlite";
import type { Random } from "../base/random.ts";
import { openKeyring } from "../keys/keyring.ts";
import type { KeyProvider } from "../keys/provider.ts";
import { type KeySettings, keyProvider } from "../keys/registry.ts";
import { readIdentity, readWrappedKeys, type Sealer } from "./catalogue.ts";

/** Settings, from which each thread makes its own provider, or a provider itself (one thread only). */
export type Keys = KeySettings | KeyProvider;

export function providerOf(keys: Keys, directory: string, create: boolean, random: Random): KeyProvider {
  return "wrap" in keys ? keys : keyProvider(keys, directory, create, random);
}

/**
 * The keys of the store that a database holds, unwrapped for this thread; undefined where it holds none. The keys of
 * streams are learnt with the segments that name them. Throws keys.missing_key, keys.bad_key_file or keys.wrong_key.
 */
export async function openSealer(
  database: Database,
  keys: Keys,
  directory: string,
  random: Random,
): Promise<Sealer | undefined> {
  const identity = readIdentity(database);
  if (!identity) return undefined;
  const { storeId } = identity;
  const provider = providerOf(keys, directory, false, random);
  const period = "wrap" in keys ? undefined : keys.period;
  return { storeId, keyring: await openKeyring(readWrappedKeys(database), provider, storeId, random, period) };
}
