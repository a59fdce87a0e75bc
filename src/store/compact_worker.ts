import { systemRandom } from "../base/random.ts";
import type { KeySettings } from "../keys/registry.ts";
import { namesOf } from "./catalogue.ts";
import { failureOf } from "./channel.ts";
import { type Hands, handsOf } from "./compact_work.ts";
import { openReaderDatabase } from "./database.ts";
import type { EmptyWork, PunctureWork } from "./erase_work.ts";
import { storeErrors } from "./errors.ts";
import { giveWay } from "./priority.ts";
import type { RetentionPolicy } from "./retention_rules.ts";
import { openSealer } from "./sealer.ts";
import { isFull } from "./sqlite_log.ts";

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
    | { readonly kind: "close" };
}

/** It works ahead of nobody. */
const NICENESS = 10;

let hands: Promise<Hands> | undefined;

self.onmessage = async ({ data }: MessageEvent<CompactMessage>) => {
  try {
    hands ??= openHands(data);
    self.postMessage({ result: await perform(await hands, data.work) });
  } catch (cause) {
    self.postMessage({
      failure: failureOf(
        isFull(cause) ? storeErrors.error("full", "the disk of the data directory is full", { cause }) : cause,
      ),
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
    case "close":
      return by.close();
  }
}

async function openHands({ directory, keys }: CompactMessage): Promise<Hands> {
  giveWay(NICENESS);
  const database = openReaderDatabase(directory);
  const sealer = (await openSealer(database, keys, directory, systemRandom))!;
  const names = namesOf(database, sealer);
  const shop = { directory, database, names, sealer, random: systemRandom, pause: async () => {} };
  return { ...handsOf(shop), close: async () => database.close() };
}
