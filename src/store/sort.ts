import { type Batch, type Column, columnNamed } from "../contract/batch.ts";
import { entityKeys } from "./select.ts";

/** All rows of the batches as one batch of their common contract. */
export function concatBatches(batches: readonly Batch[]): Batch {
  const first = batches[0]!;
  if (batches.length === 1) return first;
  const length = batches.reduce((sum, batch) => sum + batch.length, 0);
  const columns = first.contract.fields.map((_, c) =>
    concatColumns(
      batches.map((batch) => batch.columns[c]!),
      batches.map((batch) => batch.length),
      length,
    ),
  );
  return { contract: first.contract, length, columns };
}

function concatColumns(parts: readonly Column[], lengths: readonly number[], length: number): Column {
  const kind = parts.some((part) => part.kind === "bigint") ? "bigint" : parts[0]!.kind;
  if (kind === "text") return concatTexts(parts as (Column & { kind: "text" })[], lengths, length);
  if (kind === "bytes") return { kind, values: parts.flatMap((part) => (part as Column & { kind: "bytes" }).values) };
  const numeric = parts as (Column & { kind: "number" | "bigint" })[];
  const valid = concatValidity(numeric, lengths, length);
  if (kind === "bigint") {
    const values = new BigInt64Array(length);
    let at = 0;
    numeric.forEach((part, p) => {
      for (let i = 0; i < lengths[p]!; i++) values[at++] = BigInt(part.values[i]!);
    });
    return valid ? { kind, values, valid } : { kind, values };
  }
  const narrow = numeric.every((part) => part.values instanceof Int32Array);
  const values = narrow ? new Int32Array(length) : new Float64Array(length);
  let at = 0;
  numeric.forEach((part, p) => {
    values.set(part.values.subarray(0, lengths[p]!) as Int32Array, at);
    at += lengths[p]!;
  });
  return valid ? { kind: "number", values, valid } : { kind: "number", values };
}

function concatValidity(
  parts: readonly (Column & { kind: "number" | "bigint" })[],
  lengths: readonly number[],
  length: number,
): Uint8Array | undefined {
  if (parts.every((part) => part.valid === undefined)) return undefined;
  const valid = new Uint8Array(length).fill(1);
  let at = 0;
  parts.forEach((part, p) => {
    if (part.valid) valid.set(part.valid.subarray(0, lengths[p]!), at);
    at += lengths[p]!;
  });
  return valid;
}

function concatTexts(
  parts: readonly (Column & { kind: "text" })[],
  lengths: readonly number[],
  length: number,
): Column {
  const codes = new Int32Array(length);
  const dictionary: string[] = [];
  const known = new Map<string, number>();
  let at = 0;
  parts.forEach((part, p) => {
    const renamed = new Int32Array(part.dictionary.length).fill(-1);
    for (let i = 0; i < lengths[p]!; i++) {
      const code = part.codes[i]!;
      if (code < 0) {
        codes[at++] = -1;
        continue;
      }
      let next = renamed[code]!;
      if (next < 0) {
        const text = part.dictionary[code]!;
        next = known.get(text) ?? dictionary.push(text) - 1;
        known.set(text, next);
        renamed[code] = next;
      }
      codes[at++] = next;
    }
  });
  return { kind: "text", codes, dictionary };
}

export interface SortedRows {
  /** Positions of the rows in the batch, in the order of segments. */
  readonly order: Int32Array;
  /** The distinct entity keys in order; a null entity is the empty text. */
  readonly entities: readonly string[];
  /** Where each entity's rows begin in `order`, and the end. */
  readonly starts: Int32Array;
}

/**
 * The order of rows in a segment: entity key, event time, sequence (known time follows from it). The rows come in
 * order of sequence. Counts on entity ranks, then sorts inside an entity only where its times are not in order.
 */
export function sortRows(batch: Batch): SortedRows {
  const { length } = batch;
  const ranks = new Int32Array(length);
  const byKey = new Map<string, number>();
  const keys: string[] = [];
  if (batch.contract.entity.length === 0) {
    byKey.set("", 0);
    keys.push("");
  } else {
    const keyAt = entityKeys(batch);
    for (let i = 0; i < length; i++) {
      const key = keyAt(i) ?? "";
      let code = byKey.get(key);
      if (code === undefined) {
        code = keys.push(key) - 1;
        byKey.set(key, code);
      }
      ranks[i] = code;
    }
  }
  const entities = [...keys].sort();
  const rankOf = new Int32Array(keys.length);
  entities.forEach((key, rank) => {
    rankOf[byKey.get(key)!] = rank;
  });
  const starts = new Int32Array(entities.length + 1);
  for (let i = 0; i < length; i++) starts[rankOf[ranks[i]!]! + 1]!++;
  for (let e = 0; e < entities.length; e++) starts[e + 1]! += starts[e]!;
  const next = starts.slice();
  const order = new Int32Array(length);
  for (let i = 0; i < length; i++) order[next[rankOf[ranks[i]!]!]!++] = i;
  sortByTime(batch, order, starts);
  return { order, entities, starts };
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
  const times = new Float64Array(batch.length);
  for (let i = 0; i < batch.length; i++) {
    times[i] = column.valid && column.valid[i] === 0 ? NO_TIME : Number(column.values[i]!);
  }
  return times;
}
