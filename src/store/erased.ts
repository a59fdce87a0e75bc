import { toHex } from "../base/bytes.ts";
import { hmac } from "../base/digest.ts";
import type { Row, Value } from "../base/row.ts";
import { type Batch, rowsOf } from "../contract/batch.ts";
import { ERASURES } from "../contract/streams.ts";
import { readSecret, type Sealer } from "./catalogue.ts";
import type { LogReader } from "./log_reader.ts";
import type { Store } from "./port.ts";

/** What the stream `erasures` says of one row. */
export interface KeptRow {
  /** The row's leaf as it was committed. */
  readonly leaf: Uint8Array;
  /** The leaf, under `salt`, of what stands there now; undefined where the place is empty. */
  readonly replacement: Uint8Array | undefined;
  readonly salt: Uint8Array | undefined;
  readonly tombstone: boolean;
}

/** By stream and sequence; the parts come in order. Takes about 250 bytes of memory for each row that was ever erased. */
export function keptRows(parts: Iterable<{ readonly batch: Batch }>): Map<string, Map<number, KeptRow>> {
  const kept = new Map<string, Map<number, KeptRow>>();
  for (const { batch } of parts) {
    for (const row of rowsOf(batch)) {
      if (row.kind !== "row") continue;
      const rows = kept.get(row.stream as string) ?? new Map<number, KeptRow>();
      kept.set(row.stream as string, rows);
      rows.set(row.sequence as number, {
        leaf: row.leaf as Uint8Array,
        replacement: (row.replacement as Uint8Array | null) ?? undefined,
        salt: (row.salt as Uint8Array | null) ?? undefined,
        tombstone: row.tombstone as boolean,
      });
    }
  }
  return kept;
}

/** Which entities were erased, as far as a store can say that without holding them. */
export interface ErasedEntities {
  /** The sets of fields that name erased entities, each in order. */
  readonly fieldSets: readonly (readonly string[])[];
  /** Whether the entity with these values, in the order of the set, was erased. */
  has(fields: readonly string[], values: readonly Value[]): boolean;
}

/** Whether a row names an erased entity: with all fields of one. */
export const namesErased = ({ fieldSets, has }: ErasedEntities, row: Row): boolean =>
  fieldSets.some((fields) => {
    const values = fields.map((field) => row[field] ?? null);
    return has(fields, values);
  });

/** Digests that are remembered at most: a page asks for the same few again and again. */
const REMEMBERED_MAX = 65_536;

/**
 * The digest that an erased entity is known by: HMAC-SHA-256 under a key that is derived from the store's salt key. Who
 * holds the store's keys can test guesses against it: that is how redelivery is told.
 */
export function entityDigest(key: Uint8Array, fields: readonly string[], values: readonly string[]): Uint8Array {
  return hmac(key, JSON.stringify(fields.map((field, i) => [field, values[i]])));
}

export const erasureKey = (reader: LogReader, sealer: Sealer): Uint8Array =>
  hmac(readSecret(reader.database, sealer, "salt"), "mlpe/erasure/1");

/** The text that a value is compared by: a key part's text, a whole number's digits. */
export const entityText = (value: Value): string | undefined =>
  value === null || value instanceof Uint8Array ? undefined : String(value);

/** Folds the stream `erasures`; undefined where nothing was ever erased. */
export async function erasedEntities(
  store: Store & { readonly reader: LogReader; readonly sealer: Sealer },
): Promise<ErasedEntities | undefined> {
  const sets = new Map<string, readonly string[]>();
  const digests = new Set<string>();
  const columns = ["kind", "fields", "digest"];
  for await (const { batch } of store.scan(ERASURES, { columns })) {
    for (const { kind, fields, digest } of rowsOf(batch)) {
      if (kind !== "entity") continue;
      sets.set(fields as string, JSON.parse(fields as string) as string[]);
      digests.add(toHex(digest as Uint8Array));
    }
  }
  if (digests.size === 0) return undefined;
  const key = erasureKey(store.reader, store.sealer);
  const remembered = new Map<string, boolean>();
  return {
    fieldSets: [...sets.values()],
    has(fields, values) {
      const texts = values.map(entityText);
      if (texts.includes(undefined)) return false;
      const known = JSON.stringify([fields, texts]);
      let found = remembered.get(known);
      if (found === undefined) {
        found = digests.has(toHex(entityDigest(key, fields, texts as string[])));
        if (remembered.size >= REMEMBERED_MAX) remembered.clear();
        remembered.set(known, found);
      }
      return found;
    },
  };
}
