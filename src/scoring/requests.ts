import type { Row } from "../base/row.ts";
import { type Batch, columnNamed, rowAt, valueAt } from "../contract/batch.ts";
import { scoresStream } from "../contract/streams.ts";
import type { ScanOptions, Store } from "../store/port.ts";
import { scoringErrors } from "./errors.ts";

/**
 * Which request ids were answered, and with which score rows. Bounded: the latest `REQUESTS_MAX` ids are remembered, and
 * after a start those among the last `COMMITS_FOLDED` commits; an id older than that counts as new.
 */
export interface RequestMemory {
  readonly requests: Map<string, AnsweredRequest>;
  /** Ids that are being answered now: a second request with the id waits for the first. */
  readonly running: Map<string, { readonly digest: string; readonly scored: Promise<Scored> }>;
}

/** Score rows, and whether the log has them. */
export interface Scored {
  readonly rows: readonly Row[];
  readonly durable: boolean;
}

interface AnsweredRequest {
  readonly digest: string;
  readonly rows: Row[];
}

const REQUESTS_MAX = 10_000;
const COMMITS_FOLDED = 20_000;

export const emptyRequestMemory = (): RequestMemory => ({ requests: new Map(), running: new Map() });

/**
 * The memory of a model's requests, folded from its recent scores. Most stored scores may be of no request with an id: of
 * those only ids and times are decoded.
 */
export async function foldRequests(store: Store, model: string): Promise<RequestMemory> {
  const memory = emptyRequestMemory();
  const { commitNo: upTo } = await store.head();
  const stream = scoresStream(model);
  const span = await requestSpan(store, stream, { after: Math.max(0, upTo - COMMITS_FOLDED), upTo });
  if (!span) return memory;
  const found: { sequence: number; row: Row }[] = [];
  for await (const { batch, tombstones, sequences } of store.scan(stream, span)) {
    const has = requestTest(batch);
    for (let i = 0; i < batch.length; i++) {
      if (tombstones[i] === 0 && has(i)) found.push({ sequence: sequences[i]!, row: rowAt(batch, i) });
    }
  }
  for (const { row } of found.sort((a, b) => a.sequence - b.sequence)) remember(memory, row);
  return memory;
}

/** The options narrowed to commits and T of rows with a request id; undefined where there are none. */
async function requestSpan(store: Store, stream: string, options: ScanOptions): Promise<ScanOptions | undefined> {
  let [first, last] = [Number.POSITIVE_INFINITY, 0];
  let [from, to] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
  for await (const { batch, commitNos } of store.scan(stream, { ...options, columns: ["request_id", "as_of"] })) {
    const has = requestTest(batch);
    const asOf = columnNamed(batch, "as_of");
    for (let i = 0; i < batch.length; i++) {
      if (!has(i)) continue;
      const at = valueAt(asOf, "timestamp", i) as number;
      [first, last] = [Math.min(first, commitNos[i]!), Math.max(last, commitNos[i]!)];
      [from, to] = [Math.min(from, at), Math.max(to, at)];
    }
  }
  return last === 0 ? undefined : { after: first - 1, upTo: last, from, to };
}

function requestTest(batch: Batch): (index: number) => boolean {
  const column = columnNamed(batch, "request_id");
  return (index) => valueAt(column, "string", index) !== null;
}

/** Takes a committed score row into the memory; rows without a request id are nothing to remember. */
export function remember(memory: RequestMemory, row: Row): void {
  const { request_id: id, request_digest: digest } = row;
  if (typeof id !== "string" || typeof digest !== "string") return;
  const known = memory.requests.get(id);
  if (known?.digest === digest) {
    known.rows.push(row);
    return;
  }
  memory.requests.delete(id);
  memory.requests.set(id, { digest, rows: [row] });
  if (memory.requests.size > REQUESTS_MAX) memory.requests.delete(memory.requests.keys().next().value!);
}

/**
 * The stored rows of a request that was made before with the same body, undefined where it is new. Throws
 * `scoring.request_conflict` where the id was used with another body.
 */
export async function recall(memory: RequestMemory, id: string, digest: string): Promise<Scored | undefined> {
  const running = memory.running.get(id);
  const known = running ?? memory.requests.get(id);
  if (!known) return undefined;
  if (known.digest !== digest) {
    const message = `the request id ${JSON.stringify(id.slice(0, 80))} was used before with another body`;
    throw scoringErrors.error("request_conflict", message, { place: "id" });
  }
  return running ? await running.scored : { rows: memory.requests.get(id)!.rows, durable: true };
}
