import type { Value } from "../base/row.ts";
import { rowsOf, valueAt } from "../contract/batch.ts";
import { CONTROL, curatedStream, landingStream } from "../contract/streams.ts";
import type { Store } from "../store/port.ts";
import { FingerprintTable, fingerprinter } from "./fingerprints.ts";
import type { DatasetPlan, SourcePlan } from "./plan.ts";

/** What is known of one dataset's records: enough to tell new, duplicate and corrected apart. */
export interface DatasetState {
  readonly table: FingerprintTable;
  /** Record id (as text of its four words) -> entity values, only where a correction can move the entity. */
  readonly entities: Map<string, readonly Value[]>;
}

export interface SourceState {
  /** The last committed cursor. */
  cursor: string;
  /** The sequence that the next landing row will have. */
  nextLanding: number;
  /** Whether `end_of_input` is committed. */
  ended: boolean;
  /** Set where somebody else may have committed another cursor: it is looked up before the next page. */
  mayHaveMoved?: boolean;
}

/** All that ingestion remembers between pages. It is a fold over the log: throwing it away costs time, never truth. */
export interface IngestState {
  readonly datasets: Map<string, DatasetState>;
  readonly sources: Map<string, SourceState>;
  /** The sources that had ended when it was last asked; undefined where it must be asked anew. */
  ended: Promise<ReadonlySet<string>> | undefined;
  /** Pages are judged and committed one at a time, because sources may share a dataset. */
  turn: Promise<unknown>;
}

export function createIngestState(): IngestState {
  return { datasets: new Map(), sources: new Map(), ended: undefined, turn: Promise.resolve() };
}

export function createDatasetState(): DatasetState {
  return { table: new FingerprintTable(), entities: new Map() };
}

/** The record id's words as a short key. */
export const entityKey = (words: Uint32Array): string => `${words[0]},${words[1]},${words[2]},${words[3]}`;

/** Folds what the plan's datasets hold, where it is not yet known. */
export async function foldIngestState(store: Store, plan: SourcePlan, state: IngestState): Promise<void> {
  for (const { dataset } of plan.routes) {
    if (state.datasets.has(dataset.name)) continue;
    state.datasets.set(dataset.name, await foldDataset(store, dataset));
  }
}

async function foldDataset(store: Store, plan: DatasetPlan): Promise<DatasetState> {
  const folded = createDatasetState();
  if (plan.identity === undefined) return folded;
  const digests = fingerprinter(plan.identity);
  const { fields } = plan.contract;
  const newest = new Map<string, number>();
  for await (const stored of store.scan(curatedStream(plan.name))) {
    const { batch } = stored;
    // Rows written under an earlier version of the contract are read by field name; a field they lack has its default.
    const at = fields.map((field) => batch.contract.fields.findIndex((old) => old.name === field.name));
    for (let i = 0; i < batch.length; i++) {
      const values = fields.map((field, f) =>
        at[f]! < 0 ? (field.default ?? null) : valueAt(batch.columns[at[f]!]!, batch.contract.fields[at[f]!]!.type, i),
      );
      const words = digests.digest(values);
      const time = stored.tombstones[i] === 1 ? Number.NaN : timeOf(plan, values);
      folded.table.put(words, time, stored.sequences[i]!);
      if (plan.movable.length === 0) continue;
      const key = entityKey(words);
      if ((newest.get(key) ?? -1) > stored.sequences[i]!) continue;
      newest.set(key, stored.sequences[i]!);
      folded.entities.set(
        key,
        plan.movable.map((position) => values[position]!),
      );
    }
  }
  return folded;
}

/** The event time, or 0 for static rows, which have none. */
export function timeOf(plan: DatasetPlan, values: readonly Value[]): number {
  return plan.eventTime < 0 ? 0 : (values[plan.eventTime] as number);
}

/** The sequence after the last landing row of the source: sequences are gapless from 0. */
export async function nextLandingSequence(store: Store, source: string): Promise<number> {
  const stream = landingStream(source);
  return (await store.streams()).find((info) => info.stream === stream)?.rows ?? 0;
}

/** The sources that came to an end, read once for all of them and kept until something fails. */
export function endedSources(store: Store, state: IngestState): Promise<ReadonlySet<string>> {
  state.ended ??= readEnded(store);
  return state.ended;
}

async function readEnded(store: Store): Promise<ReadonlySet<string>> {
  const ended = new Set<string>();
  for await (const { batch } of store.scan(CONTROL, { columns: ["kind", "subject"] })) {
    for (const { kind, subject } of rowsOf(batch)) if (kind === "end_of_input") ended.add(subject as string);
  }
  return ended;
}
