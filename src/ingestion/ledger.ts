import { rowsOf } from "../contract/batch.ts";
import type { RouteCounts } from "../contract/page.ts";
import { curatedStream, ERASURES, LEDGER, quarantineStream, RETENTION } from "../contract/streams.ts";
import type { Store } from "../store/port.ts";
import type { SourcePlan } from "./plan.ts";

/** The sums of one source and route over all commits. */
export interface LedgerLine extends RouteCounts {
  readonly source: string;
  readonly dataset: string;
  readonly reasons: Readonly<Record<string, number>>;
}

export interface LedgerReport {
  readonly ok: boolean;
  readonly lines: readonly LedgerLine[];
  /** One sentence for each number that does not add up. */
  readonly problems: readonly string[];
}

const PARTS = ["curated", "corrected", "duplicate", "quarantined", "dropped"] as const;

/**
 * Proves received = curated + corrected + duplicate + quarantined + dropped for every commit, source and route, that the
 * drop reasons add up, and that the streams hold as many curated and quarantined rows as the ledger says, with those that
 * were erased or dropped by retention; where the ledger's own beginning was dropped, the latter can't be told.
 */
export async function verifyLedger(store: Store, plans: readonly SourcePlan[]): Promise<LedgerReport> {
  const lines = new Map<string, LedgerLine & { reasons: Record<string, number> }>();
  const problems: string[] = [];
  for (const plan of plans) {
    for (const { dataset } of plan.routes) line(lines, plan.name, dataset.name);
  }
  for await (const stored of store.scan(LEDGER)) {
    rowsOf(stored.batch).forEach((row, i) => {
      const counts = row as unknown as LedgerLine & { reasons: string };
      const reasons = JSON.parse(counts.reasons) as Record<string, number>;
      const where = `commit ${stored.commitNos[i]}, source ${counts.source}, dataset ${counts.dataset}`;
      problems.push(...identityProblems(counts, reasons, where));
      const total = line(lines, counts.source, counts.dataset);
      total.received += counts.received;
      for (const part of PARTS) total[part] += counts[part];
      for (const [reason, count] of Object.entries(reasons)) {
        total.reasons[reason] = (total.reasons[reason] ?? 0) + count;
      }
    });
  }
  problems.push(...(await streamProblems(store, [...lines.values()])));
  return { ok: problems.length === 0, lines: [...lines.values()], problems };
}

function line(
  lines: Map<string, LedgerLine & { reasons: Record<string, number> }>,
  source: string,
  dataset: string,
): LedgerLine & { reasons: Record<string, number> } {
  const key = `${source} -> ${dataset}`;
  const zero = { received: 0, curated: 0, corrected: 0, duplicate: 0, quarantined: 0, dropped: 0 };
  const found = lines.get(key) ?? { source, dataset, ...zero, reasons: {} };
  lines.set(key, found);
  return found;
}

function identityProblems(counts: RouteCounts, reasons: Record<string, number>, where: string): string[] {
  const problems: string[] = [];
  const sum = PARTS.reduce((total, part) => total + counts[part], 0);
  if (sum !== counts.received) problems.push(`${where}: ${counts.received} received, but ${sum} accounted for`);
  const dropped = Object.values(reasons).reduce((total, count) => total + count, 0);
  if (dropped !== counts.dropped) problems.push(`${where}: ${counts.dropped} dropped, but reasons for ${dropped}`);
  return problems;
}

async function streamProblems(store: Store, lines: readonly LedgerLine[]): Promise<string[]> {
  const problems: string[] = [];
  const { gone, ledgerCut } = await goneRows(store);
  if (ledgerCut) return []; // its sums begin later than the streams
  for (const dataset of new Set(lines.map((one) => one.dataset))) {
    const mine = lines.filter((one) => one.dataset === dataset);
    const expected = {
      curated: mine.reduce((sum, one) => sum + one.curated + one.corrected, 0),
      quarantine: mine.reduce((sum, one) => sum + one.quarantined, 0),
    };
    const found = {
      curated: await countRows(store, curatedStream(dataset)),
      quarantine: await countRows(store, quarantineStream(dataset)),
    };
    for (const part of ["curated", "quarantine"] as const) {
      const lost = gone.get(`${part}/${dataset}`) ?? 0;
      if (found[part] + lost === expected[part]) continue;
      const more = lost === 0 ? "" : ` and lost ${lost} to erasure or retention`;
      problems.push(`${part}/${dataset} holds ${found[part]} rows${more}, the ledger says ${expected[part]}`);
    }
  }
  return problems;
}

/** How many rows, without tombstones, each stream lost; and whether the ledger itself lost any. */
async function goneRows(store: Store): Promise<{ gone: Map<string, number>; ledgerCut: boolean }> {
  const gone = new Map<string, number>();
  const lose = (stream: string, rows: number) => gone.set(stream, (gone.get(stream) ?? 0) + rows);
  let ledgerCut = false;
  for await (const { batch } of store.scan(RETENTION)) {
    for (const row of rowsOf(batch)) {
      const stream = row.stream as string;
      lose(stream, (row.rows as number) - (row.tombstones as number) - (row.erased as number));
      if (stream === LEDGER) ledgerCut = true;
    }
  }
  const counted = new Set<string>(); // what was replaced can be erased again
  for await (const { batch } of store.scan(ERASURES)) {
    for (const row of rowsOf(batch)) {
      const place = `${row.stream} ${row.sequence}`;
      if (row.kind !== "row" || row.tombstone || row.replacement !== null || counted.has(place)) continue;
      counted.add(place);
      lose(row.stream as string, 1);
    }
  }
  return { gone, ledgerCut };
}

/** Rows of a stream, without tombstones. */
async function countRows(store: Store, stream: string): Promise<number> {
  let count = 0;
  for await (const stored of store.scan(stream, { columns: [] })) {
    for (const tombstone of stored.tombstones) if (tombstone === 0) count++;
  }
  return count;
}
