import type { Database } from "bun:sqlite";
import { type PendingErasure, readState, readWrappedKeys, type Sealer, writeState } from "./catalogue.ts";
import type { WriteChannel } from "./channel.ts";
import { storeErrors } from "./errors.ts";
import type { LogReader } from "./log_reader.ts";

/**
 * What an operator asked a running server for goes on after a stop: an erasure stands in the catalogue's state, sealed, from
 * when it is taken on until it is done; a rotation is one as long as there are two store keys.
 */
export interface PendingWork {
  erasures(): readonly PendingErasure[];
  isRotating(): boolean;
  /** Takes an erasure on. */
  pend(erasure: PendingErasure): Promise<void>;
  /** It is done, or refused: its entity's name goes out of the database. */
  done(erasure: PendingErasure): Promise<void>;
  /** What is under way ends at its next safe point with store.interrupted. For whoever is about to close the store. */
  interrupt(): Promise<void>;
}

export function pendingWork({ database }: LogReader, sealer: Sealer, writable: () => WriteChannel): PendingWork {
  return {
    erasures: () => readState(database, sealer).erasing ?? [],
    isRotating: () => readWrappedKeys(database).length > 1,
    pend: async (erasure) => writable().pend(erasure, "begun"),
    done: async (erasure) => writable().pend(erasure, "done"),
    interrupt: async () => writable().interrupt(),
  };
}

export type Pending = "begun" | "done";

/** The state's generation stays, so that a compaction under way goes on. */
export function notePending(
  { database, sealer }: { readonly database: Database; readonly sealer: Sealer },
  erasure: PendingErasure,
  what: Pending,
): void {
  const text = textOf(erasure);
  database
    .transaction(() => {
      const { erasing = [], ...state } = readState(database, sealer);
      const others = erasing.filter((one) => textOf(one) !== text);
      const left = what === "begun" ? [...others, erasure] : others;
      const scrub = what === "done" ? { scrub: true } : {};
      writeState(database, sealer, { ...state, ...(left.length > 0 ? { erasing: left } : {}), ...scrub });
    })
    .immediate();
}

const textOf = ({ entity, ahead }: PendingErasure): string => JSON.stringify([Object.entries(entity).sort(), ahead]);

export const interrupted = (): Error =>
  storeErrors.error("interrupted", "the server stops, and goes on with it at its next start");

export const isInterruption = (cause: unknown): boolean =>
  (cause as { code?: unknown } | null)?.code === `${storeErrors.prefix}.interrupted`;
