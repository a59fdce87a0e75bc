import { systemRandom } from "../base/random.ts";
import type { KeySettings } from "../keys/registry.ts";
import { namesOf, refreshKeys } from "./catalogue.ts";
import { failureOf } from "./channel.ts";
import { type Hands, handsOf } from "./compact_work.ts";
import { openReaderDatabase } from "./database.ts";
import type { EmptyWork, PunctureWork } from "./erase_work.ts";
import { fullDisk, isFull } from "./full.ts";
import { giveWay } from "./priority.ts";
import type { RetentionPolicy } from "./retention_rules.ts";
import { openSealer, providerOf } from "./sealer.ts";
import type { SegmentInfo } from "./segment_info.ts";

/**
 * The compaction thread: the entry file of a Worker that opens, sorts, seals and writes for the log thread. It reads the
 * catalogue through a handle of its own and changes nothing of it. Ended by the log thread.
 */
declare const self: Worker;

export interface CompactMessage {
  readonly directory: string;
  readonly keys: KeySettings;
  readonly work:
    | { readonly kind: "pack"; readonly upTo: number; readonly statementContractId: number }
    | { readonly kind: "merge"; readonly policy: RetentionPolicy | undefined; readonly without: readonly string[] }
    | { readonly kind: "empty"; readonly work: EmptyWork }
    | { readonly kind: "puncture"; readonly work: PunctureWork }
    | { readonly kind: "reseal"; readonly info: SegmentInfo }
    | { readonly kind: "close" };
}

/** It works ahead of nobody. */
const NICENESS = 10;

/** The work, and the keys that it is done with as they are now: a rotation may have begun since the last. */
interface Bench {
  readonly hands: Hands;
  refresh(keys: KeySettings): Promise<void>;
}

let bench: Promise<Bench> | undefined;

self.onmessage = async ({ data }: MessageEvent<CompactMessage>) => {
  try {
    bench ??= openBench(data);
    const { hands, refresh } = await bench;
    if (data.work.kind !== "close") await refresh(data.keys);
    self.postMessage({ result: await perform(hands, data.work) });
  } catch (cause) {
    self.postMessage({
      failure: failureOf(isFull(cause) ? fullDisk(cause) : cause),
    });
  }
};

async function perform(by: Hands, work: CompactMessage["work"]): Promise<unknown> {
  switch (work.kind) {
    case "pack":
      return by.packTail(work.upTo, work.statementContractId);
    case "merge":
      return by.mergeNext(work.policy, work.without);
    case "empty":
      return by.empty(work.work);
    case "puncture":
      return by.puncture(work.work);
    case "reseal":
      return by.reseal(work.info);
    case "close":
      return by.close();
  }
}

async function openBench({ directory, keys }: CompactMessage): Promise<Bench> {
  giveWay(NICENESS);
  const database = openReaderDatabase(directory);
  const sealer = (await openSealer(database, keys, directory, systemRandom))!;
  const names = namesOf(database, sealer);
  const shop = { directory, database, names, sealer, random: systemRandom, pause: async () => {} };
  const hands = { ...handsOf(shop), close: async () => database.close() };
  let { path } = keys;
  const refresh = async (now: KeySettings) => {
    if (now.path !== path) sealer.keyring.trust(providerOf(now, directory, false, systemRandom));
    path = now.path;
    await refreshKeys(database, sealer);
  };
  return { hands, refresh };
}
