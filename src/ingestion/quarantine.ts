import type { Row } from "../base/row.ts";
import type { Micros } from "../base/time.ts";
import { rowAt } from "../contract/batch.ts";
import { quarantineStream } from "../contract/streams.ts";
import type { Store } from "../store/port.ts";

/** Rejected rows of one dataset that have code, rule and field in common. */
export interface QuarantineCount {
  readonly dataset: string;
  readonly code: string;
  readonly rule: string;
  /** Null where the record as a whole is wrong. */
  readonly field: string | null;
  readonly rows: number;
  readonly last: Micros;
}

/** One rejected row: the sequence of its page in landing/<source>, and its place in that page. */
export interface QuarantineExample {
  readonly dataset: string;
  readonly source: string;
  readonly landing_sequence: number;
  readonly index: number;
  readonly code: string;
  readonly message: string;
  readonly record: string;
  readonly received_at: Micros;
}

/** Counts of everything in quarantine, most first, and the newest `examples` rows of each dataset, newest first. */
export async function listQuarantine(
  store: Store,
  datasets: readonly string[],
  examples: number,
): Promise<{ readonly counts: readonly QuarantineCount[]; readonly examples: readonly QuarantineExample[] }> {
  const counts = new Map<string, { -readonly [Key in keyof QuarantineCount]: QuarantineCount[Key] }>();
  const newest: QuarantineExample[] = [];
  for (const dataset of datasets) {
    let kept: { sequence: number; row: Row }[] = [];
    for await (const { batch, sequences } of store.scan(quarantineStream(dataset))) {
      for (let i = 0; i < batch.length; i++) {
        const row = rowAt(batch, i);
        const [code, rule, field] = [row.code as string, row.rule as string, row.field as string | null];
        const key = JSON.stringify([dataset, code, rule, field]);
        const count = counts.get(key) ?? { dataset, code, rule, field, rows: 0, last: 0 };
        counts.set(key, count);
        count.rows++;
        count.last = Math.max(count.last, row.received_at as Micros);
        kept.push({ sequence: sequences[i]!, row });
      }
      kept = kept.sort((a, b) => b.sequence - a.sequence).slice(0, examples);
    }
    newest.push(...kept.map(({ row }) => exampleOf(dataset, row)));
  }
  return { counts: [...counts.values()].sort((a, b) => b.rows - a.rows), examples: newest };
}

function exampleOf(dataset: string, row: Row): QuarantineExample {
  const { source, landing_sequence, index, code, message, record, received_at } = row;
  return { dataset, source, landing_sequence, index, code, message, record, received_at } as QuarantineExample;
}
