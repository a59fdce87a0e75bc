import { keyText } from "../base/row.ts";
import { columnNamed, valueAt } from "../contract/batch.ts";
import type { Contract } from "../contract/contract.ts";
import { storeErrors } from "./errors.ts";
import type { Store, StoredRows } from "./port.ts";

/** Records whose latest version is looked for at once: each takes about 150 bytes of memory meanwhile. */
const RECORDS_MAX = 4_000_000;

/** Which rows of a stream are the latest version of their record. */
export interface LatestRows {
  isLatest(sequence: number): boolean;
}

/** The fields that tell records of a contract apart; none where every row is a record of its own. */
function identityOf({ recordId, fields }: Contract): readonly string[] {
  if (recordId === "position") return [];
  return recordId === "content" ? fields.map(({ name }) => name) : recordId;
}

/**
 * Finds the latest versions as known by commit `upTo`: of each record id the row with the greatest sequence, unless that
 * withdraws the record. Reads only the fields of the record id. Throws `store.export_too_large` beyond the bound.
 */
export async function latestRows(
  store: Store,
  stream: string,
  contracts: readonly Contract[],
  rows: number,
  upTo: number,
): Promise<LatestRows> {
  const superseded = new Uint8Array(Math.ceil(rows / 8));
  const mark = (sequence: number) => {
    superseded[sequence >> 3]! |= 1 << (sequence & 7);
  };
  const newest = new Map<string, number>();
  const columns = [...new Set(contracts.flatMap(identityOf))];
  for await (const stored of store.scan(stream, { columns, upTo })) {
    const key = keyReader(stored);
    for (let row = 0; row < stored.batch.length; row++) {
      const sequence = stored.sequences[row]!;
      if (stored.tombstones[row] === 1) mark(sequence);
      if (key === undefined) continue;
      const id = key(row);
      const known = newest.get(id);
      if (known === undefined || known < sequence) newest.set(id, sequence);
      if (known !== undefined) mark(Math.min(known, sequence));
    }
    if (newest.size > RECORDS_MAX) {
      const message = `${stream} has more than ${RECORDS_MAX} records`;
      throw storeErrors.error("export_too_large", message, { place: stream });
    }
  }
  return { isLatest: (sequence) => (superseded[sequence >> 3]! & (1 << (sequence & 7))) === 0 };
}

function keyReader({ batch }: StoredRows): ((row: number) => string) | undefined {
  const names = identityOf(batch.contract);
  if (names.length === 0) return undefined;
  const parts = names.map((name) => {
    const column = columnNamed(batch, name);
    const { type } = batch.contract.fields.find((field) => field.name === name)!;
    return (row: number) => valueAt(column, type, row);
  });
  return (row) => keyText(parts.map((part) => part(row)));
}
