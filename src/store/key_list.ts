import type { Micros } from "../base/time.ts";
import { readWrappedKeys } from "./catalogue.ts";
import { retiredIn } from "./rotate_segment.ts";
import { readSegmentInfos, type SegmentInfo } from "./segment_info.ts";
import type { LogStore } from "./store.ts";
import { readStreamKeys } from "./stream_keys.ts";

export interface KeyList {
  readonly store_keys: readonly { readonly key_id: number; readonly provider: string; readonly current: boolean }[];
  readonly stream_keys: readonly StreamKeyFacts[];
  /** Segments that a rotation has still to seal again, and those directly under a store key, as older versions wrote. */
  readonly retired: { readonly segments: number; readonly bytes: number };
}

export interface StreamKeyFacts {
  readonly key_id: number;
  /** Null where the row does not open. */
  readonly stream: string | null;
  readonly from: Micros | null;
  readonly to: Micros | null;
  readonly current: boolean;
  readonly segments: number;
  readonly bytes: number;
}

/** The keys there are and what is under them; of no key more than its number. */
export function listKeys({ reader, sealer }: LogStore): KeyList {
  const { database } = reader;
  const { currentKeyId } = sealer.keyring;
  const infos = readSegmentInfos(database, sealer);
  const under = Map.groupBy(infos, ({ keyId }) => keyId);
  const rows = readStreamKeys(database, sealer);
  const sizeOf = (list: readonly SegmentInfo[]) => ({
    segments: list.length,
    bytes: list.reduce((sum, { bytes }) => sum + bytes, 0),
  });
  return {
    store_keys: readWrappedKeys(database).map(({ keyId, provider }) => ({
      key_id: keyId,
      provider,
      current: keyId === currentKeyId,
    })),
    stream_keys: rows.map(({ keyId, sealed, key }) => ({
      key_id: keyId,
      stream: key?.stream ?? null,
      from: key?.from ?? null,
      to: key?.to ?? null,
      current: sealed[0] === currentKeyId,
      ...sizeOf(under.get(keyId) ?? []),
    })),
    retired: sizeOf(infos.filter(retiredIn(rows, sealer))),
  };
}
