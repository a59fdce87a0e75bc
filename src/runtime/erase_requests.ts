import type { Row } from "../base/row.ts";
import { rowAt, valueAt } from "../contract/batch.ts";
import { fieldOf } from "../contract/contract.ts";
import { scoresStream } from "../contract/streams.ts";
import type { ErasedRows } from "../store/erase.ts";
import { type CommitRange, joined } from "../store/erase_select.ts";
import type { Store, StoredRows } from "../store/port.ts";
import type { Project } from "./project.ts";

const REQUEST_ID = "request_id";

/**
 * Scores that stay, of requests of which others go or whose id names the entity: they lose the id, and the digest of the
 * body, by which a guess of the rest could be told to be right. `gone` are the rows that go.
 */
export async function requestsOf(
  store: Store,
  { config }: Project,
  gone: readonly ErasedRows[],
  range: CommitRange,
  namesEntity: (id: string) => boolean,
): Promise<ErasedRows[]> {
  const found: ErasedRows[] = [];
  const all = joined(gone.map((one) => ({ streams: [one] })));
  for (const stream of Object.keys(config.models).map(scoresStream)) {
    const own = new Set(all.find((rows) => rows.stream === stream)?.emptied);
    // Where a row goes, rows from before the range may.
    const seen = await requestsSeen(store, stream, own.size > 0 ? { ...range, after: 0 } : range, own, namesEntity);
    const replaced = seen.ids.size === 0 ? [] : await withoutRequests(store, stream, seen, own);
    if (replaced.length > 0) found.push({ stream, emptied: [], replaced });
  }
  return found;
}

interface RequestsSeen {
  readonly ids: ReadonlySet<string>;
  /** Of their commits: all rows of a request are in one. */
  readonly range: CommitRange;
}

async function requestsSeen(
  store: Store,
  stream: string,
  range: CommitRange,
  gone: ReadonlySet<number>,
  namesEntity: (id: string) => boolean,
): Promise<RequestsSeen> {
  const ids = new Set<string>();
  let [after, upTo] = [Number.POSITIVE_INFINITY, 0];
  for await (const part of store.scan(stream, { columns: [REQUEST_ID], ...range })) {
    const idOf = requestIds(part);
    part.sequences.forEach((sequence, i) => {
      const id = idOf(i);
      if (id === null || (!gone.has(sequence) && !namesEntity(id))) return;
      ids.add(id);
      after = Math.min(after, part.commitNos[i]! - 1);
      upTo = Math.max(upTo, part.commitNos[i]!);
    });
  }
  return { ids, range: { after, upTo } };
}

async function withoutRequests(
  store: Store,
  stream: string,
  { ids, range }: RequestsSeen,
  gone: ReadonlySet<number>,
): Promise<{ sequence: number; row: Row }[]> {
  const replaced: { sequence: number; row: Row }[] = [];
  for await (const part of store.scan(stream, range)) {
    const idOf = requestIds(part);
    part.sequences.forEach((sequence, i) => {
      const id = idOf(i);
      if (id === null || !ids.has(id) || gone.has(sequence)) return;
      replaced.push({ sequence, row: { ...rowAt(part.batch, i), request_id: null, request_digest: null } });
    });
  }
  return replaced;
}

function requestIds({ batch }: StoredRows): (row: number) => string | null {
  const at = batch.contract.fields.findIndex(({ name }) => name === REQUEST_ID);
  const column = batch.columns[at];
  const field = fieldOf(batch.contract, REQUEST_ID);
  return (row) => (column && field ? (valueAt(column, field.type, row) as string | null) : null);
}
