import { sha256HexOf } from "../base/digest.ts";
import { keyText, type Row, type Value } from "../base/row.ts";
import { rowAt } from "../contract/batch.ts";
import type { Contract } from "../contract/contract.ts";
import type { Store } from "../store/port.ts";

/** Fields that say when or in which run a row was made; two runs of the same input differ in them. */
const RUN_FIELDS: ReadonlySet<string> = new Set(["received_at", "at", "made_at", "position", "score_id"]);

export interface StreamContent {
  readonly stream: string;
  /** Rows that count: the latest version of each record, without tombstones. */
  readonly rows: number;
  readonly digest: string;
}

/**
 * The digest of what a stream holds, as two runs of the same input must agree on it: the latest version of each
 * record, contract columns only, in one order, without known times, sequences or run fields.
 */
export async function streamContent(store: Store, stream: string): Promise<StreamContent> {
  const latest = new Map<string, { sequence: number; text: string | null }>();
  for await (const stored of store.scan(stream)) {
    const { contract } = stored.batch;
    for (let i = 0; i < stored.batch.length; i++) {
      const row = rowAt(stored.batch, i);
      const sequence = stored.sequences[i]!;
      const key = recordKey(contract, row, sequence);
      const known = latest.get(key);
      if (known && known.sequence > sequence) continue;
      latest.set(key, { sequence, text: stored.tombstones[i] === 1 ? null : rowText(contract, row) });
    }
  }
  const texts = [...latest.values()].flatMap((version) => (version.text === null ? [] : [version.text])).sort();
  return { stream, rows: texts.length, digest: sha256HexOf(texts.map((text) => `${text}\n`)) };
}

function recordKey(contract: Contract, row: Row, sequence: number): string {
  if (contract.recordId === "position") return String(sequence);
  return contract.recordId === "content"
    ? rowText(contract, row)
    : keyText(contract.recordId.map((name) => row[name]!));
}

function rowText(contract: Contract, row: Row): string {
  return contract.fields.map((field) => (RUN_FIELDS.has(field.name) ? "" : textOf(row[field.name]!))).join("|");
}

function textOf(value: Value): string {
  if (value instanceof Uint8Array) return Buffer.from(value).toString("base64");
  return typeof value === "string" ? JSON.stringify(value) : String(value);
}
