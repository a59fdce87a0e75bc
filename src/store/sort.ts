import { type Batch, type Column, columnNamed, usedTexts } from "../contract/batch.ts";
import { entityKey, entityKeys } from "./select.ts";

export interface SortedRows {
  /** Positions of the rows in the batch, in the order of segments. */
  readonly order: Int32Array;
  /** The distinct entity keys in order; a null entity is the empty text. */
  readonly entities: readonly string[];
  /** Where each entity's rows begin in `order`, and the end. */
  readonly starts: Int32Array;
}

/**
 * The order of rows in a segment: entity key, event time, sequence (known time follows from it). Rows of
 * one entity and event time come in order of sequence. Counts on entity ranks, then sorts inside an entity only where its times are not in order.
 */
export function sortRows(batch: Batch): SortedRows {
  const { length } = batch;
  const { codes, byKey } = entityCodes(batch);
  const entities = [...byKey.keys()].sort();
  const rankOf = new Int32Array(byKey.size);
  entities.forEach((key, rank) => {
    rankOf[byKey.get(key)!] = rank;
  });
  const starts = new Int32Array(entities.length + 1);
  for (let i = 0; i < length; i++) starts[rankOf[codes[i]!]! + 1]!++;
  for (let e = 0; e < entities.length; e++) starts[e + 1]! += starts[e]!;
  const next = starts.slice();
  const order = new Int32Array(length);
  for (let i = 0; i < length; i++) order[next[rankOf[codes[i]!]!]!++] = i;
  sortByTime(batch, order, starts);
  return { order, entities, starts };
}

/** Each row's entity as a number, and which key has which. */
function entityCodes(batch: Batch): { codes: Int32Array; byKey: ReadonlyMap<string, number> } {
  const { length, contract } = batch;
  const codes = new Int32Array(length);
  const byKey = new Map<string, number>();
  if (contract.entity.length === 0) return { codes, byKey: byKey.set("", 0) };
  const codeOf = (key: string) => {
    const known = byKey.get(key) ?? byKey.size;
    if (known === byKey.size) byKey.set(key, known);
    return known;
  };
  const only = contract.entity.length === 1 ? columnNamed(batch, contract.entity[0]!) : undefined;
  if (only?.kind === "text") {
    // Keys are made and looked up once a text, not once a row.
    const used = usedTexts(only, length);
    const own = Int32Array.from(used.dictionary, (text) => codeOf(entityKey([text])!));
    for (let i = 0; i < length; i++) {
      const code = used.codes[i]!;
      codes[i] = code < 0 ? codeOf("") : own[code]!;
    }
    return { codes, byKey };
  }
  const keyAt = entityKeys(batch);
  for (let i = 0; i < length; i++) codes[i] = codeOf(keyAt(i) ?? "");
  return { codes, byKey };
}

function sortByTime(batch: Batch, order: Int32Array, starts: Int32Array): void {
  const { eventTime } = batch.contract;
  if (eventTime === undefined) return;
  const times = timesOf(batch, eventTime);
  for (let e = 0; e + 1 < starts.length; e++) {
    const group = order.subarray(starts[e]!, starts[e + 1]!);
    let sorted = true;
    for (let i = 1; i < group.length && sorted; i++) sorted = times[group[i - 1]!]! <= times[group[i]!]!;
    if (!sorted) group.sort((a, b) => times[a]! - times[b]! || a - b);
  }
}

/** A row without an event time stands first: no as-of read and no time range finds it. */
export const NO_TIME = -Number.MAX_VALUE;

/** Event times by row. */
export function timesOf(batch: Batch, field: string): Float64Array {
  const column = columnNamed(batch, field) as Column & { kind: "number" | "bigint" };
  if (column.values instanceof Float64Array && !column.valid) return column.values;
  const times = new Float64Array(batch.length);
  for (let i = 0; i < batch.length; i++) {
    times[i] = column.valid && column.valid[i] === 0 ? NO_TIME : Number(column.values[i]!);
  }
  return times;
}
